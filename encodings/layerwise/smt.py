r"""The same layers as z3 terms over exact rationals: a slow oracle for small networks.

Every float is the rational number that it stands for (a float64 is $m\,2^e$), so that nothing here is
rounded: `Fraction(0.1)` is 3602879701896397 / 36028797018963968. A block of expressions is a list of
z3 real terms; ReLUs and maxima are `If` terms, which z3 splits on by itself.

Source: Katz, Barrett, Dill, Julian and Kochenderfer, Reluplex: an efficient SMT solver for verifying
deep neural networks, CAV 2017, section 2, for networks as formulas of linear real arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import z3
from numpy.typing import ArrayLike

from layerwise.output import HalfSpaces
from layerwise.pool import Indices
from layerwise.program import ProgramError

Term: TypeAlias = z3.ArithRef
Terms: TypeAlias = list[z3.ArithRef]


def rational(value: float) -> Term:
    """The exact value of a finite float."""
    if not np.isfinite(value):
        raise ProgramError(f"{value} is not a rational number")
    exact = Fraction(float(value))
    return z3.Q(exact.numerator, exact.denominator)


def variables(size: int, name: str = "x") -> Terms:
    """Real unknowns name0, name1, ..."""
    return [z3.Real(f"{name}{i}") for i in range(size)]


def constants(values: ArrayLike) -> Terms:
    """The exact values of floats, [m]."""
    return [rational(value) for value in np.asarray(values, dtype=np.float64).ravel()]


def box(x: Sequence[Term], lower: ArrayLike, upper: ArrayLike) -> z3.BoolRef:
    """lower <= x <= upper; infinite ends are left out."""
    low = np.broadcast_to(np.asarray(lower, dtype=np.float64), (len(x),))
    high = np.broadcast_to(np.asarray(upper, dtype=np.float64), (len(x),))
    above = [t >= rational(v) for t, v in zip(x, low, strict=True) if v != -np.inf]
    below = [t <= rational(v) for t, v in zip(x, high, strict=True) if v != np.inf]
    return z3.And(*above, *below)


def dense(x: Sequence[Term], weight: ArrayLike, bias: ArrayLike) -> Terms:
    """y = W x + b for W [r, n], b [r]; exact zeros of W are left out."""
    matrix = np.atleast_2d(np.asarray(weight, dtype=np.float64))
    if matrix.shape[1] != len(x):
        raise ProgramError(f"a weight of shape {matrix.shape} does not fit {len(x)} terms")
    shift = np.broadcast_to(np.asarray(bias, dtype=np.float64), (len(matrix),))
    return [
        z3.Sum(rational(b), *(rational(w) * t for w, t in zip(row, x, strict=True) if w != 0))
        for row, b in zip(matrix, shift, strict=True)
    ]


def relu(x: Sequence[Term]) -> Terms:
    """max(x, 0)."""
    return [z3.If(t >= 0, t, z3.RealVal(0)) for t in x]


def leaky_relu(x: Sequence[Term], slope: ArrayLike) -> Terms:
    """x where x >= 0, else slope * x."""
    slopes = np.broadcast_to(np.asarray(slope, dtype=np.float64), (len(x),))
    return [z3.If(t >= 0, t, rational(s) * t) for t, s in zip(x, slopes, strict=True)]


def clip(x: Sequence[Term], low: float, high: float) -> Terms:
    """min(max(x, low), high); either end may be infinite."""
    terms = list(x)
    if low != -np.inf:
        terms = [z3.If(t >= rational(low), t, rational(low)) for t in terms]
    if high != np.inf:
        terms = [z3.If(t <= rational(high), t, rational(high)) for t in terms]
    return terms


def max_pool(x: Sequence[Term], windows: Indices) -> Terms:
    """The largest entry of every window [o, k], -1 pads."""
    return [_largest([x[j] for j in window if j >= 0]) for window in windows]


def all_rows_hold(y: Sequence[Term], rows: HalfSpaces, x: Sequence[Term] | None = None) -> z3.BoolRef:
    """C y + D x <= d, all rows; x may be left out where D = 0."""
    return z3.And(*(v <= rational(d) for v, d in zip(_activity(y, rows, x), rows.bound, strict=True)))


def some_row_broken(
    y: Sequence[Term], rows: HalfSpaces, x: Sequence[Term] | None = None, margin: float = 0.0
) -> z3.BoolRef:
    """C_r y + D_r x >= d_r + margin for at least one row r; d and margin are added exactly."""
    bounds = [rational(d) + rational(margin) for d in rows.bound]
    return z3.Or(*(v >= d for v, d in zip(_activity(y, rows, x), bounds, strict=True)))


def number(value: z3.ExprRef) -> Fraction:
    """A value of a z3 model as a rational number."""
    return Fraction(value.numerator_as_long(), value.denominator_as_long())


def _activity(y: Sequence[Term], rows: HalfSpaces, x: Sequence[Term] | None) -> Terms:
    if x is None and np.any(rows.input):
        raise ProgramError("half-spaces with a part over the inputs need the inputs: pass x")
    value = dense(y, rows.output, 0.0)
    if x is None:
        return value
    return [a + b for a, b in zip(value, dense(x, rows.input, 0.0), strict=True)]


def _largest(terms: Terms) -> Term:
    best = terms[0]
    for term in terms[1:]:
        best = z3.If(term >= best, term, best)
    return best
