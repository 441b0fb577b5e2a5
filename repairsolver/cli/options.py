"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Stop after so many seconds.")
]
Normalise = Annotated[
    bool,
    typer.Option(
        "--normalise/--no-normalise",
        help="For NNet files: whether their scaling belongs to the network, so that inputs are in the "
        "file's units.",
    ),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option(
        "--certificate", metavar="FILE", help="Write the proof, for *repairsolver check* and for others."
    ),
]
Memory = Annotated[
    float,
    typer.Option("--memory", metavar="GB", min=0.001, help="What bounding may hold at once; less is slower."),
]
TreeFile = Annotated[
    Path | None,
    typer.Option(
        "--tree",
        metavar="FILE",
        help="Keep the search in this file, every minute, when the time is up and on Ctrl-C; if the file "
        "exists, go on from it.",
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE.html", help="Write a report: one HTML file that needs nothing else."
    ),
]


def _seed(value: int) -> int:
    """Checked here, as a range would stand in the help of every command."""
    if not 0 <= value < 2**63:
        raise typer.BadParameter(f"a seed is a whole number from 0 to {2**63 - 1}, got {value}")
    return value


Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", callback=_seed, help="Same seed, same answer, time limits aside."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
