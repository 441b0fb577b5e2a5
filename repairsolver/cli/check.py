"""`repairsolver check`: does a certificate prove what it claims?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json, Normalise
from repairsolver.cli.running import running


def check(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="Certificate of *verify* or *repair*.")],
    network: Annotated[Path, typer.Option(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[
        Path, typer.Option("--property", metavar="PROP", help="Property: VNN-LIB 1.0 or 2.0 (also .gz).")
    ],
    normalise: Normalise = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a certificate: replay its proof with rigorous rounding, trusting no number of the prover.

    Prints **valid** or **invalid**, then why.
    """
    with running(quiet=True, debug=debug):
        import repairsolver as rs
        from repairsolver.report.records import dump, plain

        net = rs.load_network(network, normalise=normalise)
        prop = rs.load_property(property_, network=net)
        found = rs.check(certificate, network=net, property=prop)
    word = "valid" if found.valid else "invalid"
    typer.echo(dump({"result": word} | plain(found)) if as_json else f"{word}\n{found.reason}")
