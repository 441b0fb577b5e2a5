r"""Rectifiers: $z = \max(\hat z, 0)$, its leaky relative and clipping.

Symbols: $\hat z$ is a neuron's value before activation, $z$ after it, $l \le \hat z \le u$ its bounds
(always arguments, never computed here), $s$ the slope for negative values (0 for a plain ReLU).

Every encoding splits $\hat z$ into its positive and negative part, which keeps the (dense) row of
$\hat z$ to a single copy and gives the leaky version without any further column:

$$ p - n = \hat z, \qquad p \ge 0,\; n \ge 0, \qquad z = p - s\,n. $$

What is left to say is that p and n are not both positive, and there the encodings differ. A stable
neuron ($l \ge 0$ or $u \le 0$) has one part equal to zero and needs no binary.

The columns p and n are bounded by u and -l, so that the bounds must be valid for every point of
interest: a point with $\hat z$ outside [l, u] is cut off.

Source: Fischetti and Jo, Deep neural networks and mixed integer linear optimization, Constraints 23
(2018), equation (5), for the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError


class Encode(Protocol):
    """Add z = max(zhat, slope * zhat) to a program, for slope <= 1.

    Args:
        zhat: values before activation, [m].
        lower, upper: finite valid bounds of zhat, one number or [m].
        slope: for negative values, one number or [m].

    Returns:
        z, [m].

    Raises:
        ProgramError: a bound is missing, infinite or crossed, or a slope is above 1.
    """

    def __call__(
        self, program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, slope: ArrayLike = 0.0
    ) -> Expr: ...


@dataclass(frozen=True, slots=True)
class ReluEncoding:
    """An encoding by name; `exact` unless it is a relaxation, which admits points that no network has."""

    name: str
    encode: Encode
    exact: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """p and n of all neurons, and which of them are unstable, with these neurons' bounds."""

    positive: Expr
    negative: Expr
    unstable: NDArray[np.intp]
    lower: Array
    upper: Array


def big_m(program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, slope: ArrayLike = 0.0) -> Expr:
    r"""Big-M: a binary a per unstable neuron, 1 where it is active.

    $$ p - n = \hat z, \qquad 0 \le p \le u\,a, \qquad 0 \le n \le -l\,(1 - a), \qquad z = p - s\,n. $$

    Eliminating $n = p - \hat z$ for s = 0 gives the textbook form $z \ge 0$, $z \ge \hat z$,
    $z \le u a$, $z \le \hat z - l (1 - a)$. Exact; its linear relaxation is the triangle.

    Size: one binary, two columns and three rows per unstable neuron; one column and one row per
    active neuron; nothing per inactive neuron if s = 0.

    Source: Tjeng, Xiao and Tedrake, Evaluating robustness of neural networks with mixed integer
    programming, ICLR 2019, equation (6).
    """
    parts = _split(program, zhat, lower, upper, slope)
    _switch(program, parts)
    return parts.positive - parts.negative * interval.vector(slope, len(zhat))


def triangle(
    program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, slope: ArrayLike = 0.0
) -> Expr:
    r"""Triangle: the convex hull of one neuron's graph over [l, u], a relaxation without binaries.

    $$ p - n = \hat z, \qquad 0 \le p \le u, \qquad 0 \le n \le -l, \qquad p / u + n / (-l) \le 1. $$

    For s = 0 this is $z \ge 0$, $z \ge \hat z$, $z \le u (\hat z - l) / (u - l)$. Not exact: minima
    over it are lower bounds, maxima upper bounds, of those of the network. It is the projection of
    the linear relaxation of `big_m`.

    Size: two columns and two rows per unstable neuron, no binary.

    Source: Ehlers, Formal verification of piece-wise linear feed-forward neural networks, ATVA 2017,
    section 3, figure 2.
    """
    parts = _split(program, zhat, lower, upper, slope)
    k = parts.unstable
    # Scaled by u (-l) / (u - l), so that no coefficient is above 1.
    share = parts.upper / (parts.upper - parts.lower)
    program.rows(parts.positive[k] * (1.0 - share) + parts.negative[k] * share, upper=-parts.lower * share)
    return parts.positive - parts.negative * interval.vector(slope, len(zhat))


def ideal(program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, slope: ArrayLike = 0.0) -> Expr:
    r"""Ideal: the linear relaxation is the convex hull of neuron and box together, one binary each.

    With $\hat z = w^\top v + b$ over columns $L \le v \le U$, and $\check L_i = L_i$, $\check U_i = U_i$
    where $w_i > 0$, swapped where $w_i < 0$, Anderson et al. prove that these rows, one for every
    subset I of the inputs, together with $z \ge 0$, $z \ge \hat z$ are ideal:

    $$ z \le \sum_{i \in I} w_i (v_i - \check L_i (1 - a))
       + \Big(b + \sum_{i \notin I} w_i \check U_i\Big) a. $$

    Choosing the best I is a choice for every i alone, so that the exponential family is the
    projection of $2k$ rows with $k$ further columns $t$ (k entries in the row w):

    $$ z \le \sum_i t_i + b\,a, \qquad t_i \le w_i (v_i - \check L_i (1 - a)), \qquad
       t_i \le w_i \check U_i\, a. $$

    This extended form is built here, rather than cuts separated one by one, because it needs no
    callback of the solver and is as exact in every one. It suits rows with few entries (or few
    unstable neurons). The rows of `big_m` are added: they are implied by the above if l and u are
    interval bounds, and tighten it if l and u come from a better method.

    Size: per unstable neuron one binary, 2 + k columns, 4 + 2k rows.

    Source: Anderson, Huchette, Ma, Tjandraatmadja and Vielma, Strong mixed-integer programming
    formulations for trained neural networks, Mathematical Programming 183 (2020), proposition 12;
    for the extended form, the same paper, section 2.2 (multiple choice), projected on z.

    Raises:
        ProgramError: besides the common reasons, an unstable neuron has an input without bounds.
    """
    parts = _split(program, zhat, lower, upper, slope)
    active = _switch(program, parts)
    _hull(program, parts.positive[parts.unstable], zhat[parts.unstable], active)
    return parts.positive - parts.negative * interval.vector(slope, len(zhat))


def fixed(program: Program, zhat: Expr, phases: NDArray[np.bool_], slope: ArrayLike = 0.0) -> Expr:
    r"""Fixed phases: $z = \hat z \ge 0$ where active, $z = s\,\hat z$ with $\hat z \le 0$ where not.

    Exact on the cell of the activation pattern, infeasible where the cell is empty; needs no bounds.

    Size: one column and one row per active neuron, and per inactive neuron (if s = 0, only the row).

    Args:
        phases: [m], True where the neuron is active.
    """
    if phases.shape != (len(zhat),):
        raise ProgramError(f"expected {len(zhat)} phases, got an array of shape {phases.shape}")
    part = program.columns(len(zhat), 0.0, name="part")
    signs = np.where(phases, 1.0, -1.0)
    program.rows(signs * part - zhat, 0.0, 0.0)
    return part * np.where(phases, 1.0, -interval.vector(slope, len(zhat)))


def clip(
    program: Program,
    zhat: Expr,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    low: float,
    high: float,
    encode: Encode = big_m,
) -> Expr:
    r"""Clipping to [low, high], either end possibly infinite: two kinks, at most two binaries.

    $$ t = low + \max(\hat z - low, 0), \qquad z = high - \max(high - t, 0). $$

    Exact if `encode` is; binaries only for kinks strictly between the bounds of $\hat z$.

    Args:
        lower, upper: finite valid bounds of zhat, one number or [m].
    """
    if not low <= high:
        raise ProgramError(f"clip: the lower end {low} lies above the upper end {high}")
    below, above = interval.checked(lower, upper, len(zhat), "clip")
    z = zhat
    if np.isfinite(low):
        z = encode(program, z - low, below - low, above - low) + low
        below, above = np.maximum(below, low), np.maximum(above, low)
    if np.isfinite(high):
        z = high - encode(program, high - z, high - above, high - below)
    return z


RELU_ENCODINGS: dict[str, ReluEncoding] = {
    "big_m": ReluEncoding("big_m", big_m, exact=True),
    "ideal": ReluEncoding("ideal", ideal, exact=True),
    "triangle": ReluEncoding("triangle", triangle, exact=False),
}


def _split(program: Program, zhat: Expr, lower: ArrayLike, upper: ArrayLike, slope: ArrayLike) -> _Parts:
    """Columns p and n with p - n = zhat, only where they matter."""
    size = len(zhat)
    low, high = interval.checked(lower, upper, size, "rectifier")
    slopes = interval.vector(slope, size)
    if not (slopes <= 1.0).all():
        raise ProgramError(f"a rectifier's slope must be at most 1, got {np.max(slopes)}")
    unstable = np.flatnonzero((low < 0) & (high > 0))
    positive = np.flatnonzero(high > 0)
    negative = np.flatnonzero((low < 0) & ((high > 0) | (slopes != 0)))
    p = program.columns(len(positive), np.maximum(low, 0)[positive], high[positive], name="p")
    n = program.columns(len(negative), np.maximum(-high, 0)[negative], -low[negative], name="n")
    parts = (_place(p, positive, size), _place(n, negative, size))
    used = np.union1d(positive, negative)
    program.rows(parts[0][used] - parts[1][used] - zhat[used], 0.0, 0.0)
    return _Parts(*parts, unstable, low[unstable], high[unstable])


def _switch(program: Program, parts: _Parts) -> Expr:
    """Binaries a with p <= u a and n <= -l (1 - a)."""
    k = parts.unstable
    active = program.columns(len(k), 0.0, 1.0, integer=True, name="a")
    program.rows(parts.positive[k] - parts.upper * active, upper=0.0)
    program.rows(parts.negative[k] - parts.lower * active, upper=-parts.lower)
    return active


def _hull(program: Program, z: Expr, zhat: Expr, active: Expr) -> None:
    """The rows of `ideal` beyond those of big-M."""
    weights = zhat.matrix.data
    column = zhat.matrix.indices
    neuron = np.repeat(np.arange(len(zhat)), np.diff(zhat.matrix.indptr))
    lower, upper = (bound[column] for bound in program.column_bounds())
    lower, upper = interval.checked(lower, upper, len(column), "ideal rectifier, inputs")
    at_lower = weights * np.where(weights > 0, lower, upper)
    at_upper = weights * np.where(weights > 0, upper, lower)
    product = Expr(
        sparse.csr_array((weights, column, np.arange(len(column) + 1)), (len(column), program.n_columns)),
        np.zeros(len(column)),
    )
    part = program.columns(len(column), -np.inf, np.maximum(at_upper, 0.0), name="t")
    on = active[neuron]
    program.rows(part - product - at_lower * on, upper=-at_lower)
    program.rows(part - at_upper * on, upper=0.0)
    entries = (np.ones(len(column)), (neuron, np.arange(len(column))))
    total = sparse.csr_array(entries, shape=(len(zhat), len(column))) @ part
    program.rows(z - total - zhat.constant * active, upper=0.0)


def _place(columns: Expr, rows: NDArray[np.intp], size: int) -> Expr:
    """The columns at these rows of a block of `size` expressions, zero elsewhere."""
    counts = np.zeros(size + 1, dtype=np.intp)
    counts[rows + 1] = 1
    matrix = columns.matrix
    placed = sparse.csr_array((matrix.data, matrix.indices, np.cumsum(counts)), (size, matrix.shape[1]))
    return Expr(placed, np.zeros(size))
