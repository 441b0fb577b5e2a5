"""Sums and means over axes, as a Dense layer of equal weights; the largest and the smallest, over windows."""

from __future__ import annotations

from math import prod

import numpy as np

from repairsolver.network.lowering.arithmetic import extreme_of
from repairsolver.network.lowering.builder import Call, Tensor, Value, axis_of, positions
from repairsolver.network.operators import Dense, Indices, LeakyRelu


def reduce_sum(call: Call) -> list[Value]:
    return reduce(call, mean=False)


def reduce_mean(call: Call) -> list[Value]:
    return reduce(call, mean=True)


def reduce_l1(call: Call) -> list[Value]:
    """The sum of |x|."""
    x = call.tensor(0)
    size = call.emit(LeakyRelu(np.full(x.size, -1.0)), [x], x.shape, "/absolute")
    keep = bool(call.integer("keepdims", 1))
    return [over(call, size, chosen_axes(call, x), mean=False, keep=keep)]


def cumulative(call: Call) -> list[Value]:
    """Sums of all entries up to each one along an axis: a triangular Dense layer."""
    x = call.tensor(0)
    axis = axis_of(int(call.constant(1).value.reshape(())), len(x.shape))
    count = x.shape[axis]
    weight = np.tril(np.ones((count, count)), -1 if call.integer("exclusive", 0) else 0)
    weight = weight.T if call.integer("reverse", 0) else weight
    moved = call.select(x, np.moveaxis(positions(x), axis, -1), suffix="/moved")
    summed = call.emit(Dense(weight, np.zeros(count)), [moved], moved.shape, "/sums")
    return [call.select(summed, np.moveaxis(positions(summed), -1, axis))]


def reduce(call: Call, *, mean: bool) -> list[Value]:
    x = call.tensor(0)
    keep = bool(call.integer("keepdims", 1))
    return [over(call, x, chosen_axes(call, x), mean=mean, keep=keep)]


def reduce_max(call: Call) -> list[Value]:
    return [extreme(call, 1.0)]


def reduce_min(call: Call) -> list[Value]:
    return [extreme(call, -1.0)]


def extreme(call: Call, sign: float) -> Tensor:
    """The largest (sign 1) or smallest (-1) entry over the axes: one window for each entry that stays."""
    x = call.tensor(0)
    axes, keep = chosen_axes(call, x), bool(call.integer("keepdims", 1))
    shape, size = shape_without(x, axes, keep=keep), prod(x.shape[i] for i in axes)
    if size == 1:
        return Tensor(x.node, shape)
    return extreme_of(call, x, last(x, axes).reshape(-1, size), shape, sign)


def chosen_axes(call: Call, x: Tensor) -> set[int]:
    """Constant axes: an attribute in older opsets, an input in newer ones; all if there are none."""
    axes, rank = call.integers("axes", 1), len(x.shape)
    if axes:
        return {axis_of(a, rank) for a in axes}
    return set() if call.integer("noop_with_empty_axes", 0) else set(range(rank))


def shape_without(x: Tensor, axes: set[int], *, keep: bool) -> tuple[int, ...]:
    return tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes)


def last(x: Tensor, axes: set[int]) -> Indices:
    """The positions with these axes behind the others."""
    rest = [i for i in range(len(x.shape)) if i not in axes]
    return np.transpose(positions(x), [*rest, *sorted(axes)])


def global_average_pool(call: Call) -> list[Value]:
    x = call.tensor(0)
    return [over(call, x, set(range(2, len(x.shape))), mean=True, keep=True)]


def over(call: Call, x: Tensor, axes: set[int], *, mean: bool, keep: bool) -> Tensor:
    """The axes moved behind the others, then one row of equal weights."""
    shape, size = shape_without(x, axes, keep=keep), prod(x.shape[i] for i in axes)
    if size == 1:
        return Tensor(x.node, shape)
    moved = call.select(x, last(x, axes), suffix="/moved")
    weight = np.full((1, size), 1.0 / size if mean else 1.0)
    return call.emit(Dense(weight, np.zeros(1)), [moved], shape)


OPERATORS = {
    "ReduceSum": reduce_sum,
    "ReduceMean": reduce_mean,
    "ReduceL1": reduce_l1,
    "CumSum": cumulative,
    "ReduceMax": reduce_max,
    "ReduceMin": reduce_min,
    "GlobalAveragePool": global_average_pool,
}
