"""Operators that only move entries: numpy moves the positions, the result is one `Select`."""

from __future__ import annotations

from itertools import accumulate
from math import isfinite, prod

import numpy as np

from repairsolver.network.lowering.builder import (
    Call,
    Constant,
    RefusedError,
    Tensor,
    Value,
    affordable,
    axis_of,
    positions,
)
from repairsolver.network.operators import Concat

ENDLESS = 2**63 - 1


def reshaped(x: Tensor, shape: tuple[int, ...]) -> list[Value]:
    if prod(shape) != x.size:
        raise RefusedError(f"it reshapes {list(x.shape)} to {list(shape)}, which has another size")
    return [Tensor(x.node, shape)]


def flatten(call: Call) -> list[Value]:
    x = call.tensor(0)
    axis = call.integer("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        raise RefusedError(f"axis {axis} is outside a tensor of rank {len(x.shape)}")
    axis = axis + len(x.shape) if axis < 0 else axis
    return reshaped(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def reshape(call: Call) -> list[Value]:
    """0 copies the axis (unless allowzero), -1 takes what is left."""
    x = call.tensor(0)
    wanted = call.integers("shape", 1) or ()
    if not call.integer("allowzero", 0):
        wanted = tuple(x.shape[i] if d == 0 and i < len(x.shape) else d for i, d in enumerate(wanted))
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise RefusedError(f"its target shape {list(wanted)} is not a shape")
    known = prod(d for d in wanted if d != -1)
    return reshaped(x, tuple(x.size // max(known, 1) if d == -1 else d for d in wanted))


def squeeze(call: Call) -> list[Value]:
    """Without the axes that are named; without all of length 1 if none is, or the list of them is empty."""
    x = call.tensor(0)
    axes = call.integers("axes", 1)
    chosen = {axis_of(a, len(x.shape)) for a in axes} if axes else set(ones(x.shape))
    return reshaped(x, tuple(d for i, d in enumerate(x.shape) if i not in chosen))


def ones(shape: tuple[int, ...]) -> list[int]:
    return [i for i, d in enumerate(shape) if d == 1]


def unsqueeze(call: Call) -> list[Value]:
    x = call.tensor(0)
    axes = call.integers("axes", 1) or ()
    rank = len(x.shape) + len(axes)
    places = {axis_of(a, rank) for a in axes}
    if len(places) < len(axes):
        raise RefusedError(f"its axes {list(axes)} name one of {rank} axes twice")
    rest = iter(x.shape)
    return reshaped(x, tuple(1 if i in places else next(rest) for i in range(rank)))


def shape_of(call: Call) -> list[Value]:
    """The shape as a constant; symbolic axes are 1."""
    shape = call.tensor(0).shape
    part = slice(call.integer("start", 0), call.integer("end", len(shape)))
    return [Constant(np.array(shape[part], np.int64))]


def transpose(call: Call) -> list[Value]:
    x = call.tensor(0)
    order = call.integers("perm") or tuple(reversed(range(len(x.shape))))
    return [call.select(x, np.transpose(positions(x), order))]


def concat(call: Call) -> list[Value]:
    """Tensors and constants along one axis: all tensors flat, then one selection."""
    tensors = [v for v in call.inputs if isinstance(v, Tensor)]
    offsets = iter([0, *accumulate(x.size for x in tensors)])
    axis = call.integer("axis", 0)
    indices, fills = [], []
    for value in call.inputs:
        if isinstance(value, Tensor):
            indices.append(positions(value) + next(offsets))
            fills.append(np.zeros(value.shape))
        elif isinstance(value, Constant):
            indices.append(np.full(value.shape, -1, np.int64))
            fills.append(value.floats)
    index, fill = np.concatenate(indices, axis), np.concatenate(fills, axis)
    if len(tensors) == 1:
        return [call.select(tensors[0], index, fill)]
    flat = np.array_equal(index.reshape(-1), np.arange(index.size))
    size = sum(x.size for x in tensors)
    joined = call.emit(Concat(), tensors, index.shape if flat else (size,), "" if flat else "/joined")
    return [call.select(joined, index, fill)]


def split(call: Call) -> list[Value]:
    """Equal parts (the last one smaller), or parts of given lengths."""
    x = call.tensor(0)
    axis = axis_of(call.integer("axis", 0), len(x.shape))
    count = call.integer("num_outputs", len(call.node.output))
    part = -(-x.shape[axis] // count)
    lengths = call.integers("split", 1)
    if lengths is None:
        ends = [min(part * (i + 1), x.shape[axis]) for i in range(count)]
    else:
        ends = list(accumulate(lengths))
    if ends[-1] != x.shape[axis] or len(ends) != len(call.node.output):
        raise RefusedError(f"its parts do not make up axis {axis} of shape {list(x.shape)}")
    starts = [0, *ends[:-1]]
    pieces = [np.take(positions(x), range(a, b), axis) for a, b in zip(starts, ends, strict=True)]
    names = call.node.output
    return [
        call.builder.select(name, x, piece, None, call.layer)
        for name, piece in zip(names, pieces, strict=True)
    ]


def cut(call: Call) -> list[Value]:
    """Slices with starts, ends, axes and steps; ends beyond the tensor mean its ends."""
    x = call.tensor(0)
    starts, ends = call.integers("starts", 1) or (), call.integers("ends", 2) or ()
    axes = call.integers("axes", 3)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = call.integers("steps", 4) or (1,) * len(starts)
    index = positions(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(x.shape))
        index = np.take(index, stretch(start, end, step, x.shape[place]), place)
    return [call.select(x, index)]


def stretch(start: int, end: int, step: int, length: int) -> range:
    """The positions that one ONNX slice takes of an axis."""
    if step == 0:
        raise RefusedError("its step is 0")
    if step < 0 and end == ENDLESS:  # onnxruntime reads it as "to the other end" in both directions
        end = -length - 1
    low, high = (0, length) if step > 0 else (-1, length - 1)
    first = start + length if start < 0 else start
    last = end + length if end < 0 else end
    return range(min(max(first, max(low, 0)), high), min(max(last, low), high), step)


def pad(call: Call) -> list[Value]:
    """A constant or copies of entries around a tensor; negative lengths crop (constant mode)."""
    x = call.tensor(0)
    pads, mode = call.integers("pads", 1) or (), call.text("mode", "constant")
    axes = call.integers("axes", 3)
    axes = tuple(range(len(x.shape))) if axes is None else tuple(axis_of(a, len(x.shape)) for a in axes)
    if len(pads) != 2 * len(axes) or (min(pads, default=0) < 0 and mode != "constant"):
        raise RefusedError(f"its pads {list(pads)} do not fit {len(axes)} axes in mode {mode!r}")
    widths = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    index, grown = positions(x), [(0, 0)] * len(x.shape)
    for axis, (before, after) in widths.items():
        index = np.take(index, range(max(0, -before), x.shape[axis] - max(0, -after)), axis)
        grown[axis] = (max(0, before), max(0, after))
    affordable(tuple(d + a + b for d, (a, b) in zip(index.shape, grown, strict=True)))
    match mode:
        case "constant":
            fill = padding(call)
            padded = np.pad(index, grown, constant_values=-1)
            return [call.select(x, padded, np.full(padded.shape, fill))]
        case "edge" | "reflect" | "wrap":
            return [call.select(x, np.pad(index, grown, mode=mode))]
        case _:
            raise RefusedError(f"its mode {mode!r} is not constant, edge, reflect or wrap")


def padding(call: Call) -> float:
    """The constant that pads: an attribute up to opset 10, an input from 11."""
    if call.opset < 11:
        value = call.number("value", 0.0)
    else:
        value = float(call.constant(2).floats.reshape(())) if call.has(2) else 0.0
    if not isfinite(value):
        raise RefusedError(f"it pads with {value}")
    return value


OPERATORS = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Shape": shape_of,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": cut,
    "Pad": pad,
}
