r"""Points that no fit has seen, on lines through two that are known.

A fit has one number for every weight, and few points that hold it back: those whose decision is in danger. It
keeps nearly all of them, which says little about others of their kind, as with any judgement by what was
learnt from. Others are at hand for nothing: where a and b are two negatives, or two positives, points
\(a + s (b - a)\) with s a little beyond [0, 1] are of the same kind if the network itself says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.repairing.imitation.behaviour import Behaviours
from repairsolver.results import Array

NEGATIVES, POSITIVES, BEYOND = 40_000, 60_000, 0.3
"""Points tried for fresh ones of each kind, and how far beyond the two known, as a share of their
distance."""

PART = 2_000
"""Points that are computed at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Endangered:
    """Fresh positives whose decision a multiple of some change of the outputs harms.

    Args:
        values: of all tensors at these, by name.
        count: of all fresh positives, in danger or not.
    """

    values: dict[str, Array]
    count: int


def between(core: Network, behaviours: Behaviours, rng: np.random.Generator) -> Behaviours:
    """Violating points on lines through two negatives in their place; none where these have labels."""
    if behaviours.labels is not None:
        return replace(behaviours, negatives=behaviours.negatives[:0], labels=None)
    drawn = _on_lines(core, behaviours.negatives, NEGATIVES, rng)
    wrong = behaviours.prop.violation(drawn, _outputs(core, drawn)) >= 0
    return replace(behaviours, negatives=drawn[wrong])


def endangered(
    core: Network, behaviours: Behaviours, change: Array, rng: np.random.Generator
) -> Endangered | None:
    """Points on lines through two positives; None without positives, and where negatives have labels, as
    these points have none.

    Args:
        change: the largest of the outputs, [m]: a decision that it leaves is left by every share of it, too.
    """
    if behaviours.labels is not None or not len(behaviours.positives):
        return None
    drawn = _on_lines(core, behaviours.positives, POSITIVES, rng)
    outputs = _outputs(core, drawn)
    fine = behaviours.prop.violation(drawn, outputs) < 0
    harmed = fine & (behaviours.decided(outputs) != behaviours.decided(outputs + change))
    return Endangered(activations(core, drawn[harmed]), int(fine.sum()))


def _on_lines(core: Network, points: Array, count: int, rng: np.random.Generator) -> Array:
    first, second = rng.integers(len(points), size=(2, count))
    share = rng.uniform(-BEYOND, 1 + BEYOND, size=(count, 1))
    drawn = points[first] + share * (points[second] - points[first])
    return np.asarray(drawn.astype(core.element).astype(np.float64))


def _outputs(core: Network, points: Array) -> Array:
    return np.concatenate([core(part) for part in np.array_split(points, 1 + len(points) // PART)])
