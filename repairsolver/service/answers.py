"""Answers that several routes give: errors as OpenAPI has them, and what a full disk looks like."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError


async def full_disk(request: Request, error: Exception) -> Response:
    """A full disk is an answer; anything else is a bug and shows itself in the log."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return JSONResponse({"detail": "the disk of the server is full; nothing was stored"}, 507)
    if isinstance(error, OperationalError) and "full" in str(error.orig):
        return JSONResponse({"detail": "the disk of the server is full; nothing was stored"}, 507)
    raise error


REASONS = {
    400: "A malformed form, or too many parts", 401: "No valid token", 404: "No such job or file",
    409: "Not in this state", 413: "Too large", 422: "Wrong files or options",
    429: "Too many jobs wait", 507: "The server's disk is full",
}  # fmt: skip


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    detail = {"type": "object", "properties": {"detail": {}}, "required": ["detail"]}
    return {
        s: {"description": REASONS[s], "content": {"application/json": {"schema": detail}}}
        for s in {401, *statuses}
    }


def events_answer() -> dict[int | str, dict[str, Any]]:
    return errors_of(404) | {
        200: {"description": "Events progress, job and end", "content": {"text/event-stream": {}}}
    }


def file_answer() -> dict[int | str, dict[str, Any]]:
    return errors_of(404) | {200: {"description": "Its bytes", "content": {"application/octet-stream": {}}}}
