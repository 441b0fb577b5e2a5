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

from repairsolver.certificate.arithmetic import TINY, UNIT, above, ball, down, gamma, times, up
from repairsolver.certificate.boxes import Boxes, Interval, minimum
from repairsolver.certificate.executions import LARGEST32
from repairsolver.certificate.layers import Affine, Bend, Layer, Matrix
from repairsolver.certificate.pooling import pooled, pooled_interval
from repairsolver.certificate.relaxation import Lines, interval, lines, unstable
from repairsolver.certificate.statement import InvalidError
from repairsolver.network import operators as ops
from repairsolver.results import Array

# Bytes that one block of rows may hold.
MEMORY = 2.0**27


def root_bounds(layers: list[Layer], lower: Array, upper: Array) -> dict[int, Interval]:
    """Interval bounds of every pre-activation over boxes [b, n], by position."""
    boxes = Boxes(lower, upper, {}, np.zeros_like(lower), np.zeros((len(lower), 1)))
    reach = reach_of(layers, boxes, len(layers))
    if any(layer.absolute for layer in layers) and not all((r <= LARGEST32).all() for r in reach):
        raise InvalidError(
            "A float32 execution might overflow: not all numbers are known to stay below 2^40. Only 'real' "
            "arithmetic can be checked."
        )
    return boxes.known


def tighten(layers: list[Layer], boxes: Boxes, thin: NDArray[np.bool_]) -> None:
    """Bound the unstable neurons again, front to back, by backward bounds from both sides.

    Args:
        thin: boxes that may well be empty, [b]: there also stable neurons which the middle contradicts are
            bounded. Which ones are is a choice: any would do.
    """
    middle = boxes.lower[thin] / 2 + boxes.upper[thin] / 2
    point = Boxes(middle, middle, {}, np.zeros_like(middle), np.zeros((len(middle), 1)))
    reach_of(layers, point, len(layers))
    for layer in (layer for layer in layers if isinstance(layer, Bend)):
        source = layer.inputs[0]
        widest = max(reach.shape[1] for reach in reach_of(layers, boxes, source))
        lower, upper = (side.copy() for side in boxes.known[source])
        # Elsewhere an interval is hardly tighter, and a proof may hang on the bounds it was found with.
        if layer.copied:
            lower, upper = _narrowed(boxes, (lower, upper), boxes.hull[source])
        loose = unstable(layer.operator, lower, upper)
        old_lower, old_upper = (side[thin] for side in boxes.known[source])
        loose[thin] |= (point.hull[source][1] < old_lower) | (point.hull[source][0] > old_upper)
        count = int(loose.sum(axis=1).max(initial=0))
        # Every loose entry of a box comes first, the rest fills the rows of boxes that have fewer.
        order = np.argsort(~loose, axis=1, kind="stable")[:, :count]
        step = max(1, int(MEMORY / (64 * len(lower) * widest)))
        for index in (order[:, start : start + step] for start in range(0, count, step)):
            old = np.take_along_axis(lower, index, 1), np.take_along_axis(upper, index, 1)
            low, high = _narrowed(boxes, old, _two_sided(layers, boxes, source, index))
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
    layer = layers[source - 1] if source else None
    if isinstance(layer, Affine) and len(layer.inputs) == 1 and isinstance(layer.matrices[0], np.ndarray):
        start, rows, offset = layer.inputs[0], layer.matrices[0][index], layer.constant[index]
        slip = np.take_along_axis(boxes.slip[source], index, 1)
    else:
        start, offset, slip = source, np.zeros(index.shape), np.zeros(index.shape)
        rows = np.zeros((*index.shape, boxes.known[source][0].shape[1]))
        np.put_along_axis(rows, index[:, :, None], 1.0, 2)
    rows = np.concatenate([rows, -rows], axis=1)
    slope, shift = pull(layers, boxes, {start: rows}, np.zeros((len(index), 1)))
    low, high = np.split(minimum(boxes, slope, shift), 2, axis=1)
    return down(down(low + offset) - slip), up(up(offset - high) + slip)


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
            gain = gain - times(np.abs(here, out=here), boxes.slip[position])
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
    """Each entry takes the line that keeps the bound: the lower one where it is positive, else the upper."""
    if position not in boxes.relaxed:
        boxes.relaxed[position] = _relaxed(layer, boxes, position)
    line, entry = boxes.relaxed[position]
    negative = np.minimum(here, 0)
    np.maximum(here, 0, out=here)
    gain = down(times(negative, line.upper_shift) + times(here, line.lower_shift))
    here *= line.lower_slope[:, None]
    negative *= line.upper_slope[:, None]
    here += negative
    if entry is None:
        return [here], gain
    pulled = np.zeros((*here.shape[:2], boxes.reach[layer.inputs[0]].shape[1]))
    batch, row = np.ogrid[: here.shape[0], : here.shape[1]]
    np.add.at(pulled, (batch[:, :, None], row[:, :, None], entry[:, None]), here)
    return [pulled], gain


def _relaxed(layer: Bend, boxes: Boxes, position: int) -> tuple[Lines, NDArray[np.int64] | None]:
    """The lines of a layer, and for a max-pool the entries that they are lines of.

    Shifts are moved apart by the layer's own rounding and by that of slopes and shifts times rows. Several
    windows of a max-pool may choose one entry: then their slopes are summed.
    """
    (lower, upper), reach = boxes.known[layer.inputs[0]], boxes.reach[layer.inputs[0]]
    entry, terms, turns = None, reach.shape[1], 4 * UNIT
    if isinstance(layer.operator, ops.MaxPool):
        line, entry = pooled(layer.operator, lower, upper)
        reach, terms = np.take_along_axis(reach, entry, 1), max(terms, entry.shape[1])
        turns = gamma(2 * entry.shape[1])
    else:
        line = lines(layer.operator, lower, upper)
    below, over = (
        above(boxes.slip[position] + turns * np.abs(slope) * reach + 2 * gamma(terms) * np.abs(shift))
        for slope, shift in ((line.lower_slope, line.lower_shift), (line.upper_slope, line.upper_shift))
    )
    moved = down(line.lower_shift - below), up(line.upper_shift + over)
    return Lines(line.lower_slope, moved[0], line.upper_slope, moved[1]), entry


def reach_of(layers: list[Layer], boxes: Boxes, last: int) -> list[Array]:
    """Magnitudes of the tensors up to position `last`; extends what is there, by interval arithmetic."""
    if not boxes.reach:
        boxes.hull.append((boxes.lower, boxes.upper))
        boxes.reach.append(np.maximum(np.abs(boxes.lower), np.abs(boxes.upper)))
        boxes.slip.append(np.zeros_like(boxes.lower))
    for position in range(len(boxes.reach), last + 1):
        layer = layers[position - 1]
        if isinstance(layer, Affine):
            hull, size, slip = _affine_hull(layer, [boxes.hull[k] for k in layer.inputs])
        else:
            # What is not known about a pre-activation is its interval.
            lower, upper = boxes.known.setdefault(layer.inputs[0], boxes.hull[layer.inputs[0]])
            if isinstance(layer.operator, ops.MaxPool):
                hull = pooled_interval(layer.operator, lower, upper)
            else:
                hull = interval(layer.operator, lower, upper)
            size = above(np.maximum(np.abs(hull[0]), np.abs(hull[1])))
            slip = np.zeros_like(size)
        if layer.absolute:
            error = above(layer.relative * size + layer.absolute)
            hull = down(hull[0] - error), up(hull[1] + error)
            size, slip = above(size + error), above(slip + error)
        boxes.hull.append(hull)
        boxes.reach.append(size)
        boxes.slip.append(slip)
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
