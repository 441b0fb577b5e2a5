"""`repairsolver localise`: which layers and neurons are responsible for violations."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json, Normalise, Quiet, Seed
from repairsolver.cli.repair import Decision
from repairsolver.cli.running import running


class Measure(StrEnum):
    """What counts as responsible."""

    DIFFERENCE = "difference"
    NORMALISED = "normalised"
    GRADIENT = "gradient"
    BOUNDS = "bounds"


def localise(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[Path, typer.Argument(metavar="PROP", help="Property: VNN-LIB (also .gz).")],
    measure: Annotated[
        Measure,
        typer.Option(
            help="*difference* of mean behaviour, *normalised* by its spread, *gradient* of the violation "
            "times the difference, or how far *bounds* let a neuron move the violation."
        ),
    ] = Measure.NORMALISED,
    negatives: Annotated[
        Path | None, typer.Option(help="Inputs that violate: .npz or .csv; sampled without it.")
    ] = None,
    positives: Annotated[
        Path | None, typer.Option(help="Inputs that behave well: .npz or .csv; sampled without it.")
    ] = None,
    decision: Annotated[
        Decision,
        typer.Option(
            help="Which output labels are of; *auto*: what positives or the property tell, else *max*."
        ),
    ] = Decision.AUTO,
    samples: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Inputs of the regions that are drawn.")
    ] = 10_000,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="So many neurons are printed.")] = 20,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="A heat map: .svg, .png or .pdf.")
    ] = None,
    seed: Seed = 0,
    normalise: Normalise = True,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rank layers and neurons by how responsible they are for violations.

    Prints **localised**, then layers and neurons, the most responsible first.
    """
    with running(quiet=quiet, debug=debug):
        import repairsolver as rs
        from repairsolver.report import localisation, records
        from repairsolver.targets import file_target

        if picture is not None:
            localisation.check_picture(picture)
            file_target(picture)
        net = rs.load_network(network, normalise=normalise)
        prop = rs.load_property(property_, network=net)
        found = rs.localise(
            net,
            prop,
            measure=measure.value,
            negatives=negatives,
            positives=positives,
            decision=decision.value,
            samples=samples,
            seed=seed,
        )
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            localisation.draw(found, picture)
    if as_json:
        typer.echo(records.dump(localisation.localisation_record(found, net, prop)))
        return
    typer.echo("localised")
    typer.echo(localisation.explain(found, count))
    if picture is not None:
        typer.echo(f"Written: {picture}")
