r"""The output shield: the least change of the scores into the safe set, half-space by half-space.

A conjunction is broken if one of its rows is: $C_r y + D_r x > d_r$. For a row of every conjunction the
scores are moved along a direction $v_r$ by what is missing, and not at all where nothing is:

$$ y' = y + \sum_r v_r \max(d_r + m - C_r y - D_r x,\; 0), \qquad C_r v_r = 1, \qquad C_s v_r \ge 0. $$

The directions move no half-space against another one, so that every row is broken by the margin m. They
are linear programs: the least weighted sum of |v|, where outputs that occur in more rows of the conjunction
(the one that must not be the largest, say) are cheaper to move. Directions with $C_s v_r = 0$ come first:
then every row is proved by itself, whatever the network does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from layerwise.norm import l1
from layerwise.program import Program
from repairsolver.network.gated import Correction
from repairsolver.property.specification import Conjunction, Region
from repairsolver.repairing.gate.behind import Affine
from repairsolver.results import Array
from repairsolver.solvers import solve

MARGIN = 1e-3
"""By how much rows are broken, as a share of the rows' spread at the samples."""

ROUNDING = 1e-5
"""The least margin, as a share of the largest score: far above what float32 loses."""

GLOBAL_WEIGHT = 0.1
"""How much rows of other conjunctions count in the price of moving an output."""

IDLE = 0.02
"""The least price of moving an entry of a layer, as a share of the largest one: idle ones would move far."""

MOST_CHOICES = 256
"""Choices of rows that are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """Rows, one of every conjunction: C [q, m], D [q, n], d [q]; and whose they are, equal ones only once."""

    output: Array
    input: Array
    bound: Array
    owner: tuple[int, ...]

    def only(self, rows: Sequence[int]) -> Picked:
        """Some of the rows."""
        kept = list(rows)
        owners = tuple(self.owner[row] for row in kept)
        return Picked(self.output[kept], self.input[kept], self.bound[kept], owners)

    def broken(self) -> tuple[Conjunction, ...]:
        """Conjunctions of one row each, that are all broken only where every picked row is."""
        rows = zip(self.output, self.input, self.bound, strict=True)
        return tuple(Conjunction(c[None], d[None], np.array([bound])) for c, d, bound in rows)


def shield(
    region: Region, points: Array, outputs: Array, through: Affine | None = None, widening: float = 1.0
) -> Correction | None:
    """A correction that makes a region safe; None if no choice of rows can be met together.

    Args:
        points: samples of the region [b, n] with their outputs [b, m]: the cheapest choice of rows there is
            taken.
        through: how the scores depend on the layer that is moved in their stead: $C J h + C c > d$ is what
            it has to satisfy, and moving entry i costs what its column of J does to the scores.
        widening: of the margin.
    """
    for picked in choices(region.unsafe, points, outputs):
        rows = picked.output if through is None else picked.output @ through.matrix
        known = 0.0 if through is None else picked.output @ through.constant
        for alone in (True, False):
            directions = _directions(_prices(region.unsafe, picked, through), rows, alone=alone)
            if directions is not None:
                bound = picked.bound + widening * margin(picked, points, outputs) - known
                return Correction(rows, picked.input, bound, directions)
    return None


def margin(picked: Picked, points: Array, outputs: Array) -> float:
    values = outputs @ picked.output.T + points @ picked.input.T
    spread = float(np.ptp(values, axis=0).max(initial=0.0))
    largest = float(np.abs(outputs).max(initial=0.0) * np.abs(picked.output).sum(axis=1).max(initial=0.0))
    return max(MARGIN * spread, ROUNDING * max(largest, float(np.abs(picked.bound).max(initial=0.0)), 1e-3))


def pick(unsafe: Sequence[Conjunction], rows: Sequence[int]) -> Picked:
    """One row of every conjunction; of equal ones only the one with the largest bound."""
    found: dict[bytes, tuple[Array, Array, float, int]] = {}
    for owner, (c, r) in enumerate(zip(unsafe, rows, strict=True)):
        key = c.output[r].tobytes() + c.input[r].tobytes()
        before = found.get(key)
        if before is None or c.bound[r] > before[2]:
            found[key] = (c.output[r], c.input[r], float(c.bound[r]), owner)
    output, inputs, bound, owners = zip(*found.values(), strict=True)
    return Picked(np.array(output), np.array(inputs), np.array(bound), owners)


def choices(unsafe: Sequence[Conjunction], points: Array, outputs: Array) -> Iterator[Picked]:
    """Rows of all conjunctions, the cheapest first; what a row costs is its mean shortfall at the samples.

    Violating samples count most: the others change only because one row is demanded where another one holds.
    """
    ranked = []
    for conjunction in unsafe:
        values = outputs @ conjunction.output.T + points @ conjunction.input.T
        missing = np.maximum(conjunction.bound - values, 0.0)
        size = np.maximum(np.abs(conjunction.output).sum(axis=1), 1e-12)
        usable = np.flatnonzero(conjunction.output.any(axis=1))
        cost = (missing / size).mean(axis=0) if len(points) else np.zeros(len(size))
        ranked.append(sorted(usable.tolist(), key=lambda r: (float(cost[r]), r)))
    orders = product(*(range(len(rows)) for rows in ranked))
    chosen = sorted(islice(orders, 16 * MOST_CHOICES), key=lambda places: (sum(places), places))
    for places in chosen[:MOST_CHOICES]:
        yield pick(unsafe, [rows[place] for rows, place in zip(ranked, places, strict=True)])


def _prices(unsafe: Sequence[Conjunction], picked: Picked, through: Affine | None) -> list[Array]:
    """What moving each score, or each entry of a layer, costs; for every picked row."""
    total = sum((c.output != 0).sum(axis=0) for c in unsafe)
    found = []
    for owner in picked.owner:
        own = (unsafe[owner].output != 0).sum(axis=0)
        price = 1.0 / (0.01 + own + GLOBAL_WEIGHT * total)
        if through is not None:
            price = price @ np.abs(through.matrix)
            price = price + IDLE * max(float(price.max(initial=0.0)), 1e-300)
        found.append(price)
    return found


def _directions(prices: Sequence[Array], rows: Array, *, alone: bool) -> Array | None:
    """A direction for every row, [q, e]; None if one of them would undo (or, alone, move) another."""
    found = []
    for k, price in enumerate(prices):
        program = Program()
        v = l1(program, rows.shape[1], weights=price)
        others = np.delete(rows, k, axis=0)
        program.rows(rows[k : k + 1] @ v, lower=1.0, upper=1.0)
        if len(others):
            program.rows(others @ v, lower=0.0, upper=0.0 if alone else np.inf)
        answer = solve(program)
        if answer.values is None:
            return None
        found.append(v.value(answer.values))
    return np.where(np.abs(np.array(found)) < 1e-12, 0.0, np.array(found))
