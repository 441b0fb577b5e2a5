"""Bounds of blocks of expressions: the checks that every encoding makes, and interval arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from layerwise.program import Array, Expr, Program, ProgramError


def vector(values: ArrayLike, size: int) -> Array:
    """A fresh [size] array of numbers: one number for all entries, or one each."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and array.shape != (size,):
        raise ProgramError(f"expected one number or {size} numbers, got an array of shape {array.shape}")
    return np.array(np.broadcast_to(array, (size,)))


def checked(lower: ArrayLike, upper: ArrayLike, size: int, what: str) -> tuple[Array, Array]:
    """Bounds as two [size] arrays, after making sure that they are finite and do not cross.

    Args:
        lower, upper: one number for all entries, or [size].
        what: what is bounded, for the message.

    Raises:
        ProgramError: naming all entries whose bounds are missing, infinite or crossed.
    """
    low, high = vector(lower, size), vector(upper, size)
    loose = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))
    if loose.size:
        raise ProgramError(
            f"{what}: entries {_some(loose)} have no finite bounds; compute bounds first (interval or "
            f"linear bounds over a box), the constants of this encoding are made of them"
        )
    crossed = np.flatnonzero(low > high)
    if crossed.size:
        first = crossed[0]
        raise ProgramError(
            f"{what}: entries {_some(crossed)} have a lower bound above the upper bound, "
            f"first {low[first]:.17g} > {high[first]:.17g}"
        )
    return low, high


def of_expressions(program: Program, expr: Expr) -> tuple[Array, Array]:
    r"""The interval bounds of $E v + e$ that follow from the bounds of the columns v.

    $$ e + E^+ l + E^- u \;\le\; E v + e \;\le\; e + E^+ u + E^- l, $$

    with $E^+ = \max(E, 0)$ and $E^- = \min(E, 0)$; infinite where a column is unbounded. Exact if no
    two entries of a row belong to dependent columns.

    Source: Moore, Interval Analysis (1966), chapter 3.
    """
    lower, upper = program.column_bounds()
    return of_linear(expr.matrix, lower, upper, expr.constant)


def of_linear(matrix: sparse.csr_array, lower: Array, upper: Array, constant: Array) -> tuple[Array, Array]:
    """The interval bounds of E v + e for lower <= v <= upper, infinite ends allowed."""
    low, high = lower[matrix.indices], upper[matrix.indices]
    positive = matrix.data > 0
    used = matrix.data != 0
    least = np.multiply(matrix.data, np.where(positive, low, high), where=used, out=np.zeros(len(low)))
    most = np.multiply(matrix.data, np.where(positive, high, low), where=used, out=np.zeros(len(low)))
    return _row_sums(least, matrix) + constant, _row_sums(most, matrix) + constant


def _row_sums(entries: Array, matrix: sparse.csr_array) -> Array:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.bincount(rows, weights=entries, minlength=matrix.shape[0]).astype(np.float64)


def _some(indices: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> str:
    shown = ", ".join(str(i) for i in indices[:8])
    return f"{shown} and {len(indices) - 8} more" if len(indices) > 8 else shown
