"""`repairsolver demo`: the main job on a bundled network, in a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug, Quiet, Seed
from repairsolver.cli.running import running


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")] = Path(
        "repairsolver-demo"
    ),
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find a violation of a bundled controller, repair it minimally, prove the repair, show what changed."""
    with running(quiet=quiet, debug=debug) as on_event:
        from repairsolver.demo.story import tell

        tell(out, seed=seed, on_event=on_event)
