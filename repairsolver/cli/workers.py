"""The options that say who works: processes of this machine, or a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", metavar="N", min=1,
        help="Worker processes that share a search over boxes; each may hold --memory.",
    ),
]  # fmt: skip
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS",
        help="Work on the Ray cluster at ADDRESS: auto, HOST:PORT, ray://HOST:PORT; or local, one that is "
        "started here.",
    ),
]  # fmt: skip


def workers(jobs: int | None, ray: str | None) -> dict[str, Any]:
    """The arguments of `verify` for these options; a cluster without a number of jobs gets one."""
    if ray is None:
        return {"jobs": jobs}
    return {"jobs": jobs or 1, "executor": "ray", "address": ray}
