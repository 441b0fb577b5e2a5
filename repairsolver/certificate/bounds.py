r"""Rigorous linear bounds of a network over batches of boxes, at their relevant points (see `boxes`).

Forward, every layer is bounded by its interval, and neurons in front of an activation also by linear bounds
that go backwards to the input, a step at a time (see `steps`).
"""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate import strategy
from repairsolver.certificate.arithmetic import UNIT, Interval, above, apart, down, frozen, reach, times
from repairsolver.certificate.boxes import Boxes, minimum
from repairsolver.certificate.executions import require_small
from repairsolver.certificate.layers import Layer, Matrix
from repairsolver.certificate.statement import InvalidError
from repairsolver.certificate.steps import Step, stepped
from repairsolver.results import Array


def intervals(layers: list[Layer], lower: Array, upper: Array) -> list[Interval]:
    """Interval bounds of every tensor over boxes [b, n], by position.

    Raises:
        InvalidError: float32 arithmetic is asked about, and its numbers might overflow.
    """
    bounds = [(lower, upper)]
    for layer in layers:
        bounds.append(stepped(layer, [bounds[k] for k in layer.inputs]).hull)
        require_small(layer, [bounds[k] for k in (*layer.inputs, -1)])
    return bounds


def bounded(layers: list[Layer], boxes: Boxes, hints: strategy.Hints, until: float = math.inf) -> list[Step]:
    """Narrow the bounds of every tensor, front to back; returns the steps within them.

    Raises:
        InvalidError: it is later than `until`.
    """
    steps: list[Step] = []
    for position, layer in enumerate(layers, start=1):
        if layer.operator is not None:
            source = layer.inputs[0]
            sizes = [side.shape[1] for side, _ in boxes.bounds[: source + 1]]
            lower, upper = frozen(*boxes.bounds[source])
            for index in strategy.entries(layer.operator, lower, upper, hints, sizes):
                if time.monotonic() > until:
                    raise InvalidError("The time was up within a box.")
                boxes.narrow(source, _two_sided(steps, boxes, source, index))
        steps.append(stepped(layer, [boxes.bounds[k] for k in layer.inputs]))
        if position not in hints.inherited:
            boxes.narrow(position, steps[-1].hull)
    return steps


def _two_sided(steps: list[Step], boxes: Boxes, source: int, index: NDArray[np.int64]) -> Interval:
    """Bounds of the entries index [b, c] of a tensor, NaN for others; rows of one matrix start below it."""
    start, shift, below = source, np.zeros((len(index), 2 * index.shape[1])), steps[source - 1 : source]
    shape = boxes.bounds[source][0].shape
    if below and len(below[0].layer.matrices) == 1:
        start, rows = below[0].layer.inputs[0], _rows(below[0].layer.matrices[0], index)
        low, high = apart((below[0].middle, below[0].middle), below[0].spread)
        shift = np.concatenate([np.take_along_axis(end, index, 1) for end in (low, -high)], axis=1)
    else:
        rows = np.zeros((*index.shape, shape[1]))
        np.put_along_axis(rows, index[:, :, None], 1.0, 2)
    both = {start: np.concatenate([rows, -rows], axis=1)}
    low, high = np.split(minimum(boxes, *pull(steps, boxes, both, shift)), 2, axis=1)
    lower, upper = np.full(shape, np.nan), np.full(shape, np.nan)
    np.put_along_axis(lower, index, low, 1)
    np.put_along_axis(upper, index, -high, 1)
    return lower, upper


def _rows(matrix: Matrix, index: NDArray[np.int64]) -> Array:
    """Rows index [b, c] of a matrix, dense."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(matrix[index])
    return np.asarray(matrix[index.ravel()].toarray()).reshape(*index.shape, -1)


def pull(steps: list[Step], boxes: Boxes, rows: dict[int, Array], shift: Array) -> tuple[Array, Array]:
    """A [b, s, n] and c [b, s] with A x + c at most the rows' sum plus `shift` at relevant points.

    Args:
        rows: R [b, s, size] by position of the tensor that they apply to; used up.
    """
    for position in range(max(rows), 0, -1):
        if (here := rows.pop(position, None)) is None:
            continue
        step, size = steps[position - 1], np.abs(here)
        gain = times(here, step.middle) - times(size, step.spread)
        shift = down(shift + down(gain - step.tiny))
        for source, part in zip(step.layer.inputs, step.back(here, size), strict=True):
            if source in rows:
                part += rows[source]
                shift = down(shift - times(np.abs(part), above(4 * UNIT * reach(boxes.bounds[source]))))
            rows[source] = part
    return rows[0], shift
