r"""Max-pooling (average-pooling is affine): exact with binaries, and its linear relaxation.

Symbols: windows hold flat indices into x, [o, k], padded by -1; $y_i = \max_{j \in window_i} x_j$, with
bounds $l_j \le x_j \le u_j$. A candidate j is out of question in window i if $u_j$ is no larger than the
largest lower bound of another one there; with one candidate left, $y_i = x_j$.

As in the rectifiers, a slack column $n_j = y_i - x_j \ge 0$ keeps the row of $x_j$ to one copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError, stack

Indices = NDArray[np.int64]
Encode = Callable[[Program, Expr, Indices, ArrayLike, ArrayLike], Expr]


@dataclass(frozen=True, slots=True)
class PoolEncoding:
    """An encoding by name; `exact` unless it is a relaxation."""

    name: str
    encode: Encode
    exact: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Contests:
    """The windows whose maximum is not known beforehand (w of them), with c candidates in all.

    Args:
        peak: their maxima, [w].
        slack: n of every candidate, window by window, [c].
        lower: of every candidate, [c].
        big: M of every candidate, [c].
        total: adds up the candidates of every window, [w, c].
        best: the largest lower bound in every window, [w].
    """

    peak: Expr
    slack: Expr
    lower: Array
    big: Array
    total: sparse.csr_array
    best: Array


def big_m(program: Program, x: Expr, windows: Indices, lower: ArrayLike, upper: ArrayLike) -> Expr:
    r"""Exact: one binary per unresolved candidate says which one is the maximum.

    $$ y - n_j = x_j, \qquad 0 \le n_j \le M_j (1 - a_j), \qquad \sum_j a_j = 1, \qquad
       M_j = \max_{i \ne j} u_i - l_j. $$

    Size per window with c > 1 candidates: c binaries, c + 1 columns, 2c + 1 rows.

    Source: Tjeng, Xiao and Tedrake, Evaluating robustness of neural networks with mixed integer
    programming, ICLR 2019, equations (9) to (11).

    Args:
        windows: [o, k], -1 pads; every window has an entry.
        lower, upper: finite valid bounds of x, one number or [len(x)].

    Returns:
        y, [o].

    Raises:
        ProgramError: a window is empty or points outside x, or a bound is missing, infinite or crossed.
    """
    y, contests = _contests(program, x, windows, lower, upper)
    chosen = program.columns(len(contests.slack), 0.0, 1.0, integer=True, name="largest")
    program.rows(contests.slack + chosen * contests.big, upper=contests.big)
    program.rows(contests.total @ chosen, 1.0, 1.0)
    return y


def relaxation(program: Program, x: Expr, windows: Indices, lower: ArrayLike, upper: ArrayLike) -> Expr:
    r"""Without binaries: $y \ge x_j$ and $y \le \max_j u_j$, and one upper plane per window,

    $$ y \le \sum_j x_j - \sum_j l_j + \max_j l_j, \qquad\text{as}\qquad
       (c - 1)\, y - \sum_j n_j \ge \sum_j l_j - \max_j l_j, $$

    true because all candidates but the largest are at least their lower bounds, and those that are
    not candidates do not matter. Not exact.

    Source: Ehlers, Formal verification of piece-wise linear feed-forward neural networks, ATVA 2017,
    section 3, equation (4).

    Args, returns and raises as for `big_m`.
    """
    y, contests = _contests(program, x, windows, lower, upper)
    others = np.asarray(contests.total.sum(axis=1)).ravel() - 1.0
    least = contests.total @ contests.lower - contests.best
    slacks: Expr = contests.total @ contests.slack
    program.rows(contests.peak * others - slacks, lower=least)
    return y


POOL_ENCODINGS: dict[str, PoolEncoding] = {
    "big_m": PoolEncoding("big_m", big_m, exact=True),
    "relaxation": PoolEncoding("relaxation", relaxation, exact=False),
}


def _contests(
    program: Program, x: Expr, windows: Indices, lower: ArrayLike, upper: ArrayLike
) -> tuple[Expr, _Contests]:
    """y of all windows, with the columns and rows of those that have several candidates."""
    low, high = interval.checked(lower, upper, len(x), "max-pool")
    _check_windows(windows, len(x))
    least = np.where(windows >= 0, low[windows], -np.inf)
    most = np.where(windows >= 0, high[windows], -np.inf)
    best, leader = least.max(axis=1), least.argmax(axis=1)
    candidate = most > best[:, None]
    candidate[np.arange(len(windows)), leader] = True
    open_windows = np.flatnonzero(candidate.sum(axis=1) > 1)
    row, place = np.nonzero(candidate[open_windows])
    window = open_windows[row]
    # The leading column is the runner-up of windows that are one entry wide.
    ranked = np.sort(np.pad(most, ((0, 0), (1, 0)), constant_values=-np.inf), axis=1)
    rival = np.where(place == most.argmax(axis=1)[window], ranked[window, -2], ranked[window, -1])
    below = least[window, place]
    big = np.maximum(rival - below, 0.0)
    peak = program.columns(len(open_windows), best[open_windows], ranked[open_windows, -1], name="y")
    slack = program.columns(len(window), 0.0, big, name="n")
    program.rows(peak[row] - slack - x[windows[window, place]], 0.0, 0.0)
    total = sparse.csr_array(
        (np.ones(len(row)), (row, np.arange(len(row)))), shape=(len(open_windows), len(row))
    )
    settled = np.flatnonzero(candidate.sum(axis=1) == 1)
    order = np.argsort(np.concatenate([settled, open_windows]))
    y = stack([x[windows[settled, leader[settled]]], peak])[order]
    return y, _Contests(peak, slack, below, big, total, best[open_windows])


def _check_windows(windows: Indices, size: int) -> None:
    if windows.ndim != 2 or not np.issubdtype(windows.dtype, np.integer):
        raise ProgramError(
            f"max-pool windows are integer indices [o, k], got {windows.dtype} {windows.shape}"
        )
    empty = np.flatnonzero(~(windows >= 0).any(axis=1))
    if empty.size:
        raise ProgramError(f"max-pool windows {empty[:8].tolist()} have no entry")
    if windows.min(initial=0) < -1 or windows.max(initial=-1) >= size:
        raise ProgramError(f"a max-pool window points outside the {size} entries below it")
