"""Two lines between which an activation lies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The two lines of a relaxation, each tensor [b, size], or [b, s, size] where it differs by row."""

    lower_slope: Tensor
    lower_shift: Tensor
    upper_slope: Tensor
    upper_shift: Tensor
