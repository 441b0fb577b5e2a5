"""`repairsolver apply`: a change in a file, applied to the network that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Normalise
from repairsolver.cli.running import running


def apply(
    network: Annotated[Path, typer.Argument(metavar="NET", help="The original network: ONNX or NNet.")],
    edit: Annotated[Path, typer.Argument(metavar="EDIT", help="Change that *repair* wrote: .json or .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="The changed network.")],
    normalise: Normalise = True,
    debug: Debug = False,
) -> None:
    """Apply a change to a network: bit for bit the repaired network.

    Prints **applied**, then the largest changes. Nothing is verified: `verify` does that.
    """
    with running(quiet=True, debug=debug):
        import repairsolver as rs
        from repairsolver.repairing.edit_file import load_edit
        from repairsolver.report import files

        files.check_output(out, network, edit)
        net = rs.load_network(network, normalise=normalise)
        change = load_edit(edit, net)
        changed = rs.apply_edit(net, change)
        out.parent.mkdir(parents=True, exist_ok=True)
        rs.save_network(changed, out)
    typer.echo(f"applied\n{change.describe()}\nWritten: {out}")
