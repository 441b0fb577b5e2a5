"""The processes of tasks, forked from the nursery: one task each, or one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from repairsolver.executors.memory import limit_memory, resident
from repairsolver.executors.task import DONE, OUTCOME, Task, perform

LOG = "log.txt"


@dataclass(slots=True, eq=False)
class Child:
    """A process, the last task that it was given, and whether it still does it.

    Args:
        orders, answers: pipes to it and from it.
        told: processor seconds that were told of former tasks.
    """

    task: Task
    process: int
    orders: int
    answers: int
    started: float = field(default_factory=time.monotonic)
    busy: bool = True
    killed: str = ""
    told: float = 0.0

    def over(self) -> str:
        """The limit that it has passed, if any."""
        if self.task.seconds is not None and time.monotonic() - self.started > self.task.seconds:
            return "time"
        if self.task.memory is not None and resident(self.process) > self.task.memory:
            return "memory"
        return ""

    def fits(self, task: Task) -> bool:
        """Whether it waits for a task such as this."""
        mine, free = self.task, not self.busy and not self.killed
        return free and mine.stays and task.stays and (mine.body, mine.memory) == (task.body, task.memory)

    def give(self, task: Task) -> None:
        """Have it do another task; one that has died is noticed when it is reaped."""
        self.task, self.busy, self.started = task, True, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            os.write(self.orders, task.to_json().encode() + b"\n")

    def heard(self) -> dict[str, Any] | None:
        """The account of its task, if it is done and the process waits for another; None before that."""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self.answers, 1 << 16)
            if said and not self.killed:
                self.busy = False
                return self.account(**json.loads(said), message="")
        return None

    def ended(self, code: int, spent: resource.struct_rusage) -> dict[str, Any]:
        """The account of its task after the end of the process."""
        ended = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
        message = {
            "time": f"killed after {self.task.seconds:g} s" if self.task.seconds is not None else "",
            "memory": f"killed at {(self.task.memory or 0) / 1e9:.3g} GB of memory",
            "": f"its process {ended}; the end of {LOG} in its folder may say why",
        }[self.killed]
        return self.account(spent.ru_utime + spent.ru_stime, _peak(spent), message)

    def account(self, cpu_seconds: float, peak_memory: int, message: str) -> dict[str, Any]:
        """What the nursery tells of its task; processor seconds are those since its last one."""
        before, self.told = self.told, cpu_seconds
        return {
            "task": self.task.name,
            "seconds": time.monotonic() - self.started,
            "cpu_seconds": cpu_seconds - before,
            "peak_memory": peak_memory,
            "killed": self.killed,
            "message": message,
        }

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)

    def close(self) -> None:
        """Of a process that has ended."""
        os.close(self.orders)
        os.close(self.answers)


def fork(task: Task, ours: Iterable[int]) -> Child:
    """Fork the process of a task; it holds none of our channels, so that our end is seen at once."""
    inbox, orders = os.pipe()
    answers, outbox = os.pipe()
    process = os.fork()
    if process == 0:
        signal.set_wakeup_fd(-1)
        for handle in (*ours, orders, answers):
            os.close(handle)
        _live(task, inbox, outbox)
    os.close(inbox)
    os.close(outbox)
    os.set_blocking(answers, False)
    # both set the group, so that it is there before the work begins, and for whoever kills it
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(process, process)
    return Child(task, process, orders, answers)


def _live(task: Task, inbox: int, outbox: int) -> NoReturn:
    """The life of a process, which ends here: after its task, or when none comes any more, or one failed."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
        if task.memory is not None:
            limit_memory(task.memory)
        with os.fdopen(inbox, "rb") as orders:
            while _do(task) and task.stays:
                os.write(outbox, json.dumps(_spent()).encode())
                if not (line := orders.readline()):
                    break
                task = Task.from_json(line)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _do(task: Task) -> bool:
    """Do a task and write its outcome; whether it was done."""
    log = os.open(Path(task.folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    outcome = perform(task)
    sys.stdout.flush()
    part = Path(task.folder) / f"{OUTCOME}.part"
    part.write_bytes(json.dumps(outcome).encode())
    part.replace(part.with_suffix(""))
    return bool(outcome["state"] == DONE)


def _spent() -> dict[str, Any]:
    own, others = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_seconds = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    return {"cpu_seconds": cpu_seconds, "peak_memory": _peak(own)}


def _peak(spent: resource.struct_rusage) -> int:
    """Bytes; of a process that stayed, over its life."""
    return spent.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _die_with(parent: int) -> None:
    """End this process and its children when the nursery is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)
