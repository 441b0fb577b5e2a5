r"""Rigorous linear bounds of a network over batches of boxes.

All bounds hold at the relevant points of a box (see `boxes`).

A backward step replaces rows R over a tensor y by rows P over the tensor x that y is made of:

- y = M x + c: P = fl(R M) errs by at most $\gamma |R| |M|$, at x by at most $\gamma |R| |M| |x|$; all
  of this and the error of fl(R c) is at most |R| s, with s = gamma (|M| |x| + |c|) computed once a box.
- y = phi(x): each entry of P is the slope of one line times an entry of R, one rounding; shifts are
  moved apart by its effect, 2 u |slope| |x|, and by gamma times themselves, which covers their products with
  max(R, 0) and min(R, 0).

In float32 arithmetic "the network" is any execution of it: each layer's result is moved by its own rounding
(see `layers`), hulls are widened by that, and a backward step takes off |R| times it, too.

Source: Zhang et al. 2018 (CROWN), theorem 3.2, with the rounding of `arithmetic`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate.arithmetic import LARGEST32, TINY, UNIT, above, ball, down, gamma, times, up
from repairsolver.certificate.boxes import Boxes, Interval, minimum
from repairsolver.certificate.layers import Affine, Bend, Layer, Matrix
from repairsolver.certificate.relaxation import Lines, interval, lines, unstable
from repairsolver.certificate.statement import InvalidError
from repairsolver.network import operators as ops
from repairsolver.results import Array

# Bytes that one block of rows may hold.
MEMORY = 2.0**27


def root_bounds(layers: list[Layer], lower: Array, upper: Array) -> dict[int, Interval]:
    """Interval bounds of every pre-activation over boxes [b, n], by position."""
    boxes = Boxes(lower, upper, {}, np.zeros_like(lower), np.zeros((len(lower), 1)))
    for layer in layers:
        if isinstance(layer, Bend):
            reach_of(layers, boxes, layer.inputs[0])
            boxes.known[layer.inputs[0]] = boxes.hull[layer.inputs[0]]
    reach = reach_of(layers, boxes, len(layers))
    if any(layer.absolute for layer in layers) and not all((r <= LARGEST32).all() for r in reach):
        raise InvalidError(
            "A float32 execution might overflow: not all numbers are known to stay below 2^40. Only 'real' "
            "arithmetic can be checked."
        )
    return boxes.known


def _bent(layer: Bend, lower: Array, upper: Array) -> Interval:
    if isinstance(layer.operator, ops.MaxPool):
        low, high = (_gather(x, layer.operator.windows, -np.inf).max(axis=2) for x in (lower, upper))
        return low, high
    return interval(layer.operator, lower, upper)


def _gather(x: Array, windows: NDArray[np.int64], pad: float) -> Array:
    padded = np.concatenate([x, np.full((len(x), 1), pad)], axis=1)
    return np.asarray(padded[:, windows])


def tighten(layers: list[Layer], boxes: Boxes, every: NDArray[np.bool_]) -> None:
    """Bound the unstable neurons again, front to back, by backward bounds from both sides.

    Args:
        every: boxes whose stable neurons are bounded as well, [b].
    """
    for layer in layers:
        if isinstance(layer, Affine):
            continue
        source = layer.inputs[0]
        widest = max(reach.shape[1] for reach in reach_of(layers, boxes, source))
        lower, upper = boxes.known[source]
        # Elsewhere an interval is hardly tighter, and a proof may hang on the bounds it was found with.
        if layer.copied:
            lower, upper = _narrowed(boxes, (lower, upper), boxes.hull[source])
        loose = unstable(layer.operator, lower, upper) | every[:, None]
        count = int(loose.sum(axis=1).max(initial=0))
        # Every loose entry of a box comes first, the rest fills the rows of boxes that have fewer.
        order = np.argsort(~loose, axis=1, kind="stable")[:, :count]
        step = max(1, int(MEMORY / (64 * len(lower) * widest)))
        for start in range(0, count, step):
            index = order[:, start : start + step]
            old = np.take_along_axis(lower, index, 1), np.take_along_axis(upper, index, 1)
            low, high = _narrowed(boxes, old, _two_sided(layers, boxes, source, index))
            lower, upper = lower.copy(), upper.copy()
            np.put_along_axis(lower, index, low, 1)
            np.put_along_axis(upper, index, high, 1)
        # What overflowed must spoil everything behind it.
        sound = np.isfinite(lower) & np.isfinite(upper)
        boxes.known[source] = np.where(sound, lower, np.nan), np.where(sound, upper, np.nan)


def _narrowed(boxes: Boxes, old: Interval, new: Interval) -> Interval:
    """What both say; where they contradict each other no point is relevant, and any interval is right."""
    lower, upper = np.fmax(old[0], new[0]), np.fmin(old[1], new[1])
    boxes.empty = boxes.empty | (lower > upper).any(axis=1)
    return lower, np.maximum(upper, lower)


def _two_sided(layers: list[Layer], boxes: Boxes, source: int, index: NDArray[np.int64]) -> Interval:
    """Bounds of the entries index [b, c] of a tensor; a dense layer's rows start below it."""
    batch, count = index.shape
    layer = layers[source - 1] if source else None
    if isinstance(layer, Affine) and len(layer.inputs) == 1 and isinstance(layer.matrices[0], np.ndarray):
        start, rows, offset = layer.inputs[0], layer.matrices[0][index], layer.constant[index]
    else:
        start, offset = source, np.zeros((batch, count))
        rows = np.zeros((batch, count, boxes.known[source][0].shape[1]))
        np.put_along_axis(rows, index[:, :, None], 1.0, 2)
    slope, shift = pull(layers, boxes, {start: np.concatenate([rows, -rows], axis=1)}, np.zeros((batch, 1)))
    least = minimum(boxes, slope, shift)
    lower, upper = down(least[:, :count] + offset), up(offset - least[:, count:])
    if start == source:
        return lower, upper
    slip = np.take_along_axis(boxes.slip[source], index, 1)
    return down(lower - slip), up(upper + slip)


def pull(layers: list[Layer], boxes: Boxes, rows: dict[int, Array], shift: Array) -> tuple[Array, Array]:
    """A [b, s, n] and c [b, s] with A x + c at most the rows' sum plus `shift` at relevant points.

    Args:
        rows: R [b, s, size] by position of the tensor that they apply to; used up.
    """
    reach = reach_of(layers, boxes, max(rows))
    for position in range(max(rows), 0, -1):
        here = rows.pop(position, None)
        if here is None:
            continue
        layer = layers[position - 1]
        if isinstance(layer, Affine):
            parts = [_product(here, matrix) for matrix in layer.matrices]
            gain = here @ layer.constant
            np.abs(here, out=here)
            gain = gain - times(here, boxes.slip[position])
        else:
            parts, gain = _through_bend(layer, boxes, position, here)
        # Two roundings, and the underflows of all entries.
        floor = TINY * (1 + sum(reach[k].sum(axis=1, keepdims=True) for k in (*layer.inputs, position)))
        shift = down(shift + down(down(gain) - floor))
        for source, part in zip(layer.inputs, parts, strict=True):
            if source in rows:
                part += rows[source]
                shift = down(shift - times(np.abs(part), above(4 * UNIT * reach[source])))
            rows[source] = part
    slope = rows.get(0)
    return np.zeros((*shift.shape, boxes.lower.shape[1])) if slope is None else slope, shift


def _product(rows: Array, matrix: Matrix) -> Array:
    """Rows [b, s, k] times a matrix; small products, one a box, keep BLAS from threads that only wait."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(rows @ matrix)
    return np.asarray(rows.reshape(-1, rows.shape[2]) @ matrix).reshape(*rows.shape[:2], -1)


def _through_bend(layer: Bend, boxes: Boxes, position: int, here: Array) -> tuple[list[Array], Array]:
    lower, upper = boxes.known[layer.inputs[0]]
    if isinstance(layer.operator, ops.MaxPool):
        lost = times(np.abs(here), above(2 * boxes.slip[position]))
        parts, gain = _through_pool(layer.operator.windows, lower, upper, here)
        return parts, down(gain - lost)
    if position not in boxes.relaxed:
        line = lines(layer.operator, lower, upper)
        boxes.relaxed[position] = _widened(line, boxes.slip[position], boxes.reach[layer.inputs[0]])
    line = boxes.relaxed[position]
    negative = np.minimum(here, 0)
    np.maximum(here, 0, out=here)
    gain = down(times(negative, line.upper_shift) + times(here, line.lower_shift))
    here *= line.lower_slope[:, None]
    negative *= line.upper_slope[:, None]
    here += negative
    return [here], gain


def _widened(line: Lines, slip: Array, reach: Array) -> Lines:
    """Shifts moved apart by the layer's own rounding and by that of slopes and shifts times rows."""
    share = 2 * gamma(reach.shape[1])

    def lost(slope: Array, shift: Array) -> Array:
        return above(slip + 4 * UNIT * np.abs(slope) * reach + share * np.abs(shift))

    lower = down(line.lower_shift - lost(line.lower_slope, line.lower_shift))
    upper = up(line.upper_shift + lost(line.upper_slope, line.upper_shift))
    return Lines(line.lower_slope, lower, line.upper_slope, upper)


def _through_pool(
    windows: NDArray[np.int64], lower: Array, upper: Array, here: Array
) -> tuple[list[Array], Array]:
    """max_j x_j >= x_k for every k; <= x_k if x_k is at least all others' upper bounds, else <= max u.

    Source: Singh et al. 2019 (DeepPoly), section 4.5.
    """
    low, high = _gather(lower, windows, -np.inf), _gather(upper, windows, -np.inf)
    choice = low.argmax(axis=2)
    best = np.take_along_axis(low, choice[:, :, None], 2)[:, :, 0]
    top = high.max(axis=2)
    np.put_along_axis(high, choice[:, :, None], -np.inf, 2)
    exact = high.max(axis=2) <= best
    moved = np.where(exact[:, None] | (here > 0), here, 0.0)
    entry = np.take_along_axis(np.broadcast_to(windows, low.shape), choice[:, :, None], 2)[:, :, 0]
    pulled = np.zeros((*here.shape[:2], lower.shape[1]))
    batch, row = np.ogrid[: here.shape[0], : here.shape[1]]
    np.add.at(pulled, (batch[:, :, None], row[:, :, None], entry[:, None]), moved)
    # Entries that several windows choose sum several numbers; the rest is the product with `top`.
    size = np.take_along_axis(np.maximum(np.abs(lower), np.abs(upper)), entry, 1) + np.abs(top)
    lost = times(np.abs(here), above(gamma(2 * windows.shape[0]) * size))
    return [pulled], down(times(here - moved, top) - lost)


def reach_of(layers: list[Layer], boxes: Boxes, last: int) -> list[Array]:
    """Magnitudes of the tensors up to position `last`; extends what is there, by interval arithmetic."""
    if not boxes.reach:
        boxes.hull.append((boxes.lower, boxes.upper))
        boxes.reach.append(np.maximum(np.abs(boxes.lower), np.abs(boxes.upper)))
        boxes.slip.append(np.zeros(0))
    for layer in layers[len(boxes.reach) - 1 : last]:
        if isinstance(layer, Affine):
            hull, size, slip = _affine_hull(layer, [boxes.hull[k] for k in layer.inputs])
        else:
            hull = _bent(layer, *boxes.known[layer.inputs[0]])
            size = above(np.maximum(np.abs(hull[0]), np.abs(hull[1])))
            slip = np.zeros_like(size)
        if layer.absolute:
            error = above(layer.relative * size + layer.absolute)
            hull = down(hull[0] - error), up(hull[1] + error)
            size, slip = above(size + error), above(slip + error)
        boxes.hull.append(hull)
        boxes.slip.append(slip)
        boxes.reach.append(size)
    return boxes.reach


def _affine_hull(layer: Affine, parts: list[Interval]) -> tuple[Interval, Array, Array]:
    """Bounds of an affine layer, its magnitude |M| |x| + |c|, and the rounding of a step through it."""
    centre, spread, size = layer.constant[None], np.zeros(1), np.zeros(1)
    for matrix, magnitude, (lower, upper) in zip(layer.matrices, layer.magnitudes, parts, strict=True):
        middle, radius = ball(lower, upper)
        centre = centre + middle @ matrix.T
        spread = spread + radius @ magnitude
        size = size + np.abs(middle) @ magnitude
    linear, constant = above(size + spread), np.abs(layer.constant)
    loss = up(spread + above(gamma(2 * layer.terms) * (linear + constant)))
    whole = above(linear + constant)
    slip = gamma(layer.terms) * linear + gamma(len(constant)) * constant
    return (down(centre - loss), up(centre + loss)), whole, above(slip)
