"""The process that the processes of tasks are forked from: it has loaded everything once, and does no work.

It reads one task a line from stdin, and writes one JSON object a line when its process has ended: {"task",
"seconds", "cpu_seconds", "peak_memory", "killed": "" | "time" | "memory", "message"}; the outcome itself is
in the task's folder. It ends with its stdin, and the tasks end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from repairsolver.experiments.memory import limit_memory, resident
from repairsolver.experiments.task import OUTCOME, Task, perform
from repairsolver.experiments.warming import load_engines

LOG = "log.txt"

LOOK = 0.25
"""Seconds between two looks at memory and limits."""


@dataclass(slots=True)
class Child:
    """The process of a task."""

    task: Task
    process: int
    started: float = field(default_factory=time.monotonic)
    killed: str = ""

    def over(self) -> str:
        """The limit that it has passed, if any."""
        if self.task.seconds is not None and time.monotonic() - self.started > self.task.seconds:
            return "time"
        if self.task.memory is not None and resident(self.process) > self.task.memory:
            return "memory"
        return ""


def main() -> None:
    """Serve until stdin ends."""
    if "--cold" not in sys.argv:
        load_engines()
    orders, answers, children = os.dup(0), os.dup(1), list[Child]()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whoever prints does so on stderr
    bell = _bell()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        selector.register(bell, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(LOOK):
                read = os.read(key.fd, 1 << 20)
                if key.fd == bell:
                    continue
                if not read:
                    return _end(children)
                *lines, rest = (rest + read).split(b"\n")
                children += [_forked(Task.from_json(line)) for line in lines]
            _reap(children, answers)
            _watch(children)


def _bell() -> int:
    """A file that can be read when a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _forked(task: Task) -> Child:
    process = os.fork()
    if process == 0:
        _live(task)
    # both set the group, so that it is there before the work begins, and for whoever kills it
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(process, process)
    return Child(task, process)


def _live(task: Task) -> NoReturn:
    """The life of a task's process, which ends here."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        log = os.open(Path(task.folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
        if task.memory is not None:
            limit_memory(task.memory)
        outcome = json.dumps(perform(task)).encode()
        part = Path(task.folder) / f"{OUTCOME}.part"
        part.write_bytes(outcome)
        part.replace(part.with_suffix(""))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """End this process and its children when the nursery is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)


def _watch(children: list[Child]) -> None:
    for child in children:
        if not child.killed and (over := child.over()):
            child.killed = over
            _kill(child)


def _kill(child: Child) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process, signal.SIGKILL)


def _reap(children: list[Child], answers: int) -> None:
    for child in list(children):
        process, status, spent = os.wait4(child.process, os.WNOHANG)
        if process:
            children.remove(child)
            _say(answers, _account(child, os.waitstatus_to_exitcode(status), spent))


def _account(child: Child, code: int, spent: resource.struct_rusage) -> dict[str, Any]:
    task, ended = child.task, f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
    message = {
        "time": f"killed after {task.seconds:g} s" if task.seconds is not None else "",
        "memory": f"killed at {(task.memory or 0) / 1e9:.3g} GB of memory",
        "": f"its process {ended}; the end of {LOG} in its folder may say why",
    }[child.killed]
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "task": task.name,
        "seconds": time.monotonic() - child.started,
        "cpu_seconds": spent.ru_utime + spent.ru_stime,
        "peak_memory": spent.ru_maxrss * unit,
        "killed": child.killed,
        "message": message,
    }


def _say(answers: int, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone; stdin says so at the next look
        os.write(answers, json.dumps(message).encode() + b"\n")


def _end(children: list[Child]) -> None:
    for child in children:
        _kill(child)
        os.waitpid(child.process, 0)


if __name__ == "__main__":
    main()
