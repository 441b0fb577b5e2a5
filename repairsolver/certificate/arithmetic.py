r"""Rigorous float64 arithmetic: every result bounds the real number that it stands for.

The model is IEEE 754 in rounding to nearest: a computed sum, product or quotient is the exact one times
$1 + \theta$, $|\theta| \le u = 2^{-53}$, up to an absolute error of $2^{-1022}$ by underflow (which also
covers processors that flush small numbers to zero). A sum of n products evaluated in any order, with or
without fused operations, errs by at most $\gamma_n \sum |a_i| |b_i|$ with $\gamma_n = n u / (1 - n u)$,
plus n underflows. Matrix products are sums of products (no Strassen-like scheme, as in all common BLAS).

An overflow gives an infinity, of which no operation here makes a finite number again: `down` turns
+inf, which would be wrong as a lower bound, into NaN, and `up` -inf. Who uses a result asks for a finite one.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", 2nd edition, sections 2.2, 3.1 and
3.5; Rump 2010, "Verification methods: Rigorous results using floating-point arithmetic", section 2.
"""

from __future__ import annotations

import numpy as np

from repairsolver.results import Array

Interval = tuple[Array, Array]
UNIT = 2.0**-53
# Far above 2^20 underflows, far below any other error.
TINY = 2.0**-1000


def gamma(terms: int) -> float:
    """At least gamma_(terms + 8), also after multiplying it by computed magnitudes of as many terms."""
    return (terms + 16) * UNIT * (1 + 2.0**-10)


def down(x: Array) -> Array:
    """Below x by at least one rounding of the operation that gave x; NaN for +inf."""
    return np.asarray(x - (np.abs(x) * (2 * UNIT) + TINY))


def up(x: Array) -> Array:
    """Above x by at least one rounding of the operation that gave x; NaN for -inf."""
    return np.asarray(x + (np.abs(x) * (2 * UNIT) + TINY))


def above(x: Array) -> Array:
    """At least the exact value of an expression without subtractions, of numbers that are at least 0.

    Made for magnitudes that are multiplied by a rounding: it is loose.

    Fewer than 2^30 roundings lower it by a factor of at least 1 - 2^-22.
    """
    return np.asarray(x * (1 + 2.0**-20) + TINY)


def apart(bounds: Interval, error: Array) -> Interval:
    """Bounds moved outward by an error."""
    return down(bounds[0] - error), up(bounds[1] + error)


def ball(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Centre and radius of a box that contains [lower, upper]."""
    centre = lower / 2 + upper / 2
    return centre, up(np.maximum(upper - centre, centre - lower))


def reach(bounds: Interval) -> Array:
    """The largest magnitude within bounds."""
    return np.maximum(np.abs(bounds[0]), np.abs(bounds[1]))


def frozen(*arrays: Array) -> list[Array]:
    """The same arrays, not to be written to."""
    views = [array.view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def times(rows: Array, vectors: Array) -> Array:
    """Rows [b, s, k] times one vector for each box [b, k]: [b, s], rounded to nearest."""
    return np.asarray((rows @ vectors[:, :, None])[:, :, 0])
