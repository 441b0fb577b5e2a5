"""Runs tasks on a Ray cluster, or on one that is started on this machine: files go there and come back.

Each place is an actor that holds the nursery of `local`, so that a task has a process of its own, one thread
and the same limits as here. Places need repairsolver, of the same version; they share no folder with this
machine. An actor that is lost, with its machine or alone, is replaced, and its task is run again.

Source: Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications", section 3.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from repairsolver import __version__
from repairsolver.errors import ExperimentError
from repairsolver.executors.executor import LOST, Executor
from repairsolver.executors.local import Nursery, outcome_of
from repairsolver.executors.task import FAILED, Outcome, Task

MOST_LOSSES = 3
"""How often a task is run again after its place was lost."""

MOST_HELD = 128
"""Files that are kept in the cluster's store for the tasks to come."""

PATIENCE = 10.0
"""Seconds that an address may take to answer."""

PREFACE, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The greeting of HTTP/2 and its first frame, whose fourth byte says what it is (RFC 9113, 3.4 and 6.5)."""

HERE = "local"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

Files = dict[str, list[tuple[str, Any]]]
"""By slot: (name, where the cluster holds the content)."""


def on_ray(jobs: int, address: str) -> Executor:
    """An executor of the cluster at an address: `auto`, HOST:PORT, ray://HOST:PORT; `local` or "" starts one.

    Raises:
        ExperimentError: Ray is not installed, or nothing answers at the address.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ExperimentError(
            "Ray is not installed here: pip install 'repairsolver[ray]', or use the processes of this machine"
        ) from error
    return OnRay(ray, jobs, "" if address == HERE else address)


class OnRay(Executor):
    """Places of a Ray cluster, each with one processor of it.

    Args:
        jobs: places, at least 1; where the cluster has fewer processors free, tasks wait for one.
        address: of the cluster; "" starts one on this machine, which ends with the executor.
    """

    def __init__(self, ray: Any, jobs: int, address: str) -> None:
        self.jobs, self._ray, self._address = jobs, ray, address
        self._ours = False
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Task, Any]] = {}
        self._held: dict[tuple[str, int, int], Any] = {}
        self._losses = Counter[str]()
        self._connect()

    def start(self, task: Task) -> None:
        """See `Executor`."""
        self._connect()
        place = self._idle.pop() if self._idle else self._new_place()
        files = {
            slot: [(Path(p).name, self._content(Path(p))) for p in paths]
            for slot, paths in task.files.items()
        }
        self._busy[place.do.remote(task.to_json(), files, __version__)] = task, place

    def ended(self) -> tuple[Task, Outcome]:
        """See `Executor`."""
        while True:
            (ready, *_), _ = self._ray.wait(list(self._busy), num_returns=1)
            task, place = self._busy.pop(ready)
            try:
                told, files = self._ray.get(ready)
            except self._ray.exceptions.RayActorError as error:
                self._losses[task.name] += 1
                if self._losses[task.name] > MOST_LOSSES:
                    return task, Outcome(FAILED, reason=LOST, message=_lost(error))
                self.start(task)
                continue
            self._idle.append(place)
            _unpack(files, Path(task.folder))
            return task, Outcome(**told)

    def close(self) -> None:
        """See `Executor`."""
        places = [*self._idle, *(place for _, place in self._busy.values())]
        self._idle, self._busy, self._held = [], {}, {}
        for place in places:
            self._ray.kill(place)
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def processes(self) -> list[int]:
        """The process of every idle place, for whoever looks after a cluster."""
        return [self._ray.get(place.process.remote()) for place in self._idle]

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.update(QUIET)
        given: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self._address:
            _reachable(self._address)
            given |= {"address": self._address}
        else:
            given |= {"num_cpus": self.jobs, "include_dashboard": False}
        try:
            self._ray.init(**given)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ExperimentError(f"no Ray cluster at {self._address or 'this machine'}: {error}") from error
        self._ours = True

    def _new_place(self) -> Any:
        # A place is tied to no other: what it holds dies with it.
        return self._ray.remote(num_cpus=1, max_restarts=0)(Place).remote()

    def _content(self, path: Path) -> Any:
        """A file in the cluster's store, put there once; None if there is none, as its reader will say."""
        if not path.exists():
            return None
        stat = path.stat()
        key = str(path), stat.st_mtime_ns, stat.st_size
        content = self._held.pop(key, None) or self._ray.put(path.read_bytes())
        # the last one now; what has not been asked for for long is given back, unless a task still reads it
        self._held[key] = content
        while len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]
        return content


class Place:
    """What runs on the cluster: does one task after the other, in the processes of a nursery."""

    def __init__(self) -> None:
        self._nursery, self._root = Nursery(warm=True), Path(tempfile.mkdtemp(prefix="repairsolver-"))

    def process(self) -> int:
        """Of this place."""
        return os.getpid()

    def do(self, text: str, files: Files, version: str) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
        """The outcome of a task, and the files that it left: (path, bytes)."""
        if version != __version__:
            message = f"this place has repairsolver {__version__}, expected {version}: install the same"
            return asdict(Outcome(FAILED, reason="input", message=message)), []
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            task = _moved(Task.from_json(text), files, folder)
            self._nursery.order(task)
            answer = self._nursery.answer()
            if answer is None:
                # As if the place were lost: whoever asked decides how often this is tried.
                os._exit(1)
            outcome = outcome_of(task, answer)
            left = [p for p in Path(task.folder).rglob("*") if p.is_file()]
            return asdict(outcome), [(str(p.relative_to(task.folder)), p.read_bytes()) for p in left]
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _moved(task: Task, files: Files, folder: Path) -> Task:
    """The task with its files in a folder of this machine."""
    ray = importlib.import_module("ray")
    paths: dict[str, list[str]] = {}
    for slot, named in files.items():
        for number, (name, content) in enumerate(named):
            path = folder / "in" / slot / str(number) / name
            path.parent.mkdir(parents=True)
            if content is not None:
                path.write_bytes(ray.get(content))
            paths.setdefault(slot, []).append(str(path))
    own = folder / "out"
    own.mkdir()
    return replace(task, files={slot: paths.get(slot, []) for slot in files}, folder=str(own))


def _unpack(files: list[tuple[str, bytes]], folder: Path) -> None:
    """Write what a task left, inside its folder alone."""
    for name, content in files:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ExperimentError(f"a place returned the file {name!r}, which is not in the task's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _reachable(address: str) -> None:
    """Wait a while for HOST:PORT to answer as a Ray cluster does; `auto` is found by Ray itself.

    Ray would wait for minutes for a port where something else listens.

    Raises:
        ExperimentError: it does not.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return
    advice = "start one with `ray start --head`, or have one started on this machine with the address `local`"
    try:
        with contextlib.closing(socket.create_connection((host, int(port)), PATIENCE)) as connection:
            said = None if os.environ.get("RAY_USE_TLS", "0") != "0" else _greeted(connection)
    except (OSError, ValueError, OverflowError) as error:
        raise ExperimentError(f"no Ray cluster answers at {address} ({error}): {advice}") from error
    if said is not None and said[3:4] != SETTINGS[3:4]:
        got = f"it answered {said!r}" if said else f"it said nothing in {PATIENCE:g} s"
        raise ExperimentError(
            f"what listens at {address} is no Ray cluster: expected gRPC, {got}. Is it the port that "
            f"`ray start --head` told (6379 if none was chosen)? Else {advice}"
        )


def _greeted(connection: socket.socket) -> bytes:
    """What comes first after the greeting of HTTP/2, which gRPC and so Ray speaks; at most nine bytes."""
    until, said = time.monotonic() + PATIENCE, b""
    with contextlib.suppress(OSError):  # time is up, or it hung up
        connection.sendall(PREFACE + SETTINGS)
        while len(said) < len(SETTINGS) and (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (some := connection.recv(len(SETTINGS) - len(said))):
                break
            said += some
    return said


def _lost(error: Exception) -> str:
    reason = str(error).strip().splitlines()
    return f"the worker that ran it was lost {MOST_LOSSES + 1} times; {' '.join(reason[:1])}"
