r"""A clamp with an unknown limit, $\min(h_j, u)$ for known numbers $h_j$: exact, in the incremental form.

With the different values $t_0 < \dots < t_K$ of h, what is cut off is filled from the top:

$$ h_j - \min(h_j, u) = \sum_{k: t_k \le h_j} \delta_k, \qquad 0 \le \delta_k \le (t_k - t_{k-1}) w_k, \qquad
   \delta_{k+1} \ge (t_{k+1} - t_k) w_k, $$

with binaries $w_k$; $w_K$ says whether there is a clamp at all. The limit is $u = t_K - \sum_k \delta_k$,
between $t_0$ and $t_K$. Without the integrality this is the convex hull of the graph, so that no formulation
of one clamp is tighter.

Only some of the numbers may be given as ends t: then what is cut off of a number between two of them is
interpolated, which is at least as much as the clamp cuts off.

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
