"""`repairsolver report`: a page from results that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug
from repairsolver.cli.running import running
from repairsolver.cli.writing import check_report


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="One result (JSON of *verify* or *repair*, or its folder), or CSV files of many (or folders "
            "of *bench*).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.html", help="The report: one file, needs nothing else."),
    ] = Path("report.html"),
    tables: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For CSV files: write the tables there, as CSV and as LaTeX."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.001, help="Time limit of CSV files that tell none."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a report of results: one result with its pictures, or many with tables and plots.

    Prints **written**, then the files. Of several CSV files the last is the baseline that the others are
    plotted against.
    """
    with running(quiet=True, debug=debug):
        from repairsolver.report import page, sweep_page
        from repairsolver.report.subject import load_subject

        check_report(out)
        if not sweep_page.are_sweeps(results):
            page.write_page(page.result_page(load_subject(results[0])), out)
            made = [out]
        else:
            sweeps = sweep_page.read_sweeps(results)
            page.write_page(sweep_page.sweep_page(sweeps, timeout), out)
            made = [out, *(sweep_page.write_tables(sweeps, tables) if tables is not None else ())]
    typer.echo("written")
    for path in made:
        typer.echo(f"Written: {path}")
