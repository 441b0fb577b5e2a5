"""`repairsolver solvers`: what is installed, licensed and capable."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from repairsolver.cli.options import Debug, Json
from repairsolver.cli.running import running


def solvers(as_json: Json = False, debug: Debug = False) -> None:
    """List the solvers: which can be used here, their versions and what they can do."""
    with running(quiet=True, debug=debug):
        from repairsolver.report.records import dump, plain
        from repairsolver.solvers import Feature, report

        rows = report()
    if as_json:
        typer.echo(dump({"solvers": plain(rows)}))
        return
    table = Table("solver", "usable", "version", "can do", "note")
    for row in rows:
        usable = "yes" if row.availability.usable else "no"
        abilities = ", ".join(feature.value for feature in Feature if feature in row.features)
        table.add_row(row.name, usable, row.availability.version, abilities, row.availability.note)
    Console().print(table)
