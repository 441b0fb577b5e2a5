"""Runs tasks on this machine: one process each, forked from one that has loaded everything."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from repairsolver.experiments.task import FAILED, OUTCOME, Outcome, Task

MOST_LOSSES = 1
"""How often a task is run again after the nursery died under it."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
           "REPAIRSOLVER_THREADS")  # fmt: skip


LOST = "the process that ran it died twice; was it killed for the memory of the machine? Try fewer jobs"


class Local:
    """An executor of this machine.

    Args:
        jobs: how many tasks at once, at least 1.
        warm: load everything first, once; without, each task loads what it needs.
    """

    def __init__(self, jobs: int, *, warm: bool = True) -> None:
        self.jobs, self._warm = jobs, warm

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """See `Executor`."""
        waiting, running, losses = iter(tasks), dict[str, Task](), Counter[str]()
        with contextlib.closing(_Nursery(self._warm)) as nursery:
            self._fill(waiting, running, nursery)
            while running:
                answer = nursery.answer()
                if answer is None:
                    losses.update(list(running))
                    nursery.close()
                    for task in [t for t in running.values() if losses[t.name] > MOST_LOSSES]:
                        del running[task.name]
                        yield task, Outcome(FAILED, reason="lost", message=LOST)
                    for task in running.values():
                        nursery.order(task)
                else:
                    task = running.pop(answer["task"])
                # before the outcome is told, so that no place is empty while its reader works
                self._fill(waiting, running, nursery)
                if answer is not None:
                    yield task, _outcome(task, answer)

    def _fill(self, waiting: Iterator[Task], running: dict[str, Task], nursery: _Nursery) -> None:
        """Give the free places to tasks that wait."""
        while len(running) < self.jobs and (task := next(waiting, None)) is not None:
            running[task.name] = task
            nursery.order(task)


class _Nursery:
    """The nursery, started when it is first needed, and again after it was closed."""

    def __init__(self, warm: bool) -> None:
        self._arguments = () if warm else ("--cold",)
        self._process: subprocess.Popen[bytes] | None = None

    def order(self, task: Task) -> None:
        """Have a task done."""
        self._process = self._process or _born(self._arguments)
        assert self._process.stdin is not None
        # one that has died is noticed when its answer is read
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(task.to_json().encode() + b"\n")

    def answer(self) -> dict[str, Any] | None:
        """The next task that has ended; None if the nursery has."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        """End it, and with it what it runs."""
        process, self._process = self._process, None
        if process is not None:
            _ended(process)


def _born(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """A nursery; it is in no terminal's group, so that Ctrl-C reaches whoever decides what is ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "repairsolver.experiments.executors.nursery", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=dict(os.environ) | dict.fromkeys(THREADS, "1"),
        start_new_session=True,
    )


def _ended(nursery: subprocess.Popen[bytes]) -> None:
    """End a nursery, and with it what it runs."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        nursery.stdin.close()
    try:
        nursery.wait(5)
    except subprocess.TimeoutExpired:
        nursery.kill()
        nursery.wait()
    nursery.stdout.close()


def _outcome(task: Task, answer: dict[str, Any]) -> Outcome:
    """What the process left behind, with what is known of its end."""
    spent = {name: answer[name] for name in ("seconds", "cpu_seconds", "peak_memory")}
    if answer["killed"]:
        return Outcome(FAILED, reason=answer["killed"], message=answer["message"], **spent)
    left = Path(task.folder) / OUTCOME
    try:
        told = json.loads(left.read_bytes())
    except FileNotFoundError:
        return Outcome(FAILED, reason="crashed", message=answer["message"], **spent)
    left.unlink()
    return Outcome(**told, **spent)
