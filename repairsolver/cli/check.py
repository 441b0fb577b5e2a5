"""`repairsolver check`: does a certificate prove what it claims?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json, Normalise
from repairsolver.cli.running import running


def check(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT", help="Certificate of *verify*, *repair* or *sample*.")
    ],
    network: Annotated[Path, typer.Option(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[
        Path, typer.Option("--property", metavar="PROP", help="Property: VNN-LIB 1.0 or 2.0 (also .gz).")
    ],
    points: Annotated[
        Path | None, typer.Option(help="Where a statement's samples come from points: the same file.")
    ] = None,
    normalise: Normalise = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a certificate: replay its proof with rigorous rounding, trusting no number of the prover.

    The samples of a statement are drawn, evaluated and counted again.

    Prints **valid** or **invalid**, then why.
    """
    with running(quiet=True, debug=debug):
        import repairsolver as rs
        from repairsolver.report.records import dump, plain

        net = rs.load_network(network, normalise=normalise)
        prop = rs.load_property(property_, network=net)
        found = rs.check(certificate, network=net, property=prop, points=points)
    word = "valid" if found.valid else "invalid"
    typer.echo(dump({"result": word} | plain(found)) if as_json else f"{word}\n{found.reason}")
