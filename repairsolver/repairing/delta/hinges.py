r"""Least squares with non-negative multipliers: what a model with squared hinges comes to.

$$ \min_{\lambda \ge 0} \tfrac12 \lambda^\top S \lambda - b^\top \lambda $$

with S positive definite is the dual of a sum of squared hinges. A set of active multipliers is guessed, its
equations are solved, and the next guess is where a multiplier stays positive, or where a hinge that was left
out is stretched. This is Newton's method on the hinges: a few factorisations, where methods that move one
multiplier at a time need as many steps as there are active ones. It may cycle; then such a method takes over.

Sources: Hintermüller, Ito and Kunisch, The primal-dual active set strategy as a semismooth Newton method,
SIAM J. Optim. 13, 2002, section 2; Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from repairsolver.results import Array

GUESSES = 40
"""Active sets before a method that cannot cycle takes over."""


ROUNDING = 1e-13
"""The least penalty's inverse that a kernel is not singular with, relative to the kernel's trace."""


def ridged(kernel: Array, weights: Array) -> tuple[Array, Array]:
    """S = K + diag(1 / w) for a kernel K [k, k], positive semidefinite, and w as far as rounding allows.

    Where rows depend on each other K is singular. Penalties of rows that cannot be met grow without end, and
    1 / w would be lost in the rounding of K.
    """
    capped = np.minimum(weights, 1 / max(ROUNDING * float(np.trace(kernel)), 1e-300))
    return kernel + np.diag(1 / capped), capped


def multipliers(matrix: Array, wanted: Array) -> Array:
    """The minimiser lambda [k] for S = `matrix` [k, k], positive definite, and b = `wanted` [k]."""
    active = wanted > 0
    for _ in range(GUESSES):
        found = np.zeros(len(wanted))
        if active.any():
            chosen = np.flatnonzero(active)
            part = matrix[chosen].take(chosen, axis=1)  # whole rows first: far quicker than both at once
            factor = cho_factor(part, lower=True, overwrite_a=True)
            found[chosen] = cho_solve(factor, wanted[chosen])
        stretched = np.where(active, found, wanted - matrix @ found) > 0
        if (stretched == active).all():
            return found
        active = stretched
    lower = np.linalg.cholesky(matrix)
    return np.asarray(nnls(lower.T, solve_triangular(lower, wanted, lower=True))[0])
