"""The process that the processes of jobs are forked from: it has loaded everything once, and does no work.

It reads one JSON object a line from stdin, {"job": name, "folder": path, "memory": bytes, "threads": number},
and writes one a line: {"job": name, "started": process} or {"job": name, "busy": true} if the job's process
lives already; later {"job": name, "ended": exit code}. It ends with its stdin; the jobs live on.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
from pathlib import Path
from typing import Any

from repairsolver.experiments.warming import load_engines
from repairsolver.service.folder import Folder, take_lock

EVERY = 0.05
"""Seconds between two looks for processes that have ended."""


def main() -> None:
    """Serve until stdin ends."""
    warm()
    orders, answers = _channels()
    jobs: dict[int, str] = {}
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            if selector.select(EVERY):
                read = os.read(orders, 65536)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    _start(json.loads(line), jobs, orders, answers)
            _reap(jobs, answers)


def warm() -> None:
    """Load what jobs need, so that they start at once; nothing that starts threads is run."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.font_manager

    import repairsolver.architecture.writing
    import repairsolver.report.page
    import repairsolver.service.kinds.loading
    import repairsolver.service.worker  # noqa: F401

    assert matplotlib.font_manager
    load_engines()


def _channels() -> tuple[int, int]:
    """stdin and stdout for the server alone: whoever else prints does so on stderr."""
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return orders, answers


def _start(order: dict[str, Any], jobs: dict[int, str], orders: int, answers: int) -> None:
    """Fork the process of a job; it holds the job's lock from its first moment."""
    lock = take_lock(Folder(Path(order["folder"])))
    if lock is None:
        _say(answers, {"job": order["job"], "busy": True})
        return
    process = os.fork()
    if process == 0:
        os.close(orders)
        os.close(answers)
        os.setpgid(0, 0)
        from repairsolver.service.worker import live

        live(order, lock)
    # both set the group, so that it is there for whoever reads the number, and before the work begins
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(process, process)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(process).encode(), 0)
    os.close(lock)
    jobs[process] = order["job"]
    _say(answers, {"job": order["job"], "started": process})


def _reap(jobs: dict[int, str], answers: int) -> None:
    while jobs:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        job = jobs.pop(process, None)
        if job is not None:
            _say(answers, {"job": job, "ended": os.waitstatus_to_exitcode(status)})


def _say(answers: int, message: dict[str, Any]) -> None:
    try:
        os.write(answers, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
