"""The options of `repair --guarantee`: what statements by samples are to show."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from repairsolver.errors import EditError

PANEL = "Without proof, by samples"


class Kind(StrEnum):
    """What is shown about the repaired network."""

    EXACT = "exact"
    PAC = "pac"
    AUTO = "auto"


Guarantee = Annotated[
    Kind,
    typer.Option(
        rich_help_panel=PANEL,
        help="Proved; or shown by samples (--epsilon, --eta); *auto*: what cannot be proved in time.",
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=PANEL, help="By samples: the probability of a violation allowed; 0.001 without it."
    ),
]
Eta = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=PANEL, help="By samples: the probability of a wrong answer; 0.001 without it."
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=1.0,
        rich_help_panel=PANEL,
        help="Of *auto*: an exact repair that keeps fewer decisions (0.99 without it) may give way to one by "
        "samples.",
    ),
]


def levels(
    guarantee: Kind, epsilon: float | None, eta: float | None, min_agreement: float | None
) -> dict[str, float]:
    """The options that were given, by their names in Python.

    Raises:
        EditError: they mean nothing for this guarantee.
    """
    given = {"epsilon": epsilon, "eta": eta, "min_agreement": min_agreement}
    found = {name: value for name, value in given.items() if value is not None}
    if guarantee is Kind.EXACT and found:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in found)
        raise EditError(f"{names}: only for --guarantee pac or auto")
    if guarantee is Kind.PAC and min_agreement is not None:
        raise EditError("--min-agreement: only for --guarantee auto, which chooses between two repairs")
    return found
