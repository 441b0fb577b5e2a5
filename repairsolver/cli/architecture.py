"""`repairsolver architecture`: does a layer graph fit together, and what is the cheapest repair?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from repairsolver.cli.options import Debug, Json, Quiet
from repairsolver.cli.running import running


def architecture(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An ONNX file, or JSON: Keras's own, a layer list, ExAIS.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            "--output",
            metavar="OUT",
            help="Write the repaired model here: ONNX for ONNX, else JSON.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List all repairs of the same price.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --all: list no more than so many.")] = 100,
    input_shape: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Shape of the input, without the batch axis.")
    ] = None,
    output_shape: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Shape that the output must have.")
    ] = None,
    labels_shape: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Shape of the labels that the output goes with.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="The loss, by its name in Keras or torch; by default the compiled one, or mse."),
    ] = None,
    opaque: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=N,N,...]", help="A layer (or type) without a rule: keeps or gives a shape."
        ),
    ] = None,
    core: Annotated[
        bool, typer.Option("--core", help="Also show an irreducible set of statements that contradict.")
    ] = False,
    prove: Annotated[
        bool, typer.Option("--prove/--no-prove", help="Prove that no cheaper edits exist.")
    ] = True,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Seconds for each engine that proves.")
    ] = 10.0,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find what is wrong with a layer graph, and the cheapest edits that make it valid.

    Prints **valid**, **repaired** or **unknown** (no repair was found).
    """
    with running(quiet=quiet, debug=debug):
        import repairsolver as rs
        from repairsolver.architecture.writing import repair_record, repair_text
        from repairsolver.targets import keep_apart

        keep_apart((output,), (model,))
        known: dict[str, Any] = {
            "input_shape": _shape(input_shape),
            "output_shape": _shape(output_shape),
            "labels_shape": _shape(labels_shape),
            "loss": loss,
            "opaque": dict(map(_opaque, opaque or [])),
        }
        found = rs.contradiction(model, **known, seconds=timeout) if core else None
        fix = rs.repair_architecture(
            model,
            **known,
            prove=prove,
            seconds=timeout,
            every=limit if every else 0,
        )
        notes = fix.save(output) if output is not None and fix.status != "unknown" else ()
    if as_json:
        record = {**repair_record(fix, alternatives=every), "weights": list(notes)}
        record |= {"contradiction": list(found.statements)} if found else {}
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        extra = [str(found)] if found else []
        extra += [f"weights: {note}" for note in notes]
        extra += [f"Written: {output}"] if output is not None and fix.status != "unknown" else []
        typer.echo("\n".join([repair_text(fix, alternatives=every), *extra]))


def _opaque(text: str) -> tuple[str, tuple[int, ...] | None]:
    name, _, shape = text.partition("=")
    return name, _shape(shape or None)


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no shape such as 28,28,1") from None
