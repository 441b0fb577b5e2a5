"""The process that the processes of tasks are forked from: it has loaded everything once, and does no work.

It reads one task a line from stdin, and writes one JSON object a line when its process has ended, or waits
for the next task: {"task", "seconds", "cpu_seconds", "peak_memory", "killed": "" | "time" | "memory",
"message"}; the outcome itself is in the task's folder. It ends with its stdin, and the tasks end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
from typing import Any

from repairsolver.executors.forked import Child, fork
from repairsolver.executors.task import Task
from repairsolver.executors.warming import load_engines

LOOK = 0.25
"""Seconds between two looks at memory and limits."""


def main() -> None:
    """Serve until stdin ends."""
    if "--cold" not in sys.argv:
        load_engines()
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whoever prints does so on stderr
    bell, children, rest = _bell(), list[Child](), b""
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        selector.register(bell, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(LOOK):
                if key.fd == bell:
                    os.read(bell, 1 << 20)
                if key.fd != orders:
                    continue
                if not (read := os.read(orders, 1 << 20)):
                    return _end(children)
                *lines, rest = (rest + read).split(b"\n")
                _reap(children, answers, selector)
                for line in lines:
                    _begin(Task.from_json(line), children, (orders, answers, bell), selector)
            _hear(children, answers)
            _reap(children, answers, selector)
            _watch(children)


def _bell() -> int:
    """A file that can be read when a child has ended."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _begin(
    task: Task, children: list[Child], ours: tuple[int, ...], selector: selectors.BaseSelector
) -> None:
    """Give a task to a process that waits for one such, or fork one."""
    waiting = next((child for child in children if child.fits(task)), None)
    if waiting is not None:
        waiting.give(task)
        return
    pipes = [pipe for child in children for pipe in (child.orders, child.answers)]
    children.append(fork(task, (*ours, *pipes)))
    selector.register(children[-1].answers, selectors.EVENT_READ)


def _hear(children: list[Child], answers: int) -> None:
    for child in children:
        if child.busy and (account := child.heard()) is not None:
            _say(answers, account)


def _watch(children: list[Child]) -> None:
    for child in children:
        if child.busy and not child.killed and (over := child.over()):
            child.killed = over
            child.kill()


def _reap(children: list[Child], answers: int, selector: selectors.BaseSelector) -> None:
    for child in list(children):
        process, status, spent = os.wait4(child.process, os.WNOHANG)
        if process:
            # what it said last may have come after the others were heard
            account = child.heard() if child.busy else None
            if child.busy:
                account = child.ended(os.waitstatus_to_exitcode(status), spent)
            if account is not None:
                _say(answers, account)
            children.remove(child)
            selector.unregister(child.answers)
            child.close()


def _say(answers: int, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked is gone; stdin says so at the next look
        os.write(answers, json.dumps(message).encode() + b"\n")


def _end(children: list[Child]) -> None:
    for child in children:
        child.kill()
        os.waitpid(child.process, 0)


if __name__ == "__main__":
    main()
