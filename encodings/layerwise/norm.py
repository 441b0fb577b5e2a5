r"""Norms of a change $\delta \in \mathbb{R}^n$ as objectives, each with the columns that suit it best.

Every norm makes the columns of $\delta$ itself, because the fast form differs from norm to norm. It
takes bounds $\underline\delta \le \delta \le \overline\delta$ (which may be infinite, except for L0) and
weights $w > 0$: the norm is that of $w \odot \delta$.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError


class Minimise(Protocol):
    """Add n unknown changes to a program, set its objective to their norm, and return the changes [n].

    Args:
        lower, upper: bounds of the changes, one number or [n]; finite where the norm needs it.
        weights: w > 0, one number or [n].

    Raises:
        ProgramError: a weight is not positive and finite, bounds cross, or a needed bound is infinite.
    """

    def __call__(
        self,
        program: Program,
        size: int,
        *,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        weights: ArrayLike = 1.0,
    ) -> Expr: ...


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm by name.

    Args:
        minimise: makes the changes' columns and the objective.
        value: the norm of numbers, `value(delta, weights=1.0)`.
        of_objective: from the program's objective (or the solver's bound on it) to the norm.
        integers, quadratic: whether the program needs binaries, or a quadratic objective.
    """

    name: str
    minimise: Minimise
    value: Callable[..., float]
    of_objective: Callable[[float], float]
    integers: bool = False
    quadratic: bool = False


def l0(
    program: Program,
    size: int,
    *,
    lower: ArrayLike = -np.inf,
    upper: ArrayLike = np.inf,
    weights: ArrayLike = 1.0,
) -> Expr:
    r"""The (weighted) number of changed entries: a binary a per entry.

    $$ \min \sum_i w_i a_i, \qquad \underline\delta_i a_i \le \delta_i \le \overline\delta_i a_i. $$

    Exact for finite bounds with $\underline\delta \le 0 \le \overline\delta$. Size: n binaries, n columns,
    2n rows. The bounds are big-Ms: keep them small.
    """
    scale = _weights(weights, size)
    low, high = interval.checked(lower, upper, size, "l0 norm, changes")
    if (low > 0).any() or (high < 0).any():
        raise ProgramError("l0 norm: bounds of the changes must contain 0")
    delta = program.columns(size, low, high, name="delta")
    changed = program.columns(size, 0.0, 1.0, integer=True, name="changed")
    program.rows(delta - high * changed, upper=0.0)
    program.rows(delta - low * changed, lower=0.0)
    program.minimise(scale[None, :] @ changed)
    return delta


def l1(
    program: Program,
    size: int,
    *,
    lower: ArrayLike = -np.inf,
    upper: ArrayLike = np.inf,
    weights: ArrayLike = 1.0,
) -> Expr:
    r"""The sum of absolute values, by the positive and the negative part of every entry.

    $$ \min \sum_i w_i (p_i + q_i), \qquad \delta = p - q, \qquad p, q \ge 0. $$

    At an optimum $p_i q_i = 0$: otherwise both could be lowered. Exact. Size: 2n columns, no rows.
    """
    scale = _weights(weights, size)
    low, high = _bounds(lower, upper, size)
    p = program.columns(size, np.maximum(low, 0.0), np.maximum(high, 0.0), name="plus")
    q = program.columns(size, np.maximum(-high, 0.0), np.maximum(-low, 0.0), name="minus")
    program.minimise(scale[None, :] @ (p + q))
    return p - q


def l2(
    program: Program,
    size: int,
    *,
    lower: ArrayLike = -np.inf,
    upper: ArrayLike = np.inf,
    weights: ArrayLike = 1.0,
) -> Expr:
    r"""The Euclidean norm, by a quadratic objective.

    $$ \min \tfrac12 \sum_i (w_i \delta_i)^2 = \tfrac12 \lVert w \odot \delta \rVert_2^2: $$

    the norm is $\sqrt{2 \cdot objective}$ (`of_objective`). Exact. Size: n columns, no rows.
    """
    scale = _weights(weights, size)
    delta = program.columns(size, *_bounds(lower, upper, size), name="delta")
    program.minimise(Expr.constants(0.0))
    program.minimise_squares(delta, scale**2)
    return delta


def linf(
    program: Program,
    size: int,
    *,
    lower: ArrayLike = -np.inf,
    upper: ArrayLike = np.inf,
    weights: ArrayLike = 1.0,
) -> Expr:
    r"""The largest absolute value; without bounds, by a shift into a corner of the norm's ball.

    $$ \min t, \qquad \delta_i = p_i - t / w_i, \qquad 0 \le p_i \le 2 t / w_i. $$

    Exact: $|w_i \delta_i| \le t$. Linear programs in this form are solved fast by interior-point
    methods (with HiGHS: `solver="ipm"`, `run_crossover="off"`) where the simplex method crawls.

    If any bound is finite, $\delta$ gets columns with these bounds and the usual rows
    $-t \le w_i \delta_i \le t$: branch and bound runs the simplex method anyway, and big-Ms need the bounds.

    Size: n + 1 columns and n rows, or 2n rows with finite bounds.
    """
    scale = _weights(weights, size)
    low, high = _bounds(lower, upper, size)
    largest = program.columns(1, 0.0, name="largest")
    program.minimise(largest)
    reach = largest[np.zeros(size, dtype=np.intp)] * (1.0 / scale)
    if np.isfinite(low).any() or np.isfinite(high).any():
        delta = program.columns(size, low, high, name="delta")
        program.rows(delta - reach, upper=0.0)
        program.rows(delta + reach, lower=0.0)
        return delta
    p = program.columns(size, 0.0, name="shifted")
    program.rows(p - 2.0 * reach, upper=0.0)
    return p - reach


def _l0_value(delta: Array, weights: ArrayLike = 1.0) -> float:
    return float(np.sum(interval.vector(weights, delta.size) * (delta.ravel() != 0)))


def _l1_value(delta: Array, weights: ArrayLike = 1.0) -> float:
    return float(np.sum(interval.vector(weights, delta.size) * np.abs(delta.ravel())))


def _l2_value(delta: Array, weights: ArrayLike = 1.0) -> float:
    return float(np.linalg.norm(interval.vector(weights, delta.size) * delta.ravel()))


def _linf_value(delta: Array, weights: ArrayLike = 1.0) -> float:
    return float(np.max(interval.vector(weights, delta.size) * np.abs(delta.ravel()), initial=0.0))


def _same(objective: float) -> float:
    return float(objective)


def _root(objective: float) -> float:
    return float(np.sqrt(2.0 * max(objective, 0.0)))


NORMS: dict[str, Norm] = {
    "l0": Norm("l0", l0, _l0_value, _same, integers=True),
    "l1": Norm("l1", l1, _l1_value, _same),
    "l2": Norm("l2", l2, _l2_value, _root, quadratic=True),
    "linf": Norm("linf", linf, _linf_value, _same),
}


def _weights(weights: ArrayLike, size: int) -> Array:
    scale = interval.vector(weights, size)
    if not ((scale > 0) & np.isfinite(scale)).all():
        raise ProgramError("a norm's weights must be positive and finite")
    return scale


def _bounds(lower: ArrayLike, upper: ArrayLike, size: int) -> tuple[Array, Array]:
    low, high = interval.vector(lower, size), interval.vector(upper, size)
    crossed = np.flatnonzero(~(low <= high))
    if crossed.size:
        raise ProgramError(
            f"changes {crossed[:8].tolist()}: a lower bound lies above its upper bound, or is NaN"
        )
    return low, high
