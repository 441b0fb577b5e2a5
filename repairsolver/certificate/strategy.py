"""Choices of the checker that cannot make a wrong answer: slopes, multipliers, neurons to bound anew, halves.

Nothing here has to be trusted. Of whatever numbers these functions return, the checker uses only what is
true of any numbers: a line is shifted until it is a bound whatever its slope, a half-space may be added with
any multiplier that is at least 0, a neuron that is bounded anew or not has true bounds either way, and both
halves of a box are examined wherever it is cut. A bad choice proves less. The arrays they are given are
read-only.

The choices are those of the prover (`repairsolver.bounds`), so that hardly any leaf has to be halved further.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from repairsolver.certificate import curves, smooth
from repairsolver.certificate.arithmetic import times
from repairsolver.certificate.layers import Bend
from repairsolver.network import operators as ops
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.results import Array

# Where two choices are as good, the prover's must be found again, whatever rounding does (see its lines).
HALF, AS_GOOD = 0.5 + 2.0**-20, 2.0**-30
# Bytes of a block of rows: more than stay in a processor's cache would take longer.
MEMORY = 2.0**22
# Boxes of less than this share of their query's volume are thin.
THIN = 2.0**-20
# Bounds that lie less beyond a kink do so by the checker's allowance for underflow alone.
NOTHING = 2.0**-900
# Chords of a steep ELU that are compared, and a width below which there is no chord, as in the prover.
CHORDS, NARROW = 16, 1e-6


class Hints(NamedTuple):
    """What neurons are chosen by.

    Args:
        thin: which boxes are so small that they may well be empty, [b].
        middle: the value of every tensor at the middle of these, by position.
        inherited: tensors whose bounds are taken over from the box around without a look at their intervals.
            These are hardly tighter there, and a proof may hang on the bounds it was found with.
    """

    thin: NDArray[np.bool_]
    middle: list[Array]
    inherited: set[int]


def hints(network: Network, lower: Array, upper: Array, first: Array, last: Array) -> Hints:
    """Hints about boxes [b, n], parts of the boxes [first, last]."""
    whole = last - first
    thin = np.where(whole > 0, (upper - lower) / whole, 1.0).prod(axis=1) < THIN
    middle = list(activations(network, lower[thin] / 2 + upper[thin] / 2).values()) if thin.any() else []
    return Hints(thin, middle, _inherited(network))


def _inherited(network: Network) -> set[int]:
    """What is bent, but not made entry by entry of what was bent before."""
    copied, sources = {network.input_name: False}, set()
    for node in network.nodes:
        moved = isinstance(node.operator, ops.Scale | ops.Select) and copied[node.inputs[0]]
        copied[node.name] = moved or isinstance(node.operator, ops.Activation | ops.Curve)
        sources |= set() if isinstance(node.operator, ops.Linear) else {node.inputs[0]}
    return {k for k, name in enumerate(copied) if name in sources and not copied[name]}


def entries(
    operator: Bend | ops.MaxPool, lower: Array, upper: Array, hints: Hints, sizes: list[int]
) -> list[NDArray[np.int64]]:
    """Which entries of a tensor to bound anew, in blocks [b, c]: those whose lines would profit.

    Of thin boxes these are also the entries which the middle contradicts: they may tell that it is empty.

    Args:
        lower, upper: bounds of the tensor, [b, size].
        sizes: of the tensors from the input to this one.
    """
    loose = _loose(operator, lower, upper)
    if hints.thin.any():
        middle = hints.middle[len(sizes) - 1]
        loose[hints.thin] |= (middle < lower[hints.thin]) | (middle > upper[hints.thin])
    count = int(loose.sum(axis=1).max(initial=0))
    # Every loose entry of a box comes first, the rest fills the rows of boxes that have fewer.
    order = np.argsort(~loose, axis=1, kind="stable")[:, :count]
    # Rows start below an affine layer: its own size is none of theirs.
    block = max(1, int(MEMORY / (64 * len(lower) * max(sizes[:-1], default=sizes[-1]))))
    return [order[:, start : start + block] for start in range(0, count, block)]


def _loose(operator: Bend | ops.MaxPool, lower: Array, upper: Array) -> NDArray[np.bool_]:
    match operator:
        case ops.LeakyRelu():
            kinks: tuple[float, ...] = (0.0,)
        case ops.Clip(first, last):
            kinks = (first, last)
        case _:
            return np.asarray(upper > lower)
    inside = [(lower < kink - NOTHING) & (upper > kink + NOTHING) for kink in kinks]
    return np.asarray(np.any(inside, axis=0))


def halving(slope: Array, lower: Array, upper: Array) -> tuple[NDArray[np.int64], Array]:
    """Where to halve boxes [b, n]: at the middle of the input on which A x + c, A [b, n], depends most."""
    axis = (np.abs(slope) * (upper - lower)).argmax(axis=1)
    return axis, (lower / 2 + upper / 2)[np.arange(len(axis)), axis]


def multipliers(slope: Array, shift: Array, a: Array, k: Array, centre: Array, radius: Array) -> Array:
    """Multipliers of a x + k for bounds of A x + c, [b, s]: 0, or the best that cancels an entry of A + mu a.

    Args:
        slope, shift: A [b, s, n] and c [b, s].
        a, k: [b, 1, n] and [b, 1].
        centre, radius: of the boxes, [b, n].
    """
    if not a.any():
        return np.zeros((1, 1))
    value, gain = times(slope, centre) + shift, times(a, centre) + k
    best, chosen = value - times(np.abs(slope), radius), np.zeros(shift.shape)
    rows = np.empty_like(slope)
    for i in range(slope.shape[2]):
        mu = -slope[:, :, i] / a[:, :, i]
        mu = np.where((mu > 0) & (mu < np.inf), mu, 0.0)
        np.multiply(mu[:, :, None], a, out=rows)
        rows += slope
        trial = value + mu * gain - times(np.abs(rows, out=rows), radius)
        chosen = np.where(trial > best, mu, chosen)
        best = np.fmax(best, trial)
    return chosen


def slopes(operator: Bend, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Slopes of a lower and an upper line, [b, size].

    Where a convex kink p is followed by a concave one q, with slopes left, middle and right, and p makes it
    necessary, the upper line is a chord, from the left end to q at most; else it touches at q, with the
    better slope. The lower line mirrors that.
    """
    match operator:
        case ops.Sigmoid() | ops.Tanh():
            return _smooth(operator, lower, upper)
        case ops.Elu() | ops.Gelu():
            return _curved(operator, lower, upper)
        case ops.Clip(first, last):
            left, middle, right = np.zeros(1), np.ones(1), np.zeros(1)
            p, q = np.array(first), np.array(last)
        case ops.LeakyRelu(slope):
            convex = slope <= 1
            p, q = np.where(convex, 0.0, -np.inf), np.where(convex, np.inf, 0.0)
            left, middle, right = slope, np.where(convex, 1.0, slope), np.ones(1)
    bottom, top = np.maximum(lower, p), np.minimum(upper, q)
    rise, fall = _share(top - p, top - lower), _share(q - bottom, upper - bottom)
    low = np.where(upper > q, right + (middle - right) * fall, np.where(_most(rise, top - p), middle, left))
    high = np.where(
        lower < p, left + (middle - left) * rise, np.where(_most(fall, q - bottom), middle, right)
    )
    return low, high


def choice(low: Array) -> NDArray[np.int64]:
    """Which entry of each window [b, windows, entries] to take lines of, [b, windows], by its lower bounds.

    The first of those that are as good as any.
    """
    best = low.max(axis=2, keepdims=True)
    return np.asarray((low >= best - AS_GOOD * (1 + np.abs(best))).argmax(axis=2))


def _share(part: Array, whole: Array) -> Array:
    """part / whole within [0, 1]; 0 for 0 / 0."""
    whole = np.maximum(whole, np.finfo(np.float64).tiny)
    return np.asarray(np.clip(part, 0, whole) / whole)


def _most(share: Array, part: Array) -> NDArray[np.bool_]:
    """Where a part is more than half of an interval, of which it is a share."""
    return np.asarray((share > HALF) & (part > AS_GOOD))


def _smooth(operator: ops.Sigmoid | ops.Tanh, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Chord and tangent where it is concave or convex and not too narrow; elsewhere the least slope."""
    first, last = (np.mean(smooth.enclose(operator, x), axis=0) for x in (lower, upper))
    least, width = smooth.least_slope(operator, lower, upper), upper - lower
    wide = width >= 1e-6
    chord = np.maximum((last - first) / np.where(wide, width, 1.0), 0)
    tangent = smooth.derivative(operator, lower / 2 + upper / 2)
    cases = [wide & (lower >= 0), wide & (upper <= 0)]
    return np.select(cases, [chord, tangent], least), np.select(cases, [tangent, chord], least)


def _curved(operator: ops.Curve, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Below the slope at the middle, above the chord; of a steep ELU those of the prover."""
    (first, last), width = (_value(operator, x) for x in (lower, upper)), upper - lower
    tangent = _slope(operator, lower / 2 + upper / 2)
    chord = (last - first) / np.maximum(width, NARROW)
    below, above = tangent, chord
    if isinstance(operator, ops.Elu) and operator.alpha > 1:
        below, above = _steep(operator, lower, upper, chord)
    return np.where(width <= NARROW, tangent, below), np.where(width <= NARROW, tangent, above)


def _steep(operator: ops.Elu, lower: Array, upper: Array, chord: Array) -> tuple[Array, Array]:
    """Below no steeper than any chord from the upper end, above through the kink at 0 or the chord."""
    middle, start, last = lower / 2 + upper / 2, np.minimum(lower, 0), _value(operator, upper)
    steepest = chord
    for k in range(CHORDS):
        x = start * (1 - k / CHORDS)
        rise = (last - _value(operator, x)) / np.maximum(upper - x, NARROW)
        steepest = np.maximum(steepest, rise)
    below = np.where(middle < 0, np.minimum(_slope(operator, middle), steepest), steepest)
    left = _value(operator, lower) / np.minimum(lower, -NARROW)
    kinked = (lower < 0) & (upper > 0) & (left > 1)
    return below, np.where(kinked, np.where(middle < 0, left, 1.0), chord)


def _value(operator: ops.Curve, x: Array) -> Array:
    return np.asarray(np.mean(curves.enclose(operator, x), axis=0))


def _slope(operator: ops.Curve, x: Array) -> Array:
    """The derivative; of GELU with tanh, that of the exact one."""
    if isinstance(operator, ops.Elu):
        return np.where(x >= 0, 1.0, operator.alpha * np.exp(np.minimum(x, 0)))
    return np.asarray(ndtr(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
