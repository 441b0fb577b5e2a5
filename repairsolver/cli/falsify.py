"""`repairsolver falsify`: inputs that violate a property, the worst one, or many different ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from repairsolver.cli.options import Debug, Json, Normalise, Quiet, Seed, Timeout
from repairsolver.cli.running import INTERRUPTED, running


def falsify(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[
        Path, typer.Argument(metavar="PROP", help="Property: VNN-LIB 1.0 or 2.0 (also .gz).")
    ],
    worst: Annotated[
        bool,
        typer.Option("--worst", help="Search for the largest violation, and prove an upper bound on it."),
    ] = False,
    count: Annotated[
        int, typer.Option("--count", metavar="NUMBER", min=1, help="So many different inputs, far apart.")
    ] = 1,
    timeout: Timeout = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="Where gradients are computed: cpu or a torch device.")] = "cpu",
    normalise: Normalise = True,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for inputs that violate a property.

    Prints **sat** and the inputs that were found, the worst first, or **unknown**: nothing was found, which
    proves nothing. With a time limit the search goes on until it is reached. Ctrl-C prints what was found so
    far, with exit code 130.
    """
    interrupted = False
    with running(quiet=quiet, debug=debug) as on_event:
        import repairsolver as rs
        from repairsolver.report import records, sentences

        net = rs.load_network(network, normalise=normalise)
        prop = rs.load_property(property_, network=net)
        limits = rs.Limits(seconds=timeout)
        try:
            found = rs.falsify(
                net,
                prop,
                worst=worst,
                count=count,
                limits=limits,
                seed=seed,
                on_event=on_event,
                device=device,
            )
        except rs.Interrupted as stopped:
            found, interrupted = cast(rs.Falsification, stopped.result), True
    if as_json:
        typer.echo(records.dump(records.falsification_record(found, net, prop)))
    else:
        typer.echo(found.status.word)
        for example in found.counterexamples:
            typer.echo(sentences.assignment(example))
        typer.echo(sentences.explain_falsification(found, worst=worst))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
