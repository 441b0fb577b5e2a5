r"""A clamp with an unknown limit, $\min(h_j, u)$ for known numbers $h_j$: exact, in the incremental form.

With the different values $t_0 < \dots < t_K$ of h, what is cut off is filled from the top:

$$ h_j - \min(h_j, u) = \sum_{k: t_k \le h_j} \delta_k, \qquad 0 \le \delta_k \le (t_k - t_{k-1}) w_k, \qquad
   \delta_{k+1} \ge (t_{k+1} - t_k) w_k, $$

with binaries $w_k$; $w_K$ says whether there is a clamp at all. The limit is $u = t_K - \sum_k \delta_k$,
between $t_0$ and $t_K$. Without the integrality this is the convex hull of the graph, so that no formulation
of one clamp is tighter.

Only some of the numbers may be given as ends t: then what is cut off of a number between two of them is
interpolated, which is at least as much as the clamp cuts off.

Where there are too many numbers for that (a channel), the limit is one of a few numbers $u_g$ of a grid, with
a binary $w_g$ for each: $h_j - \min(h_j, u) = \sum_g w_g \max(h_j - u_g, 0)$, exact, with no further rows.

Source: the incremental (delta) method, Vielma, Mixed integer linear programming formulation techniques, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from layerwise.program import Array, Expr, Program, ProgramError


@dataclass(frozen=True, slots=True, eq=False)
class Clamp:
    """The unknowns of a clamp.

    Args:
        chosen: binary: whether there is one.
        limit: u, one expression; meaningless without a clamp.
        cut: h - min(h, u) for every number, [j].
    """

    chosen: Expr
    limit: Expr
    cut: Expr


def clamp_from_above(program: Program, values: ArrayLike, ends: ArrayLike | None = None) -> Clamp:
    """Add a clamp of known numbers [j]; one from below is one of their negatives.

    Args:
        ends: the numbers between which cuts are interpolated, besides the least and the largest of all;
            None: all, so that the clamp is exact for every number.

    Raises:
        ProgramError: there are fewer than two different numbers, so that nothing can be cut off.
    """
    given: Array = np.asarray(values, dtype=np.float64)
    t = np.unique(given if ends is None else np.append(ends, (given.min(), given.max())))
    if len(t) < 2:
        raise ProgramError("a clamp needs at least two different numbers")
    length = np.diff(t)
    filled = program.columns(len(length), 0.0, length, name="cut")
    begun = program.columns(len(length), 0.0, 1.0, integer=True, name="clamp")
    program.rows(filled - begun * length, upper=0.0)
    if len(length) > 1:
        inner = np.arange(len(length) - 1)
        program.rows(filled[inner + 1] - begun[inner] * length[1:], lower=0.0)
    share = np.clip((given[:, None] - t[:-1]) / length, 0.0, 1.0)
    limit = -1.0 * filled.sum() + float(t[-1])
    return Clamp(begun[[len(length) - 1]], limit, sparse.csr_array(share) @ filled)


def clamp_on_grid(program: Program, values: ArrayLike, grid: ArrayLike) -> Clamp:
    """Add a clamp of known numbers [j] at one of the limits of a grid [g]; exact for every number.

    At most one limit may be chosen: `chosen` is the sum of the choices, which the caller bounds by 1.

    Raises:
        ProgramError: the grid is empty.
    """
    given, limits = np.asarray(values, dtype=np.float64), np.asarray(grid, dtype=np.float64)
    if not len(limits):
        raise ProgramError("a clamp needs at least one limit to choose from")
    taken = program.columns(len(limits), 0.0, 1.0, integer=True, name="clamp")
    cut = np.maximum(given[:, None] - limits, 0.0)
    return Clamp(taken.sum(), limits[None, :] @ taken, sparse.csr_array(cut) @ taken)
