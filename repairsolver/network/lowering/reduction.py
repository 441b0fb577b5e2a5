"""Sums and means over axes, as a Dense layer of equal weights; the largest and the smallest, over windows."""

from __future__ import annotations

from math import prod

import numpy as np

from repairsolver.network.lowering.arithmetic import extreme_of
from repairsolver.network.lowering.builder import Call, Tensor, Value, axis_of, positions
from repairsolver.network.operators import Dense, Indices


def reduce_sum(call: Call) -> list[Value]:
    return reduce(call, mean=False)


def reduce_mean(call: Call) -> list[Value]:
    return reduce(call, mean=True)


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
    "ReduceMax": reduce_max,
    "ReduceMin": reduce_min,
    "GlobalAveragePool": global_average_pool,
}
