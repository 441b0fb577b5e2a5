"""Pooling: the maximum over index sets; the mean as a depthwise convolution."""

from __future__ import annotations

from math import prod

import numpy as np

from repairsolver.network.lowering.arithmetic import scale
from repairsolver.network.lowering.builder import Call, RefusedError, Tensor, Value, affordable, positions
from repairsolver.network.lowering.window import Window, padding_of, same, window_of
from repairsolver.network.operators import Conv, MaxPool


def pooling_window(call: Call, x: Tensor) -> Window:
    kernel = call.integers("kernel_shape") or ()
    if not 3 <= len(x.shape) <= 5:
        raise RefusedError(f"its input {list(x.shape)} does not have one to three spatial axes")
    window = window_of(call, kernel, x.shape[2:])
    sizes = zip(x.shape[2:], window.kernel, window.strides, strict=True)
    if padding_of(call).startswith("SAME") and min(same(n, k, s) for n, k, s in sizes) < 0:
        raise RefusedError("its auto_pad would have to crop, as its strides leave entries out; use pads")
    return window


def max_pool(call: Call) -> list[Value]:
    """The largest entry of each window."""
    if call.wanted - {call.node.output[0]}:
        raise RefusedError("its second output, the positions of the maxima, is used")
    x = call.tensor(0)
    window = pooling_window(call, x)
    shape = (*x.shape[:2], *window.target)
    affordable((*shape, *window.kernel))
    affordable((*x.shape[:2], *window.padded(x.shape[2:])))
    padded = np.pad(positions(x), ((0, 0), (0, 0), *window.reach), constant_values=-1)
    windows = window.over(padded).reshape(-1, prod(window.kernel))
    if not (windows >= 0).any(axis=1).all():
        raise RefusedError("it has windows that lie in the padding alone")
    return [call.emit(MaxPool(windows), [x], shape)]


def global_max_pool(call: Call) -> list[Value]:
    x = call.tensor(0)
    windows = positions(x).reshape(prod(x.shape[:2]), -1)
    return [call.emit(MaxPool(windows), [x], (*x.shape[:2], *(1,) * (len(x.shape) - 2)))]


def average_pool(call: Call) -> list[Value]:
    """The mean of each window: a depthwise convolution with 1/k, and a Scale where padding counts less.

    With count_include_pad the declared padding counts as entries of value 0; what ceil_mode reaches
    beyond it never counts.
    """
    x = call.tensor(0)
    window = pooling_window(call, x)
    size, channels = prod(window.kernel), prod(x.shape[:2])
    operator = Conv(
        weight=np.full(affordable((channels, 1, *window.kernel)), 1.0 / size),
        bias=np.zeros(channels),
        strides=window.strides,
        pads=window.reach,
        dilations=window.dilations,
        groups=channels,
    )
    flat = call.shaped(Tensor(x.node, (1, channels, *x.shape[2:])))
    counts = entry_counts(window, x.shape[2:], bool(call.integer("count_include_pad", 0)))
    if not counts.all():
        raise RefusedError("it has windows that lie in the padding alone")
    uniform = bool((counts == size).all())
    pooled = call.emit(operator, [flat], (1, channels, *window.target), "" if uniform else "/sums")
    result = Tensor(pooled.node, (*x.shape[:2], *window.target))
    return [result if uniform else scale(call, result, size / counts, np.array(0.0))]


def entry_counts(
    window: Window, sizes: tuple[int, ...], include_pad: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """How many entries each window averages over."""
    inside = np.ones(sizes, np.int64)
    counted = np.pad(inside, window.pads, constant_values=int(include_pad))
    reached = np.pad(counted, [(0, more) for more in window.overhang])
    axes = tuple(range(-len(sizes), 0))
    return np.asarray(window.over(reached).sum(axis=axes), dtype=np.float64)


OPERATORS = {"MaxPool": max_pool, "GlobalMaxPool": global_max_pool, "AveragePool": average_pool}
