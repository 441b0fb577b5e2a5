"""Which output of a network is its decision: the largest, the smallest, or (where nobody says which) both."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["max", "min"]
Decision = Literal["max", "min", "both"]
Asked = Literal["auto", "max", "min", "both"]

ASKED: tuple[Asked, ...] = ("auto", "max", "min", "both")
SIDES: dict[Decision, tuple[Side, ...]] = {"max": ("max",), "min": ("min",), "both": ("max", "min")}
SIGN: dict[Side, float] = {"max": 1.0, "min": -1.0}
"""Times this, the chosen output is the largest."""
OUTPUT: dict[Side, str] = {"max": "the largest output", "min": "the smallest output"}


def picked(outputs: NDArray[np.floating], decision: Decision) -> NDArray[np.int64]:
    """The chosen outputs of scores [b, m], a column for each side, [b, 1 or 2]; of ties the first."""
    columns = [
        outputs.argmax(axis=1) if side == "max" else outputs.argmin(axis=1) for side in SIDES[decision]
    ]
    return np.stack(columns, axis=1)


def moved(before: NDArray[np.floating], after: NDArray[np.floating], decision: Decision) -> NDArray[np.bool_]:
    """Whether another output is chosen, [b]."""
    return np.asarray((picked(before, decision) != picked(after, decision)).any(axis=1))
