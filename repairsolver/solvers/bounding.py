r"""A lower bound on a program's optimum from row multipliers, whatever solver they come from.

For any multipliers $y$ and the reduced costs $d = c - A^\top y$, weak duality gives

$$ \min_{L \le Av \le U,\, l \le v \le u} c^\top v + \tfrac12 \sum_j q_j v_j^2 \;\ge\;
   \sum_{y_i > 0} y_i L_i + \sum_{y_i < 0} y_i U_i
   + \sum_j \min_{l_j \le v_j \le u_j} \bigl(d_j v_j + \tfrac12 q_j v_j^2\bigr). $$

Source: Boyd and Vandenberghe, Convex Optimization, 2004, section 5.1.3.
"""

from __future__ import annotations

import numpy as np

from layerwise.program import Array, Matrices

DUAL_TOLERANCE = 1e-7


def lagrangian_bound(flat: Matrices, multipliers: Array, values: Array) -> float | None:
    """The bound of the module's formula at the given row multipliers, in float64 (not outward rounded).

    A reduced cost of at most 1e-7 (relative to the largest cost) that points to an infinite bound is a
    rounding residue of the solver; it is priced at `values` instead of at infinity.

    Args:
        multipliers: y, [rows]; an entry that would price an infinite side is taken as 0.
        values: [columns], the solution that the multipliers belong to.

    Returns:
        The bound, offset included, or None where the multipliers bound nothing.
    """
    side = np.where(multipliers > 0, flat.row_lower, flat.row_upper)
    priced = (multipliers != 0) & np.isfinite(side)
    multipliers = np.where(priced, multipliers, 0.0)
    rows = float(multipliers @ np.where(priced, side, 0.0))
    reduced = flat.cost - flat.rows.T @ multipliers
    best = minimisers(flat, reduced)
    residue = DUAL_TOLERANCE * max(1.0, float(np.abs(flat.cost).max(initial=0.0)))
    best = np.where(~np.isfinite(best) & (np.abs(reduced) <= residue), values, best)
    if not np.isfinite(best).all():
        return None
    return rows + float(reduced @ best + 0.5 * flat.quadratic @ best**2) + flat.offset


def minimisers(flat: Matrices, reduced: Array) -> Array:
    """For each column the minimiser of d v + q v^2 / 2 over its bounds; infinite where unbounded."""
    linear = np.where(reduced > 0, flat.lower, flat.upper)
    linear = np.where(reduced == 0, np.clip(0.0, flat.lower, flat.upper), linear)
    curved = flat.quadratic > 0
    inner = -reduced / np.where(curved, flat.quadratic, 1.0)
    return np.asarray(np.where(curved, np.clip(inner, flat.lower, flat.upper), linear))
