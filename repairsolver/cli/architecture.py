"""`repairsolver architecture`: does a layer graph fit together, and what is the cheapest repair?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json, Quiet
from repairsolver.cli.running import running


def architecture(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="JSON: Keras's own, a layer list, or ExAIS.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="Write the repaired layer list here.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show all repairs found of the same price.")] = False,
    input_shape: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Shape of the input, without the batch axis.")
    ] = None,
    output_shape: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Shape that the output must have.")
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove/--no-prove", help="Decide by z3 whether cheaper edits exist.")
    ] = True,
    timeout: Annotated[float, typer.Option(help="Seconds for each of z3's decisions.")] = 10.0,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find what is wrong with a layer graph, and the cheapest edits that make it valid.

    Prints **valid**, **repaired** or **unknown** (no repair was found).
    """
    with running(quiet=quiet, debug=debug):
        import repairsolver as rs
        from repairsolver.architecture.writing import model_record, repair_record, repair_text
        from repairsolver.targets import file_target

        if output is not None:
            file_target(output)
        fix = rs.repair_architecture(
            model,
            input_shape=_shape(input_shape),
            output_shape=_shape(output_shape),
            prove=prove,
            seconds=timeout,
        )
        if output is not None and fix.status != "unknown":
            output.write_text(json.dumps(model_record(fix.model), indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(repair_record(fix, alternatives=every), indent=2, ensure_ascii=False))
    else:
        typer.echo(repair_text(fix, alternatives=every))


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no shape such as 28,28,1") from None
