"""The options of `repair --method imitation`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repairsolver.errors import EditError

if TYPE_CHECKING:
    from repairsolver.network import Network
    from repairsolver.repairing.imitation.options import Imitation


PANEL = "Method imitation"


class Kind(StrEnum):
    """How behaviour is imitated."""

    RETRAIN = "retrain"
    TUNE = "tune"


class How(StrEnum):
    """How responsible neurons are tuned."""

    EXACT = "exact"
    GRADIENT = "gradient"
    SWARM = "swarm"


Variant = Annotated[
    Kind | None,
    typer.Option(
        "--variant", rich_help_panel=PANEL, help="*Retrain* all weights (default), or *tune* a few neurons."
    ),
]
Optimiser = Annotated[
    How | None,
    typer.Option(
        "--optimiser",
        rich_help_panel=PANEL,
        help="Of tune: *exact* programs (default), *gradient*, or *swarm*.",
    ),
]
Domain = Annotated[
    Path | None,
    typer.Option(
        "--domain",
        metavar="FILE",
        rich_help_panel=PANEL,
        help="Points of the whole domain that decide as before.",
    ),
]
Prove = Annotated[
    bool,
    typer.Option("--prove", rich_help_panel=PANEL, help="Go on, at last with *delta*, until it is proved."),
]


def imitated(
    method: str,
    variant: Kind | None,
    optimiser: How | None,
    domain: Path | None,
    prove: bool,
    network: Network,
) -> Imitation | None:
    """The options of imitation; None for another method.

    Raises:
        EditError: they are given with another method, or an optimiser with retraining.
        PointSetError: the points of the domain cannot be read, or do not fit.
    """
    given = {"--variant": variant, "--optimiser": optimiser, "--domain": domain, "--prove": prove or None}
    names = [name for name, value in given.items() if value is not None]
    if method != "imitation":
        if names:
            raise EditError(f"{', '.join(names)}: only for --method imitation")
        return None
    if optimiser is not None and variant is not Kind.TUNE:
        raise EditError("--optimiser is for --variant tune: retraining uses gradients")
    from repairsolver.property import load_points
    from repairsolver.repairing.imitation.options import Imitation, Tuning

    return Imitation(
        variant=(variant or Kind.RETRAIN).value,
        domain=None if domain is None else load_points(domain, network),
        prove=prove,
        tuning=Tuning(optimiser=(optimiser or How.EXACT).value),
    )
