r"""S-shaped activations, sigmoid and tanh: sound linear envelopes and piecewise-linear encodings.

Symbols: $\hat z$ is a neuron's value before activation, $z = f(\hat z)$ after it, $l \le \hat z \le u$
its bounds. f is increasing, convex for $x \le 0$, concave for $x \ge 0$, and point-symmetric:
$f(x) = c - f(-x)$, with c = 1 for the sigmoid and 0 for tanh. So only upper lines need a derivation;
the lower line over [l, u] is the mirrored upper line over [-u, -l].

Upper line over [l, u]:

- $u \le 0$ (convex): the secant;
- $l \ge 0$ (concave): the tangent at the midpoint;
- $l < 0 < u$, $f'(u) \ge$ the secant's slope: the secant. Right of 0, f is concave and steeper than
  the secant up to u, so that it lies below it; left of 0 it is convex, and below the secant at both ends;
- otherwise the tangent at a point d in (0, u] that does not pass below f at l, found by bisection. The
  end of the bisection's interval that satisfies this is taken: sound at any accuracy.

All lines are moved outward by a bound on the rounding errors of their own computation.

Source: Singh, Gehr, Püschel and Vechev, An abstract domain for certifying neural networks, POPL 2019,
section 4.3; Zhang, Weng, Chen, Hsieh and Daniel, Efficient neural network robustness certification
with general activation functions, NeurIPS 2018, section 3.2, for the tangents in the mixed case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError

BISECTIONS = 50
# Room for solvers that call slivers below their tolerance empty; what it costs is below any margin.
SLACK = 1e-7
ROUNDING = 32 * np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True)
class SShape:
    """An increasing function, convex left of 0 and concave right of it, with f(x) = centre - f(-x).

    Args:
        curvature: max |f''|.
    """

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    centre: float
    curvature: float


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """Lines below and above a function: lower_slope x + lower_constant <= f(x) <= ..., each [m]."""

    lower_slope: Array
    lower_constant: Array
    upper_slope: Array
    upper_constant: Array


class Encode(Protocol):
    """Add z = f(zhat), up to the error stated in `piecewise`, to a program; returns z, [m].

    Args:
        zhat: values before activation, [m].
        lower, upper: finite valid bounds of zhat, one number or [m].
        segments: how many per neuron; with 1 there are no binaries.
    """

    def __call__(
        self, program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, segments: int = 1
    ) -> Expr: ...


def _sigmoid(x: Array) -> Array:
    return np.asarray(expit(x), dtype=np.float64)


def _sigmoid_slope(x: Array) -> Array:
    return _sigmoid(x) * _sigmoid(-x)


def _tanh_slope(x: Array) -> Array:
    return 4.0 * _sigmoid_slope(2.0 * x)


SIGMOID = SShape("sigmoid", _sigmoid, _sigmoid_slope, 1.0, 1.0 / (6.0 * np.sqrt(3.0)))
TANH = SShape("tanh", np.tanh, _tanh_slope, 0.0, 4.0 / (3.0 * np.sqrt(3.0)))


def envelope(function: SShape, lower: ArrayLike, upper: ArrayLike) -> Envelope:
    """Sound lines below and above f over every interval [lower, upper], vectorised (see the module).

    Args:
        lower, upper: finite, [m].

    Raises:
        ProgramError: a bound is missing, infinite or crossed.
    """
    low, high = interval.checked(lower, upper, np.size(lower), function.name)
    upper_slope, upper_constant = _upper_line(function, low, high)
    lower_slope, mirrored = _upper_line(function, -high, -low)
    return Envelope(lower_slope, function.centre - mirrored, upper_slope, upper_constant)


def piecewise(
    program: Program,
    zhat: Expr,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    function: SShape,
    segments: int,
) -> Expr:
    r"""z between sound lines on each of K segments $[c_k, c_{k+1}]$ of [l, u], one binary each.

    $$ \hat z = \sum_k (c_k a_k + (c_{k+1} - c_k)\, d_k), \qquad 0 \le d_k \le a_k, \qquad
       \sum_k a_k = 1, $$

    $$ \sum_k (\underline f_k(c_k)\, a_k + \underline s_k (c_{k+1} - c_k)\, d_k) \le z \le
       \sum_k (\overline f_k(c_k)\, a_k + \overline s_k (c_{k+1} - c_k)\, d_k), $$

    with the lines' slopes s and their values f(c) at the start of the segment. The place d within the
    segment runs from 0 to 1 however thin it is, and the rows of $\hat z$ and z have `SLACK` on either
    side: without both, solvers call programs infeasible that are not.

    With K = 1 only the two lines remain, without binaries. For every $\hat z$ in [l, u], the true
    $z = f(\hat z)$ is admitted; what else is admitted has, for K > 1,

    $$ |z - f(\hat z)| \le \tfrac18 w^2 \max |f''| + 3\,\text{SLACK}, \qquad w \le 2 (u - l) / K, $$

    w being the widest segment, because 0 is a breakpoint if it lies between l and u: on one-sided
    segments both the secant and the tangent at the midpoint are that close. $\max |f''|$ is 0.0963 for
    the sigmoid, 0.770 for tanh. A relaxation: minima are lower bounds of the network's.

    Size per neuron: K binaries, K + 1 columns, K + 4 rows; one column and two rows if K = 1.

    Source: Croxton, Gendron and Magnanti, A comparison of mixed-integer programming models for
    nonconvex piecewise linear cost minimization problems, Management Science 49 (2003), section 2.2
    (multiple choice; its linear relaxation is the convex hull of the segments).
    """
    if segments < 1:
        raise ProgramError(f"{function.name}: at least one segment is needed, got {segments}")
    low, high = interval.checked(lower, upper, len(zhat), function.name)
    margin = ROUNDING if segments == 1 else SLACK
    z = program.columns(len(zhat), function.value(low) - margin, function.value(high) + margin, name="z")
    if segments == 1:
        lines = envelope(function, low, high)
        program.rows(z - zhat * lines.lower_slope, lower=lines.lower_constant)
        program.rows(z - zhat * lines.upper_slope, upper=lines.upper_constant)
        return z
    knots = breakpoints(low, high, segments)
    start, end = knots[:, :-1].ravel(), knots[:, 1:].ravel()
    lines = envelope(function, start, end)
    width = end - start
    place = program.columns(len(start), 0.0, 1.0, name="d")
    on = program.columns(len(start), 0.0, 1.0, integer=True, name="a")
    program.rows(place - on, upper=0.0)
    total = sparse.csr_array(sparse.kron(sparse.eye_array(len(zhat)), np.ones((1, segments)), format="csr"))
    program.rows(total @ on, 1.0, 1.0)
    program.rows(total @ (on * start + place * width) - zhat, -SLACK, SLACK)
    below, above = (
        total @ (on * (slope * start + constant) + place * (slope * width))
        for slope, constant in (
            (lines.lower_slope, lines.lower_constant),
            (lines.upper_slope, lines.upper_constant),
        )
    )
    program.rows(z - below, lower=-SLACK)
    program.rows(z - above, upper=SLACK)
    return z


def breakpoints(lower: Array, upper: Array, segments: int) -> Array:
    """K + 1 ends of K segments of each [lower, upper], [m, K + 1], with 0 among them if it lies inside.

    Equally wide on either side of 0, and no segment wider than 2 (upper - lower) / K.
    """
    k = np.arange(segments + 1)
    width = upper - lower
    grid = lower[:, None] + width[:, None] * (k / segments)
    grid[:, -1] = upper
    mixed = np.flatnonzero((lower < 0) & (upper > 0))
    if segments > 1 and mixed.size:
        low, high = lower[mixed, None], upper[mixed, None]
        left = np.clip(np.round(-low / (high - low) * segments), 1, segments - 1)
        grid[mixed] = np.where(k <= left, low * (1 - k / left), high * ((k - left) / (segments - left)))
    return grid


def sigmoid(program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, segments: int = 1) -> Expr:
    """z = 1 / (1 + exp(-zhat)), see `piecewise`."""
    return piecewise(program, zhat, lower, upper, function=SIGMOID, segments=segments)


def tanh(program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, segments: int = 1) -> Expr:
    """z = tanh(zhat), see `piecewise`."""
    return piecewise(program, zhat, lower, upper, function=TANH, segments=segments)


SMOOTH_ENCODINGS: dict[str, Encode] = {"sigmoid": sigmoid, "tanh": tanh}


def _upper_line(function: SShape, low: Array, high: Array) -> tuple[Array, Array]:
    """Slope and constant of a line above f on [low, high], moved up by its rounding errors."""
    at_low, at_high = function.value(low), function.value(high)
    width = high - low
    secant = np.divide(at_high - at_low, width, out=np.zeros_like(width), where=width > 0)
    by_secant = (high <= 0) | ((low < 0) & (function.slope(high) >= secant))
    point = np.where(low >= 0, low + 0.5 * width, _touching(function, low, high, at_low))
    slope = np.where(by_secant, secant, function.slope(point))
    base = np.where(by_secant, low, point)
    constant = np.where(by_secant, at_low, function.value(point)) - slope * base
    reach = np.maximum(np.abs(low), np.abs(high))
    return slope, constant + ROUNDING * (1.0 + np.abs(constant) + slope * reach)


def _touching(function: SShape, low: Array, high: Array, at_low: Array) -> Array:
    """A point d > 0 whose tangent is not below f at `low`; `high` where the bisection finds none below it."""
    left, right = np.zeros_like(high), np.maximum(high, 0.0)
    for _ in range(BISECTIONS):
        middle = 0.5 * (left + right)
        above = function.value(middle) + function.slope(middle) * (low - middle) >= at_low
        right = np.where(above, middle, right)
        left = np.where(above, left, middle)
    return right
