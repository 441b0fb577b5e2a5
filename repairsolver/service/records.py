"""Jobs as the interface tells them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from repairsolver.service.folder import Folder


class FileRecord(BaseModel):
    """An uploaded file: what it was called, and what it holds."""

    name: str
    sha256: str
    size: int


class JobRecord(BaseModel):
    """A job.

    `state` is queued, running, done, failed or cancelled. `answer` is the result's word. `reason` says why it
    failed: input, memory, time, disk, crash, soundness or internal; `message` says it to people.
    """

    id: str
    number: int
    kind: str
    state: str
    answer: str
    reason: str
    message: str
    created: float
    started: float | None
    ended: float | None
    restarts: int
    options: dict[str, Any]
    inputs: dict[str, list[FileRecord]]
    files: list[str]
    duplicate: bool | None = None


class JobPage(BaseModel):
    """Jobs, and how many there are of each state."""

    jobs: list[JobRecord]
    counts: dict[str, int]


def job_record(row: Mapping[str, Any], folder: Folder) -> dict[str, Any]:
    """What is told of a job."""
    request = json.loads(row["request"])
    told = {key: row[key] for key in ("id", "number", "kind", "state", "answer", "reason", "message")}
    times = {key: row[key] for key in ("created", "started", "ended")}
    inputs = {
        slot: [{key: file[key] for key in ("name", "sha256", "size")} for file in files]
        for slot, files in request["files"].items()
        if files
    }
    ended = row["state"] not in ("queued", "running")
    made = {"options": request["options"], "inputs": inputs, "files": folder.made() if ended else []}
    return told | times | {"restarts": row["crashes"]} | made
