r"""Gates: which parts of a layer are overridden, and by what, with the same override at several points.

Symbols: $h_{pi}$ is entry i at point p (known), $h'_{pi}$ after the gate. A candidate is one entry (a neuron)
or several that are overridden alike (a channel). One of three things happens to a gated candidate:

an affine correction with a slope from 0 to 1; slope 0 makes it a constant, slope 1 moves it by a constant:

$$ h'_{pi} = (1 - z_i)\, h_{pi} + s_i, \qquad 0 \le z_i \le a_i, \qquad -R_i a_i \le s_i \le R_i a_i, $$

a clamp from above, $h' = \min(h, u)$, or one from below, $h' = \max(h, l)$, with an unknown limit. With a
binary for each, $g_i = a_i + u_i + l_i \le 1$ says whether candidate i is gated. The affine part is linear
because $h_{pi}$ is known, so that no big-M beyond the reach R of the shifts is needed. The clamps are in
`layerwise.clamp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise import interval
from layerwise.clamp import Clamp, clamp_from_above, clamp_on_grid
from layerwise.program import Array, Expr, Program, ProgramError, stack

MOST_VALUES = 128
"""Different values of a candidate, beyond which its clamp has a grid of limits: each costs a binary."""

GRID = 8
"""Limits that such a clamp may have, on each side."""

BETWEEN = 8
"""Values of the points at which clamps need not be exact, of so many of which they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Gated:
    """The unknowns of gates.

    Args:
        groups: the entries of every candidate.
        chosen: g, 0 or 1, one for each candidate, [c].
        affine: a, binary, [c].
        lost: z, [c]; the slope is 1 - z.
        shift: s, [c].
        values: h' at all points, [k * m], point by point.
        above, below: clamps by candidate; below, of minus its values.
    """

    groups: tuple[NDArray[np.int64], ...]
    chosen: Expr
    affine: Expr
    lost: Expr
    shift: Expr
    values: Expr
    above: dict[int, Clamp]
    below: dict[int, Clamp]


def affine_gates(
    program: Program, values: Array, candidates: Sequence[ArrayLike] | NDArray[np.integer], reach: ArrayLike
) -> Gated:
    r"""Add affine corrections; entries of no candidate keep their values.

    Size: one binary, two columns and three rows for each candidate, whatever the number of points; and a row
    for each entry of several candidates, of which at most one is gated.

    Args:
        values: h, [k, m].
        candidates: for each, the number of its entry, or several that are overridden alike, [c].
        reach: R, the largest shift, one number or [c]; finite.

    Raises:
        ProgramError: a reach is not finite, or a candidate is no entry.
    """
    points, size = values.shape
    groups = tuple(np.atleast_1d(np.asarray(group, dtype=np.int64)) for group in candidates)
    count = len(groups)
    limit, _ = interval.checked(reach, reach, count, "the reach of gates")
    entries = np.concatenate([*groups, np.zeros(0, dtype=np.int64)])
    if len(entries) and not (entries.min() >= 0 and entries.max() < size):
        raise ProgramError(f"candidates are neurons 0 to {size - 1}, got {entries.min()} to {entries.max()}")
    chosen = program.columns(count, 0.0, 1.0, integer=True, name="gate")
    lost = program.columns(count, 0.0, 1.0, name="lost")
    shift = program.columns(count, -limit, limit, name="shift")
    program.rows(lost - chosen, upper=0.0)
    program.rows(shift - chosen * limit, upper=0.0)
    program.rows(shift + chosen * limit, lower=0.0)
    owner = np.repeat(np.arange(count), [len(group) for group in groups])
    _one_for_each(program, chosen, owner, entries, size)
    place = (np.arange(points)[:, None] * size + entries).ravel()
    which, shape = np.tile(owner, points), (points * size, count)
    moved = sparse.csr_array((np.ones(len(place)), (place, which)), shape=shape)
    faded = sparse.csr_array((-values[:, entries].ravel(), (place, which)), shape=shape)
    after = moved @ shift + faded @ lost + values.ravel()
    return Gated(groups, chosen, chosen, lost, shift, after, {}, {})


def _one_for_each(
    program: Program, chosen: Expr, owner: NDArray[np.intp], entries: NDArray[np.int64], size: int
) -> None:
    """Of the candidates that share an entry at most one is gated."""
    held = sparse.csr_array((np.ones(len(owner)), (entries, owner)), shape=(size, len(chosen)))
    shared = np.flatnonzero(np.diff(held.indptr) > 1)
    if len(shared):
        program.rows(held[shared] @ chosen, upper=1.0)


def with_clamps(
    program: Program, gated: Gated, values: Array, clamped: Sequence[int], exact: int | None = None
) -> Gated:
    """Let some candidates be clamped instead of corrected; those with one value only cannot be.

    Size: for each of them and each side, a binary, a column and two rows for every different value; with too
    many values, a binary for each limit of a grid.

    Args:
        values: h, as for `affine_gates`.
        clamped: numbers of candidates.
        exact: clamps are exact at so many points, the first ones; interpolated between their values at the
            others. None: at all.
    """
    count = len(values) if exact is None else exact
    size, chosen, places = values.shape[1], gated.chosen, list[NDArray[np.int64]]()
    above: dict[int, Clamp] = {}
    below: dict[int, Clamp] = {}
    for number in clamped:
        own = values[:, gated.groups[number]]
        place = (np.arange(len(values))[:, None] * size + gated.groups[number]).ravel()
        rest = np.unique(own[count:])
        between = rest[np.linspace(0, len(rest) - 1, min(BETWEEN, len(rest))).astype(int)]
        ends = np.unique(np.append(own[:count], between))
        if not np.ptp(own):
            continue
        if len(ends) > MOST_VALUES:
            above[number] = clamp_on_grid(program, own.ravel(), _grid(own))
            below[number] = clamp_on_grid(program, -own.ravel(), _grid(-own))
        else:
            above[number] = clamp_from_above(program, own.ravel(), ends)
            below[number] = clamp_from_above(program, -own.ravel(), -ends)
        places.append(place)
    if not above:
        return gated
    cuts = stack([below[number].cut - above[number].cut for number in above])
    after = gated.values + _spread(np.concatenate(places), gated.values) @ cuts
    numbers = list(above)
    clamps = stack([above[n].chosen for n in numbers]) + stack([below[n].chosen for n in numbers])
    chosen = chosen + _placed(numbers, len(chosen)) @ clamps
    program.rows(chosen, upper=1.0)
    owner = np.repeat(np.arange(len(gated.groups)), [len(group) for group in gated.groups])
    _one_for_each(program, chosen, owner, np.concatenate(gated.groups), size)
    return replace(gated, chosen=chosen, values=after, above=above, below=below)


def _grid(values: Array) -> Array:
    """Limits that cut off something: quantiles of the different values, the largest left out."""
    return np.asarray(np.unique(np.quantile(np.unique(values), np.arange(GRID) / GRID)))


def _spread(place: NDArray[np.int64], values: Expr) -> sparse.csr_array:
    """[k * m, e]: which of all values each entry is."""
    count = len(place)
    return sparse.csr_array((np.ones(count), (place, np.arange(count))), shape=(len(values), count))


def _placed(numbers: Sequence[int], count: int) -> sparse.csr_array:
    return sparse.csr_array(
        (np.ones(len(numbers)), (numbers, np.arange(len(numbers)))), shape=(count, len(numbers))
    )
