"""The `repairsolver` program: its commands and global options."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from repairsolver import __version__
from repairsolver.cli.apply import apply
from repairsolver.cli.architecture import architecture
from repairsolver.cli.bench import bench
from repairsolver.cli.check import check
from repairsolver.cli.compare import compare
from repairsolver.cli.demo import demo
from repairsolver.cli.falsify import falsify
from repairsolver.cli.fidelity import fidelity
from repairsolver.cli.gates import gates
from repairsolver.cli.localise import localise
from repairsolver.cli.repair import repair
from repairsolver.cli.report import report
from repairsolver.cli.running import INPUT_ERROR
from repairsolver.cli.sample import sample
from repairsolver.cli.serve import serve
from repairsolver.cli.solvers import solvers
from repairsolver.cli.verify import verify
from repairsolver.cli.workers import completed

app = typer.Typer(
    name="repairsolver",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    *(verify, falsify, localise, repair, fidelity, gates, sample, architecture, apply, check),
    *(bench, compare, report, serve, solvers, demo),
)
for command in COMMANDS:
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"repairsolver {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Verify neural networks, and repair them minimally and with proof.

    The first line on stdout is one word, the answer; progress and messages go to stderr.
    Exit codes: 0 an answer was printed, 1 error of input or solver, 2 wrong usage, 3 soundness alarm,
    124 a repair ran out of time, 130 interrupted.
    """


def main() -> None:
    """Entry point of the `repairsolver` script."""
    try:
        app(completed(sys.argv[1:]))
    except OSError as error:
        typer.echo(f"error: the answer cannot be written to stdout: {error}; free space there", err=True)
        # What is left in stdout's buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INPUT_ERROR)


if __name__ == "__main__":
    main()
