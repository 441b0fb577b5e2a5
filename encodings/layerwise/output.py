r"""Outputs: half-spaces that hold, or that must be broken, at one or many points.

A conjunction is a set of half-spaces $C y + D x \le d$ over a network's output y and input x. A
property is violated where *all* rows of *some* conjunction hold; so it is repaired at a point iff in
*every* conjunction *some* row is broken, $C_r y + D_r x > d_r$, asked for with a margin > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError, stack

# Stands in for an infinite bound on the side that no big-M is made of.
HUGE = np.finfo(np.float64).max


class HalfSpaces(Protocol):
    """The rows output @ y + input @ x <= bound: C [r, m], D [r, n], d [r]."""

    @property
    def output(self) -> Array: ...

    @property
    def input(self) -> Array: ...

    @property
    def bound(self) -> Array: ...


@dataclass(frozen=True, slots=True, eq=False)
class Disjunction:
    """The binaries of a disjunction, and how much the solver's tolerance can leak through its big-Ms.

    Args:
        chosen: one binary per alternative that needed one.
        largest: the largest big-M; 0 if there is no binary.
    """

    chosen: Expr
    largest: float = 0.0

    def leak(self, tolerance: float = 1e-6) -> float:
        """By how much a row can be missed if a binary is off an integer by `tolerance`.

        A margin at or below this number can be undone by the solver: tighten the bounds, or enlarge
        the margin.
        """
        return self.largest * tolerance


def activity(y: Expr, x: Expr | Array | None, rows: HalfSpaces) -> Expr:
    r"""$C y^{(p)} + D x^{(p)}$ at k points, [k * r], point by point.

    Args:
        y: outputs, [k * m], point by point.
        x: inputs: constants [k, n], expressions [k * n], or None where D = 0.
    """
    matrix = np.atleast_2d(np.asarray(rows.output, dtype=np.float64))
    if matrix.shape[1] == 0 or len(y) % matrix.shape[1]:
        raise ProgramError(f"half-spaces over {matrix.shape[1]} outputs do not fit {len(y)} expressions")
    k = len(y) // matrix.shape[1]
    value = _repeat(matrix, k) @ y
    if x is None:
        if np.any(rows.input):
            raise ProgramError("half-spaces with a part over the inputs need the inputs: pass x")
        return value
    if isinstance(x, Expr):
        return value + _repeat(np.asarray(rows.input, dtype=np.float64), k) @ x
    return value + (np.atleast_2d(x) @ rows.input.T).ravel()


def all_rows_hold(
    program: Program, y: Expr, conjunction: HalfSpaces, *, x: Expr | Array | None = None, margin: float = 0.0
) -> None:
    r"""Rows $C y + D x \le d - margin$ at all points; exact, no binaries, r rows per point."""
    value = activity(y, x, conjunction)
    bound = np.tile(conjunction.bound, len(value) // max(len(conjunction.bound), 1))
    program.rows(value, upper=bound - margin)


def some_conjunction_holds(
    program: Program,
    y: Expr,
    conjunctions: Sequence[HalfSpaces],
    *,
    x: Expr | Array | None = None,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Disjunction:
    r"""At one point, all rows of at least one conjunction hold; a binary a per conjunction.

    $$ C_c\, y + D_c\, x \le d_c + M_c (1 - a_c), \qquad \sum_c a_c \ge 1, \qquad
       M_c = \max(\overline{C_c\, y + D_c\, x} - d_c, 0), $$

    M per row from the bounds of y (and x). Exact. Rows whose M is 0 hold anyway and are left out. With
    one conjunction these are its plain rows, without binary.

    Args:
        lower, upper: finite valid bounds of y, [m]; those of the program's columns if None.

    Raises:
        ProgramError: there is no conjunction, or a bound is missing, infinite or crossed.
    """
    if not conjunctions:
        raise ProgramError("a disjunction of no conjunctions can never hold: there is nothing to encode")
    if len(conjunctions) == 1:
        all_rows_hold(program, y, conjunctions[0], x=x)
        return Disjunction(Expr.constants([]))
    chosen = program.columns(len(conjunctions), 0.0, 1.0, integer=True, name="some")
    largest = 0.0
    for index, rows in enumerate(conjunctions):
        value = activity(y, x, rows)
        low, high = _value_bounds(program, y, x, rows, value, lower, upper)
        _, high = interval.checked(np.maximum(low, -HUGE), high, len(value), "rows of a disjunction, above")
        big = np.maximum(high - rows.bound, 0.0)
        used = np.flatnonzero(big)
        on = chosen[np.full(len(used), index)]
        program.rows(value[used] + big[used] * on, upper=rows.bound[used] + big[used])
        largest = max(largest, float(big.max(initial=0.0)))
    program.rows(chosen.sum(), lower=1.0)
    return Disjunction(chosen, largest)


def at_least_one_row_broken(
    program: Program,
    y: Expr,
    conjunctions: Sequence[HalfSpaces],
    *,
    margin: float,
    x: Expr | Array | None = None,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Disjunction:
    r"""At each of k points, every conjunction has a row with $C_r y + D_r x \ge d_r + margin$.

    See `some_row_reached`, applied to every conjunction with threshold d + margin. A conjunction of
    one row becomes a plain row; only longer ones need binaries and bounds.

    Args:
        y: outputs at the points, [k * m], point by point (as `affine.dense_unknown` gives them).
        margin: absolute, in the units of the rows.
        x: inputs: constants [k, n], expressions [k * n], or None where D = 0.
        lower, upper: finite valid bounds of y, [k * m]; those of the program's columns if None.

    Raises:
        ProgramError: a conjunction is empty (then every point violates the property), or a bound that
            is needed is missing, infinite or crossed.
    """
    parts = []
    for rows in conjunctions:
        count = len(rows.bound)
        if count == 0:
            raise ProgramError("a conjunction without rows holds everywhere: it cannot be broken")
        value = activity(y, x, rows)
        threshold = np.tile(rows.bound + margin, len(value) // count)
        low, high = (None, None) if count == 1 else _value_bounds(program, y, x, rows, value, lower, upper)
        parts.append(some_row_reached(program, value, threshold, group=count, lower=low, upper=high))
    chosen = [part.chosen for part in parts if len(part.chosen)]
    joined = stack(chosen) if chosen else Expr.constants([])
    return Disjunction(joined, max((part.largest for part in parts), default=0.0))


def some_row_reached(
    program: Program,
    value: Expr,
    threshold: Array,
    *,
    group: int,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
) -> Disjunction:
    r"""In each group of consecutive expressions v, at least one reaches its threshold t.

    $$ v_r \ge \underline v_r + (t_r - \underline v_r)\, a_r, \qquad \sum_{r \in group} a_r \ge 1, $$

    with a binary a per expression. Exact; $t - \underline v$ is the smallest big-M that these bounds
    allow. A group with a row that is reached anyway ($\underline v_r \ge t_r$) is left out; a row that
    cannot reach its threshold ($\overline v_r < t_r$) gets no binary; a group left with one row gets a
    plain row; a group left with none makes the program infeasible.

    Args:
        value: v, [groups * group].
        threshold: t, [groups * group].
        lower, upper: bounds of v; those of the program's columns if None. Groups of one need none,
            others only lower ones.

    Raises:
        ProgramError: a group of several rows has a row without finite lower bound.
    """
    if group < 1 or len(value) % group or threshold.shape != (len(value),):
        raise ProgramError(f"{len(value)} expressions, {threshold.shape} thresholds: no groups of {group}")
    if group == 1:
        program.rows(value, lower=threshold)
        return Disjunction(Expr.constants([]))
    if lower is None or upper is None:
        lower, upper = interval.of_expressions(program, value)
    low, high = interval.checked(lower, np.minimum(upper, HUGE), len(value), "rows of a disjunction, below")
    needed = ~np.any((low >= threshold).reshape(-1, group), axis=1)
    possible = (high >= threshold).reshape(-1, group) & needed[:, None]
    count = possible.sum(axis=1)
    single = np.flatnonzero((possible & (count == 1)[:, None]).ravel())
    program.rows(value[single], lower=threshold[single])
    several = np.flatnonzero((possible & (count > 1)[:, None]).ravel())
    big = threshold[several] - low[several]
    chosen = program.columns(len(several), 0.0, 1.0, integer=True, name="broken")
    program.rows(value[several] - big * chosen, lower=low[several])
    groups = np.flatnonzero(needed & (count != 1))
    owner = np.searchsorted(groups, several // group)
    entries = (np.ones(len(several)), (owner, np.arange(len(several))))
    total: Expr = sparse.csr_array(entries, shape=(len(groups), len(several))) @ chosen
    program.rows(total, lower=1.0)
    return Disjunction(chosen, float(big.max(initial=0.0)))


def _repeat(matrix: Array, count: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.kron(sparse.eye_array(count), sparse.csr_array(matrix), format="csr"))


def _value_bounds(
    program: Program,
    y: Expr,
    x: Expr | Array | None,
    rows: HalfSpaces,
    value: Expr,
    lower: ArrayLike | None,
    upper: ArrayLike | None,
) -> tuple[Array, Array]:
    """Bounds of C y + D x: from the columns, and from those of y if they are given; the tighter ones."""
    low, high = interval.of_expressions(program, value)
    if lower is None or upper is None:
        return low, high
    y_low, y_high = interval.checked(lower, upper, len(y), "outputs")
    k = len(y) // rows.output.shape[1]
    rest = Expr(y.matrix * 0.0, np.zeros(len(y)))
    x_low, x_high = interval.of_expressions(program, activity(rest, x, rows))
    c_low, c_high = interval.of_linear(_repeat(rows.output, k), y_low, y_high, np.zeros(len(value)))
    return np.maximum(low, c_low + x_low), np.minimum(high, c_high + x_high)
