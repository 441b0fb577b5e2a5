"""Sums and means over axes, as a Dense layer with equal weights."""

from __future__ import annotations

from math import prod

import numpy as np

from repairsolver.network.lowering.builder import Call, Tensor, Value, axis_of, positions
from repairsolver.network.operators import Dense


def reduce_sum(call: Call) -> list[Value]:
    return reduce(call, mean=False)


def reduce_mean(call: Call) -> list[Value]:
    return reduce(call, mean=True)


def reduce(call: Call, *, mean: bool) -> list[Value]:
    """Over constant axes: an attribute in older opsets, an input in newer ones; all if there are none."""
    x = call.tensor(0)
    axes = call.integers("axes", 1)
    if not axes and call.integer("noop_with_empty_axes", 0):
        return [x]
    rank = len(x.shape)
    chosen = {axis_of(a, rank) for a in axes} if axes else set(range(rank))
    return [over(call, x, chosen, mean=mean, keep=bool(call.integer("keepdims", 1)))]


def global_average_pool(call: Call) -> list[Value]:
    x = call.tensor(0)
    return [over(call, x, set(range(2, len(x.shape))), mean=True, keep=True)]


def over(call: Call, x: Tensor, axes: set[int], *, mean: bool, keep: bool) -> Tensor:
    """The axes moved behind the others, then one row of equal weights."""
    rest = [i for i in range(len(x.shape)) if i not in axes]
    size = prod(x.shape[i] for i in axes)
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i not in axes)
    if size == 1:
        return Tensor(x.node, shape)
    moved = call.select(x, np.transpose(positions(x), [*rest, *sorted(axes)]), suffix="/moved")
    weight = np.full((1, size), 1.0 / size if mean else 1.0)
    return call.emit(Dense(weight, np.zeros(1)), [moved], shape)


OPERATORS = {"ReduceSum": reduce_sum, "ReduceMean": reduce_mean, "GlobalAveragePool": global_average_pool}
