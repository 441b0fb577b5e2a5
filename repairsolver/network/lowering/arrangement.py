"""Operators that only move entries: numpy moves the positions, the result is one `Select`."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod

import numpy as np

from repairsolver.network.lowering.builder import Call, RefusedError, Tensor, Value, axis_of, positions


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
    x = call.tensor(0)
    axes = call.integers("axes", 1)
    chosen = {axis_of(a, len(x.shape)) for a in axes} if axes is not None else set(ones(x.shape))
    return reshaped(x, tuple(d for i, d in enumerate(x.shape) if i not in chosen))


def ones(shape: tuple[int, ...]) -> list[int]:
    return [i for i, d in enumerate(shape) if d == 1]


def unsqueeze(call: Call) -> list[Value]:
    x = call.tensor(0)
    axes = call.integers("axes", 1) or ()
    rank = len(x.shape) + len(axes)
    places = {axis_of(a, rank) for a in axes}
    rest = iter(x.shape)
    return reshaped(x, tuple(1 if i in places else next(rest) for i in range(rank)))


OPERATORS = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
}
