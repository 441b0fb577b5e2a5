"""The options that say who works: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
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
        help="Work on the Ray cluster at ADDRESS: auto, HOST:PORT or ray://HOST:PORT; or on one that is "
        "started here, with *local*, or without an address before another option or at the end.",
    ),
]  # fmt: skip


@contextmanager
def answers_alone(ray: str | None) -> Iterator[None]:
    """Keep stdout for the answer: Ray prints there when it loses a worker; here that goes to stderr."""
    if ray is None:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def completed(arguments: Sequence[str]) -> list[str]:
    """The arguments with an address behind a `--ray` that ends them or comes before another option."""
    following = [*arguments, "-"][1:]
    return [
        "--ray=local" if one == "--ray" and then.startswith("-") else one
        for one, then in zip(arguments, following, strict=True)
    ]


def workers(jobs: int | None, ray: str | None) -> dict[str, Any]:
    """The arguments of `verify` for these options; a cluster without a number of jobs gets one."""
    if ray is None:
        return {"jobs": jobs}
    return {"jobs": jobs or 1, "executor": "ray", "address": ray}
