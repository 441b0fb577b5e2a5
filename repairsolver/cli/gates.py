"""`repairsolver gates`: the gates that a file carries, listed or taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Json
from repairsolver.cli.running import running


def gates(
    network: Annotated[Path, typer.Argument(metavar="FILE", help="A network with gates: ONNX (also .gz).")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Write the network as it was before its gates, with -o.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where *--remove* writes.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Inputs, .npz or .csv: how often each gate is on there."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the gates of a network: what each does, and where. Or take them out.

    Prints **gates** and a list, **none** if there are none, **unrecognised** if there are some that were not
    put in by repairsolver, or were edited since; or **removed**.
    """
    if remove != (out is not None):
        raise typer.BadParameter("--remove and -o OUT.onnx belong together")
    with running(quiet=True, debug=debug):
        import repairsolver as rs
        from repairsolver.report import gates as report
        from repairsolver.report.records import dump

        net = rs.load_network(network)
        if out is not None:
            from repairsolver.report.files import check_removal

            check_removal(out, network)
            before = rs.remove_gates(net)
            rs.save_network(before, out)
            lines, record = [f"removed\nWritten: {out}"], {"result": "removed", "sha256": before.sha256}
        else:
            points = None if data is None else rs.load_points(data, net).inputs
            lines, record = report.listed(net, points)
    typer.echo(dump(record) if as_json else "\n".join(lines))
