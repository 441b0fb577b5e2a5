r"""Lines around activations, rigorous: alpha x + beta <= phi(x) <= gamma x + delta on [l, u].

Slopes are free; for any float64 slope s the shift must bound $\phi(x) - s x$ on the interval from below
or above. That function is

- piecewise linear for ReLU, leaky ReLU and clip: its extremes lie at the ends and the kinks;
- concave (convex) for sigmoid and tanh right (left) of 0: least (largest) at the ends; a tangent at m
  bounds it on the other side, whose slope may err by e at the price of e |x - m|;
- increasing where s is at most the slope at both ends (the slope of sigmoid and tanh has one peak).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate.arithmetic import TINY, UNIT, down, sigmoid, tanh, up
from repairsolver.network import operators as ops
from repairsolver.results import Array

# Absolute error of a computed slope of sigmoid or tanh: a few times that of their values.
SLOPE_ERROR = 2.0**-42

# Where both slopes of a ReLU are as good, the prover's choice must be found again, whatever rounding does.
HALF = 0.5 + 2.0**-20


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The lines, each array [b, size]."""

    lower_slope: Array
    lower_shift: Array
    upper_slope: Array
    upper_shift: Array


def enclose(operator: ops.Activation, x: Array) -> tuple[Array, Array]:
    """Bounds of an activation's values at x."""
    match operator:
        case ops.Relu():
            return np.maximum(x, 0), np.maximum(x, 0)
        case ops.LeakyRelu(slope):
            bent = slope * x
            return np.where(x >= 0, x, down(bent)), np.where(x >= 0, x, up(bent))
        case ops.Clip(low, high):
            return np.clip(x, low, high), np.clip(x, low, high)
        case ops.Sigmoid():
            return sigmoid(x)
        case ops.Tanh():
            return tanh(x)


def interval(operator: ops.Activation, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of an activation on [lower, upper]; only a leaky ReLU can be smaller inside, at 0."""
    (a, b), (c, d) = enclose(operator, lower), enclose(operator, upper)
    least = np.minimum(a, c)
    if isinstance(operator, ops.LeakyRelu):
        least = np.where((lower < 0) & (upper > 0), np.minimum(least, 0), least)
    return least, np.maximum(b, d)


def unstable(operator: ops.Activation | ops.MaxPool, lower: Array, upper: Array) -> NDArray[np.bool_]:
    """Entries whose lines would profit from tighter bounds."""
    match operator:
        case ops.Relu() | ops.LeakyRelu():
            return np.asarray((lower < 0) & (upper > 0))
        case ops.Clip(low, high):
            return np.asarray(((lower < low) & (upper > low)) | ((lower < high) & (upper > high)))
        case _:
            return np.asarray(upper > lower)


def lines(operator: ops.Activation, lower: Array, upper: Array) -> Lines:
    """Lines of an activation on [lower, upper], each [b, size]."""
    match operator:
        case ops.Relu():
            low, high = np.minimum(lower, 0), np.maximum(upper, 0)
            chord = _ratio(high, high - low)
            shift = np.maximum(up(-chord * low), up(up(1 - chord) * high))
            return Lines((chord > HALF).astype(np.float64), np.zeros_like(low), chord, shift)
        case ops.LeakyRelu(slope):
            low, high = np.minimum(lower, 0), np.maximum(upper, 0)
            share = _ratio(high, high - low)
            chord, touching = slope + (1 - slope) * share, np.where(share > HALF, 1.0, slope)
            slopes = np.where(slope <= 1, touching, chord), np.where(slope <= 1, chord, touching)
            return _piecewise(operator, (0.0,), lower, upper, *slopes)
        case ops.Clip(low, high):
            return _piecewise(operator, (low, high), lower, upper, *_clip_slopes(low, high, lower, upper))
        case ops.Sigmoid() | ops.Tanh():
            return _smooth(operator, lower, upper)


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole within [0, 1]; 0 for 0 / 0."""
    return np.clip(part / np.maximum(whole, np.finfo(np.float64).tiny), 0, 1)


def _clip_slopes(low: float, high: float, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Chords where a kink makes them necessary, else the better of the slopes 0 and 1."""
    top, bottom = np.minimum(upper, high), np.maximum(lower, low)
    rise = np.maximum(top - bottom, 0)
    below, above, flat = lower < low, upper > high, (upper <= low) | (lower >= high)
    touch_low = np.where(below & (top - low <= low - lower), 0.0, 1.0)
    touch_high = np.where(above & (high - bottom <= upper - high), 0.0, 1.0)
    lower_slope = np.where(above, _ratio(rise, upper - bottom), touch_low)
    upper_slope = np.where(below, _ratio(rise, top - lower), touch_high)
    return np.where(flat, 0.0, lower_slope), np.where(flat, 0.0, upper_slope)


def _gap(operator: ops.Activation, x: Array, slope: Array) -> tuple[Array, Array]:
    """Bounds of phi(x) - slope x."""
    low, high = enclose(operator, x)
    line = slope * x
    slack = 4 * UNIT * (np.maximum(np.abs(low), np.abs(high)) + np.abs(line)) + TINY
    return low - line - slack, high - line + slack


def _piecewise(
    operator: ops.Activation, kinks: tuple[float, ...], lower: Array, upper: Array, least: Array, most: Array
) -> Lines:
    points = [lower, upper, *(np.clip(kink, lower, upper) for kink in kinks)]
    floor = np.min([_gap(operator, x, least)[0] for x in points], axis=0)
    return Lines(least, floor, most, np.max([_gap(operator, x, most)[1] for x in points], axis=0))


def _smooth(operator: ops.Sigmoid | ops.Tanh, lower: Array, upper: Array) -> Lines:
    middle = np.clip(lower / 2 + upper / 2, lower, upper)
    values = [np.mean(enclose(operator, x), axis=0) for x in (lower, upper, middle)]
    at_lower, at_upper, tangent = (
        v * (1 - v) if isinstance(operator, ops.Sigmoid) else 1 - v * v for v in values
    )
    least = np.maximum(np.minimum(at_lower, at_upper) - SLOPE_ERROR, 0)
    width = upper - lower
    wide = width >= 1e-6
    chord = np.maximum((values[1] - values[0]) / np.where(wide, width, 1.0), 0)
    concave, convex = wide & (lower >= 0), wide & (upper <= 0)
    slack = up(SLOPE_ERROR * up(width))

    def floor(slope: Array, x: Array) -> Array:
        return _gap(operator, x, slope)[0]

    def ceiling(slope: Array, x: Array) -> Array:
        return _gap(operator, x, slope)[1]

    chord_floor = np.minimum(floor(chord, lower), floor(chord, upper))
    chord_ceiling = np.maximum(ceiling(chord, lower), ceiling(chord, upper))
    cases = [concave, convex]
    return Lines(
        np.select(cases, [chord, tangent], least),
        np.select(cases, [chord_floor, down(floor(tangent, middle) - slack)], floor(least, lower)),
        np.select(cases, [tangent, chord], least),
        np.select(cases, [up(ceiling(tangent, middle) + slack), chord_ceiling], ceiling(least, upper)),
    )
