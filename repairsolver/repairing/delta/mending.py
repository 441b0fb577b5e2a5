r"""A change that satisfies every row, near one that does not yet: for programs whose time is up.

Programs to which rows are added come from below: what they find is cheaper than every change that satisfies
all rows, and violates some until the end. From there

$$ \min_\delta \tfrac12 \sum_k (need_k + \epsilon - row_k(\delta))_+^2 $$

is a smooth convex function, whose minimum is 0 where the rows can be met; its gradient is one product with
the points' features, whatever the number of rows. The sum runs over the points that fall short at some change
met on the way, which are few among many; the others are looked at whenever these hold. On the line between
the two the share of the way is taken after which all rows just hold, as the norm is convex.

Source: Nocedal and Wright, Numerical Optimization, 2006, section 7.2 (limited-memory BFGS).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from repairsolver.repairing.delta.curvature import Kronecker, as_vector, features
from repairsolver.repairing.delta.layer import EditableLayer
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array

Ids = NDArray[np.int64]

STEPS, MEMORY = 1000, 20
"""Of the source's method."""

SPARE = 0.1
"""Epsilon, as a share of the largest need or shortfall at the start."""

HELD = 4_000_000
"""Entries of dense gradients held at once, of layers that are not dense ones."""


class _TimeUpError(Exception):
    """The time was up in the middle of a search."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """The rows that must hold.

    Args:
        needs: what they must reach, [b] by group.
        forced: which of them must, [b, r] by group.
        reach: of the changes, [unknowns].
    """

    requirements: Requirements
    needs: Mapping[str, Array]
    forced: Mapping[str, NDArray[np.bool_]]
    reach: Array

    def short(self, delta: Array) -> dict[str, Array]:
        """What rows fall short by, [b, r] by group; minus infinity where nothing is asked."""
        values = self.requirements.all_values(delta)
        return {
            name: np.where(self.forced[name], self.needs[name][:, None] - values[name], -np.inf)
            for name in values
        }

    def at(self, points: Mapping[str, Ids]) -> Wanted:
        """The same at some of the points, by group."""
        groups = self.requirements.groups
        some = {name: group.part(points[name]) for name, group in groups.items() if len(points[name])}
        return Wanted(
            Requirements(self.requirements.network, self.requirements.layer, some),
            {name: self.needs[name][points[name]] for name in some},
            {name: self.forced[name][points[name]] for name in some},
            self.reach,
        )


def mended(wanted: Wanted, start: Array, deadline: float) -> Array | None:
    """A change [unknowns] with which all forced rows hold; None if none is found in time."""
    layer = wanted.requirements.layer
    if type(layer) is not EditableLayer:
        return None
    low = wanted.short(start)
    worst = _worst(low)
    if worst <= 0:
        return start
    largest = max(float(np.abs(needs).max(initial=0.0)) for needs in wanted.needs.values())
    spare = SPARE * max(worst, largest)
    delta, high, points = start, low, {name: np.zeros(0, dtype=np.int64) for name in low}
    while _worst(high) > 0:
        more = {name: np.union1d(points[name], np.flatnonzero(_lacks(high[name], spare))) for name in high}
        if all(len(more[name]) == len(points[name]) for name in more):
            return None  # the least of the function is not 0
        points = more
        try:
            delta = _lowered(_Search(wanted.at(points), layer, spare, deadline), delta)
        except _TimeUpError:
            return None
        high = wanted.short(delta)
    return np.asarray(start + _share(low, high) * (delta - start))


def _lowered(search: _Search, start: Array) -> Array:
    """A change at which the function is as low as possible, or at which no row falls short."""
    lowest: Any = minimize  # its stubs know no function that returns its gradient, too
    reach = search.wanted.reach
    answer = lowest(
        search.value, start, jac=True, method="L-BFGS-B", bounds=Bounds(-reach, reach),
        callback=search.stop, options={"maxiter": STEPS, "maxcor": MEMORY, "ftol": 1e-15, "gtol": 1e-14},
    )  # fmt: skip
    return np.asarray(answer.x)


def _worst(short: Mapping[str, Array]) -> float:
    """What the worst row falls short by."""
    return max((float(part.max(initial=-np.inf)) for part in short.values()), default=-np.inf)


def _lacks(short: Array, spare: float) -> NDArray[np.bool_]:
    """At which points a row falls short of its need and the spare, [b]."""
    return np.asarray((short + spare > 0).any(axis=1))


def _share(low: Mapping[str, Array], high: Mapping[str, Array]) -> float:
    """How far to go from where some rows fall short to where none does, so that none does."""
    share = 0.0
    for name, short in low.items():
        lacking = short > 0
        if lacking.any():
            share = max(share, float((short[lacking] / (short[lacking] - high[name][lacking])).max()))
    return min(1.0, share)


@dataclass(slots=True, eq=False)
class _Search:
    """The function of the module's formula.

    Args:
        worst: what the worst row fell short by at the last change.
    """

    wanted: Wanted
    layer: EditableLayer
    spare: float
    deadline: float
    worst: float = np.inf

    def value(self, delta: Array) -> tuple[float, Array]:
        """The function and its gradient [unknowns]."""
        if time.perf_counter() > self.deadline:
            raise _TimeUpError
        total, gradient = 0.0, np.zeros(self.layer.size)
        short = self.wanted.short(delta)
        self.worst = _worst(short)
        for name, group in self.wanted.requirements.groups.items():
            hinge = np.maximum(short[name] + self.spare, 0.0)
            lacking = hinge.any(axis=1)
            total += 0.5 * float((hinge**2).sum())
            if lacking.any():
                pressed = np.asarray((self.layer.tail.T @ group.pressed(hinge[lacking]).T).T)
                gradient -= _pulled(self.layer, group.hidden[lacking], pressed)
        return total, gradient

    def stop(self, _: Array) -> None:
        """End where no row falls short."""
        if self.worst <= 0:
            raise StopIteration


def _pulled(layer: EditableLayer, hidden: Array, pressed: Array) -> Array:
    """sum_b pressed_b dz_b / d unknowns, [unknowns]."""
    block = layer.block
    if Kronecker.fits(block):
        return as_vector(block, pressed.T @ features(block, hidden))
    batch = max(1, HELD // layer.size)
    parts = [
        block.gradient(hidden[i : i + batch], pressed[i : i + batch, None]).sum(axis=(0, 1))
        for i in range(0, len(hidden), batch)
    ]
    return np.asarray(np.sum(parts, axis=0))
