"""`repairsolver compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug
from repairsolver.cli.running import SOUNDNESS_ALARM, running

MOST_SHOWN = 40
"""Instances that are listed on stdout; files have all of them."""


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Folders of *bench*, or CSV files of one row an instance."),
    ],
    published: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.csv", help="Published numbers: rows of instances, or a row of totals for each tool."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write tables (CSV, LaTeX, text), plots and a page."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.001, help="Time limit of files that tell none."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Put runs side by side: what each solved, how fast and how well, and where they contradict each other.

    Prints **agree** or **contradiction**, then what contradicts, what only some runs have, and the tables.
    The last run is the baseline that the others are plotted against. Exit code 3 if two runs cannot both be
    right, or one contradicts what its own file knows.
    """
    with running(quiet=True, debug=debug):
        from repairsolver.report.comparison import compare as read
        from repairsolver.report.comparison import write_comparison
        from repairsolver.report.tables import written

        made = read(results, published or ())
        paths = write_comparison(made, out, timeout) if out is not None else []
        tables = [written(made.summary, "text")]
        if len(made.instances.rows) <= MOST_SHOWN:
            tables.append(written(made.instances, "text"))
    alarm = bool(made.contradictions or made.wrong)
    typer.echo("contradiction" if alarm else "agree")
    for line in made.sentences():
        typer.echo(line)
    for table in tables:
        typer.echo(f"\n{table}", nl=False)
    for path in paths:
        typer.echo(f"Written: {path}")
    if alarm:
        raise typer.Exit(SOUNDNESS_ALARM)
