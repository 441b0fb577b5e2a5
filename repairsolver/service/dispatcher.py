"""Starts the jobs that wait, watches and ends those that run, and recovers all of them after a crash.

What is true of a job is on disk: `results/` says how it ended, its lock says whether its process lives. The
dispatcher only draws conclusions, so that one that is killed at any moment is followed by one that goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from repairsolver.experiments.memory import resident
from repairsolver.service.children import Nursery
from repairsolver.service.folder import NO_ROOM, STOPPED, Folder
from repairsolver.service.settings import Settings
from repairsolver.service.store import Row, State, Store

LOG = logging.getLogger(__name__)

EVERY = 0.05
"""Seconds between two looks."""

GRACE, STARTING = 10.0, 60.0
"""Seconds that a job has to end when it is told to; and that its process has to appear."""

OVERTIME, OVERTIME_SHARE = 60.0, 0.25
"""What a job may take beyond its limit, for reading, fidelity and report; then it is ended."""

MOST_CRASHES = 1
"""How often a job is started again after its process died."""

DIED = "its process died twice without a result; the end of its log may say why"


@dataclass(slots=True)
class Watched:
    """A running job.

    Args:
        deadline: when it is ended, of `time.monotonic`.
        seen: whether the nursery has told of its process, or it was there before the server.
        verdict: why it is being ended, as reason and message.
        kill: when it is killed, if it was told to end.
    """

    row: Row
    folder: Folder
    deadline: float
    started: float = field(default_factory=time.monotonic)
    seen: bool = False
    verdict: tuple[str, str] | None = None
    kill: float | None = None
    code: int | None = None


class Dispatcher:
    """Runs in a thread of the server; one for each folder of data.

    Args:
        jobs: the folder that holds the folders of the jobs.
    """

    def __init__(self, settings: Settings, store: Store, jobs: Path) -> None:
        self._settings, self._store, self._jobs = settings, store, jobs
        self._nursery = Nursery()
        self._running: dict[str, Watched] = {}
        self._stop, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Recover what a crash left, then go to work."""
        self._nursery.open()
        self._recover()
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._news.set()

    def stop(self) -> None:
        """Stop the jobs so that they go on later, and end."""
        self._stop.set()
        self._news.set()
        self._thread.join()
        for watched in self._running.values():
            self._signal(watched, signal.SIGTERM)
        end = time.monotonic() + GRACE
        while any(w.folder.alive() for w in self._running.values()) and time.monotonic() < end:
            time.sleep(EVERY)
        for watched in self._running.values():
            self._signal(watched, signal.SIGKILL)
            if not self._ended(watched):
                self._store.requeue(watched.row["id"], crashes=watched.row["crashes"])
        self._nursery.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except (OSError, SQLAlchemyError):  # a full disk, a database that is away: it may pass
                LOG.exception("the jobs could not be looked after; trying again")
                self._stop.wait(1.0)
            self._news.wait(EVERY if self._running else 0.5)
            self._news.clear()

    def _look(self) -> None:
        for message in self._nursery.news():
            if (about := self._running.get(message["job"])) is not None:
                about.seen = True
                about.code = message.get("ended", about.code)
        stopped = self._store.stopped() if self._running else set()
        for watched in list(self._running.values()):
            if watched.row["id"] in stopped and watched.verdict is None:
                watched.folder.cancelled.touch()
                self._tell(watched, "cancelled", "cancelled")
            self._watch(watched)
        while len(self._running) < self._settings.workers and (row := self._store.claim()) is not None:
            self._begin(row)

    def _begin(self, row: Row) -> None:
        if (watched := self._watched(row)) is not None:
            self._running[row["id"]] = watched
            self._nursery.order(row["id"], watched.folder.path, self._settings.memory, self._settings.threads)

    def _watched(self, row: Row) -> Watched | None:
        """A job as it is watched; None, and it has failed, if its files are gone."""
        folder = Folder(self._jobs / row["id"])
        try:
            seconds = float(folder.request()["options"]["seconds"])
        except (FileNotFoundError, ValueError):
            message = "the files of the job are gone from the folder of the server"
            self._store.end(row["id"], State.FAILED, reason="internal", message=message)
            return None
        longest = seconds * (1 + OVERTIME_SHARE) + OVERTIME
        return Watched(row, folder, time.monotonic() + longest)

    def _watch(self, watched: Watched) -> None:
        """One look at a running job."""
        now = time.monotonic()
        if not watched.seen and now < watched.started + STARTING:
            return  # to look at the lock now could keep the nursery from taking it
        if watched.folder.alive():
            if watched.verdict is None and now > watched.deadline:
                self._tell(
                    watched, "time", "the job went on for too long after its time limit, and was ended"
                )
            if watched.verdict is None and resident(watched.folder.process()) > self._settings.memory:
                text = f"the job used more than {self._settings.memory_gb:g} GB of memory, and was ended"
                watched.verdict, watched.kill = ("memory", text), now
            if watched.kill is not None and now >= watched.kill:
                self._signal(watched, signal.SIGKILL)
        else:
            del self._running[watched.row["id"]]
            if not self._ended(watched):
                self._lost(watched)

    def _tell(self, watched: Watched, reason: str, message: str) -> None:
        """Tell a job to end; it is killed if it does not."""
        watched.verdict, watched.kill = (reason, message), time.monotonic() + GRACE
        self._signal(watched, signal.SIGTERM)

    def _signal(self, watched: Watched, number: int) -> None:
        """Signal the process of a job, which lives as long as its lock is held, and what it started."""
        process = watched.folder.process()
        if process is not None and watched.folder.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number) if number == signal.SIGTERM else os.killpg(process, number)

    def _ended(self, watched: Watched) -> bool:
        """Note how a job ended if its results are there."""
        outcome = watched.folder.outcome()
        if outcome is None:
            return False
        self._store.end(
            watched.row["id"], State(outcome["state"]), reason=outcome["reason"], message=outcome["message"],
            answer=outcome.get("answer", ""),
        )  # fmt: skip
        watched.folder.tree.unlink(missing_ok=True)
        return True

    def _lost(self, watched: Watched) -> None:
        """A process ended without results: for a reason that is known, or it crashed."""
        id_, crashes = watched.row["id"], watched.row["crashes"]
        if watched.verdict is not None:
            reason, message = watched.verdict
            state = State.CANCELLED if reason == "cancelled" else State.FAILED
            self._store.end(id_, state, reason=reason, message=message)
        elif watched.code == NO_ROOM:
            self._store.end(id_, State.FAILED, reason="disk", message="the disk of the server is full")
        elif watched.code == STOPPED:
            self._store.requeue(id_, crashes=crashes)
        elif crashes < MOST_CRASHES:
            self._store.requeue(id_, crashes=crashes + 1)
        else:
            self._store.end(id_, State.FAILED, reason="crash", message=DIED)

    def _recover(self) -> None:
        """After a crash: note what ended meanwhile, adopt what lives, let the rest wait again."""
        for row in self._store.running():
            if (watched := self._watched(row)) is None:
                continue
            if watched.folder.alive():
                watched.seen = True
                self._running[row["id"]] = watched
            elif not self._ended(watched):
                self._store.requeue(row["id"], crashes=row["crashes"])
        known = self._store.names()
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder)
