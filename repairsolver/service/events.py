"""Progress of a job as server-sent events: what is in its file of events, then what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from repairsolver.service.folder import Folder

EVERY, BEAT = 0.25, 15.0
"""Seconds between two looks; and between two signs of life where nothing happens."""

BLOCK = 2**20


async def stream(
    folder: Folder, job: Callable[[], dict[str, Any] | None], start: int = 0
) -> AsyncIterator[bytes]:
    """Events of a job until it has ended or is deleted.

    `progress` events are the lines of its file, with their end in the file as id; `job` events tell the job
    whenever its state changes; `end` is the last.

    Args:
        job: the job as it is now, None if it was deleted.
        start: the id of the last event that the client has.
    """
    offset, told, quiet = _aligned(folder, start), "", 0.0
    while True:
        now = await asyncio.to_thread(job)
        lines, offset = _read(folder, offset)
        for end, line in lines:
            yield f"id: {end}\nevent: progress\ndata: {line}\n\n".encode()
        if lines and now is not None and now["state"] not in ("queued", "running"):
            continue
        state = json.dumps(now)
        if state != told:
            told, quiet = state, 0.0
            yield f"event: job\ndata: {state}\n\n".encode()
        if now is None or now["state"] not in ("queued", "running"):
            yield b"event: end\ndata: {}\n\n"
            return
        quiet = 0.0 if lines else quiet + EVERY
        if quiet >= BEAT:
            quiet = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(EVERY)


def _aligned(folder: Folder, start: int) -> int:
    """Where to go on: an offset right behind a line of the file, or its beginning."""
    if start <= 0 or not folder.events.exists() or start > folder.events.stat().st_size:
        return 0
    with folder.events.open("rb") as file:
        file.seek(start - 1)
        return start if file.read(1) == b"\n" else 0


def _read(folder: Folder, offset: int) -> tuple[list[tuple[int, str]], int]:
    """Whole lines from an offset, each with its end in the file; and the end of the last."""
    try:
        with folder.events.open("rb") as file:
            file.seek(offset)
            block = file.read(BLOCK)
    except FileNotFoundError:
        return [], offset
    whole = block[: block.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines(keepends=True):
        offset += len(line)
        lines.append((offset, line.decode().rstrip("\n")))
    return lines, offset
