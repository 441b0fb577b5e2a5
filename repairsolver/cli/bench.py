"""`repairsolver bench`: run a list of instances."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from repairsolver.cli.options import Debug, Quiet, Seed
from repairsolver.cli.running import INTERRUPTED, SOUNDNESS_ALARM, running
from repairsolver.cli.workers import Ray, answers_alone


class Mode(StrEnum):
    """What is done with every instance."""

    VERIFY = "verify"
    REPAIR = "repair"


def bench(
    instances: Annotated[
        Path,
        typer.Argument(
            metavar="INSTANCES.csv",
            help="Network, property, timeout, as VNN-COMP has them; with a head also columns of options.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Gets run.json, results.csv and all files.")
    ],
    mode: Annotated[Mode, typer.Option(help="What is done with every instance.")] = Mode.VERIFY,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Instances at once, one thread each.")
    ] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.001, help="Of the instances that say none."),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0.001, help="What the process of an instance may hold."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-x", metavar="NAME=VALUE", help="For all instances, such as *norm=linf*."),
    ] = None,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in DIR; what ran, and is still the same, is kept.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="With --resume: run again what ended as an error.")
    ] = False,
    ray: Ray = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Verify or repair every instance of a list, each in a process of its own.

    Prints **finished**, then how much was solved. Every row is in DIR/results.csv as soon as it is there:
    after Ctrl-C (exit code 130), or a crash, *--resume* goes on. Errors are rows, too, and stop nothing.
    Exit code 3 if an answer contradicts the column *expected* of the list, or its own check.
    """
    interrupted = False
    with running(quiet=True, debug=debug), answers_alone(ray):
        import repairsolver as rs
        from repairsolver.report.tables import summary, written

        try:
            made = rs.sweep(
                instances,
                out,
                mode=mode.value,
                jobs=jobs,
                timeout=timeout,
                memory_gb=memory,
                seed=seed,
                options=_options(option or []),
                resume=resume,
                retry=retry,
                executor="local" if ray is None else "ray",
                address=ray or "",
                on_row=None if quiet else _tell,
            )
        except rs.Interrupted as stopped:
            made, interrupted = cast(rs.Experiment, stopped.result), True
        table = written(summary([made.sweep]), "text") if made.rows else ""
    typer.echo("interrupted" if interrupted else "finished")
    typer.echo(f"{len(made.rows)} of {made.total} instances; {made.ran} run now, {made.kept} kept.")
    typer.echo(table, nl=False)
    for row in made.wrong:
        typer.echo(
            f"WRONG: {row['onnx']} {row['vnnlib']}: {row['result']}, expected {row['expected'] or '-'}; "
            f"{row['message']}"
        )
    typer.echo(f"Written: {out / 'results.csv'}")
    if made.wrong:
        raise typer.Exit(SOUNDNESS_ALARM)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _options(texts: list[str]) -> dict[str, object]:
    named = [text.partition("=") for text in texts]
    wrong = [text for text, (name, sign, _) in zip(texts, named, strict=True) if not (name and sign)]
    if wrong:
        raise typer.BadParameter(f"--option {wrong[0]}: expected NAME=VALUE, such as norm=linf")
    return {name: value for name, _, value in named}


def _tell(row: dict[str, str], number: int, total: int) -> None:
    """One line on stderr for each row."""
    seconds = f"{float(row['seconds']):.2f} s" if row["seconds"] else ""
    why = f" ({row['reason']}: {row['message'][:200]})" if row["reason"] else ""
    asked = " ".join(filter(None, (row["onnx"], row["vnnlib"], row["options"])))
    typer.echo(f"{number:5d}/{total}  {asked}  {row['result']} {seconds}{why}", err=True)
