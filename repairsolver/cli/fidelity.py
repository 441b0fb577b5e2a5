"""`repairsolver fidelity`: what a changed network keeps of the original's behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json, Normalise, Seed
from repairsolver.cli.repair import Decision
from repairsolver.cli.running import running


def fidelity(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The original network: ONNX or NNet.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The repaired network.")],
    lower: Annotated[
        str | None,
        typer.Option(metavar="A,...", help="Lower ends of the domain, one for each input or one for all."),
    ] = None,
    upper: Annotated[
        str | None,
        typer.Option(metavar="B,...", help="Upper ends. Without both the domain is the property's regions."),
    ] = None,
    property_: Annotated[
        list[Path] | None,
        typer.Option("--property", metavar="PROP", help="Also tell what is kept in its regions; repeatable."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Points whose decision should stay, such as test data: .npz or .csv.")
    ] = None,
    points: Annotated[Path | None, typer.Option(help="Points that were repaired: .npz or .csv.")] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="Points to repair that the repair has not seen: .npz or .csv.")
    ] = None,
    decision: Annotated[
        Decision,
        typer.Option(
            help="Which output is chosen: largest, smallest, both, or (*auto*) what labels and property tell."
        ),
    ] = Decision.AUTO,
    samples: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Random inputs.")] = 100_000,
    seed: Seed = 0,
    normalise: Normalise = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what a repaired network keeps of the original's decisions, on a domain and on points.

    Prints **measured**, then the shares with their 95 % confidence intervals. Nothing is proved.
    """
    corners = [_corner(text, name) for name, text in (("--lower", lower), ("--upper", upper))]
    with running(quiet=True, debug=debug):
        import repairsolver as rs
        from repairsolver.decision import OUTPUT
        from repairsolver.report import records, sentences

        kept = rs.fidelity(
            rs.load_network(before, normalise=normalise),
            rs.load_network(after, normalise=normalise),
            *corners,
            property=property_ or None,
            keep=keep,
            points=points,
            unseen=unseen,
            decision=decision.value,
            samples=samples,
            seed=seed,
        )
    if as_json:
        typer.echo(records.dump({"result": "measured"} | records.plain(kept)))
        return
    typer.echo("measured")
    if decision is Decision.AUTO and kept.agreement is not None and kept.other is None:
        typer.echo(f"Decision: {OUTPUT[kept.decision]} (--decision to change).")
    typer.echo("\n".join(sentences.fidelity_lines(kept)))


def _corner(text: str | None, option: str) -> float | list[float] | None:
    """One number for all inputs, or one for each."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: expected numbers such as -1 or -1,0.5", param_hint=option
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers
