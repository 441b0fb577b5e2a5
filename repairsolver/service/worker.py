"""What the process of a job does: limits first, then the work, then the results.

Only here uploaded files are read; the server only stores them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from repairsolver.experiments.failures import FULL
from repairsolver.experiments.failures import failure as explained
from repairsolver.experiments.memory import limit, limit_memory
from repairsolver.report.page import result_page
from repairsolver.report.records import dump
from repairsolver.results import Event
from repairsolver.service.folder import NO_ROOM, REPORT, RESULT, STOPPED, EventFile, Folder, write_file

LARGEST_FILE = 4 * 2**30
"""Of one file that a job writes, in bytes."""

NICENESS = 10


def live(order: dict[str, Any], lock: int) -> NoReturn:
    """The life of a job's process, which ends here; the lock is held until then.

    Args:
        order: see `nursery`.
        lock: open file, never closed.
    """
    folder, code = Folder(Path(order["folder"])), 1
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _log_to(folder.path / "log.txt")
        _limit(order["memory"], order["threads"])
        code = work(folder)
    except KeyboardInterrupt:
        code = STOPPED
    except OSError as error:
        traceback.print_exc()
        code = NO_ROOM if error.errno in FULL else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def work(folder: Folder) -> int:
    """Do a job and let its results appear; the exit code."""
    if folder.outcome() is not None:
        return 0
    folder.begin()
    try:
        with contextlib.closing(EventFile(folder)) as events:
            outcome = _made(folder, events)
    except KeyboardInterrupt:
        if not folder.cancelled.exists():
            return STOPPED
        outcome = {"state": "cancelled", "reason": "cancelled", "message": "before anything was reached"}
    except Exception as error:  # whatever it is, the job must end with it, and the log must have it
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        traceback.print_exc()
        outcome = failure(error)
    folder.finish(outcome)
    return 0


def failure(error: Exception) -> dict[str, str]:
    """How a job failed; its reasons are those of `experiments.failures`."""
    reason, message = explained(error)
    return {"state": "failed", "reason": reason, "message": message}


def _made(folder: Folder, events: EventFile) -> dict[str, str]:
    from repairsolver.report.history import History
    from repairsolver.service.kinds import KINDS
    from repairsolver.service.kinds.kind import Task

    request = folder.request()
    kind = KINDS[request["kind"]]
    files = {
        slot: tuple(folder.inputs / f["stored"] for f in found) for slot, found in request["files"].items()
    }
    names = {slot: tuple(f["name"] for f in found) for slot, found in request["files"].items()}
    events(Event("start", "reading the files", 0.0))
    task = Task(
        files, names, kind.options(**request["options"]), folder.unfinished, folder.tree, History(events)
    )  # fmt: skip
    os.chdir(folder.inputs)
    made = kind.run(task)
    cancelled = made.interrupted and folder.cancelled.exists()
    if made.interrupted and not cancelled:
        raise KeyboardInterrupt
    record = made.subject.record
    write_file(folder.unfinished / RESULT, dump(dict(record)).encode())
    if not cancelled:
        write_file(folder.unfinished / REPORT, result_page(made.subject).encode())
    state, message = ("cancelled", "the results are what was reached") if cancelled else ("done", "")
    return {
        "state": state,
        "reason": "cancelled" if cancelled else "",
        "message": message,
        "answer": record["result"],
    }


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _log_to(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


def _limit(memory: int, threads: int) -> None:
    """Memory, size of files, no core dumps; and behind the server in line for processors."""
    limit_memory(memory)
    limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.nice(NICENESS)
    os.environ["REPAIRSOLVER_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
