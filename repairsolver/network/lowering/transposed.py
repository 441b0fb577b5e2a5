"""Transposed convolution: a convolution of the entries spread apart by the strides, with turned filters."""

from __future__ import annotations

import numpy as np

from repairsolver.network.lowering.builder import (
    Call,
    RefusedError,
    Tensor,
    Value,
    affordable,
    positions,
)
from repairsolver.network.lowering.window import padding_of
from repairsolver.network.operators import Conv, Indices
from repairsolver.results import Array

Pads = tuple[tuple[int, int], ...]


def conv_transpose(call: Call) -> list[Value]:
    """The transpose of a convolution with constant filters [c, o / groups, *k], plus a bias [o].

    With extent e = (k - 1) d + 1, stride s, pads p, q and output padding r, an axis of n entries becomes
    s (n - 1) + e + r - p - q long: s - 1 zeros between the entries, e - 1 - p before and e - 1 - q + r behind
    them (fewer than none: entries are left out), and then a convolution with the filters turned round.
    """
    x, weight = call.tensor(0), call.constant(1)
    filters, groups = weight.floats, call.integer("group", 1)
    if len(x.shape) != filters.ndim or not 3 <= filters.ndim <= 5:
        raise RefusedError(f"its input {list(x.shape)} and filters {list(filters.shape)} do not fit together")
    if x.shape[0] != 1:
        raise RefusedError(f"its input {list(x.shape)} has a fixed batch of {x.shape[0]}, expected 1")
    if x.shape[1] != len(filters) or groups < 1 or len(filters) % groups:
        raise RefusedError(
            f"its input has {x.shape[1]} channels in {groups} groups, its filters {list(filters.shape)} need "
            f"{len(filters)}"
        )
    turned = turn(filters, groups)
    strides, dilations, around = geometry(call, x.shape[2:], filters.shape[2:])
    index = spread(x, strides, around)
    bias = call.constant(2) if call.has(2) else None
    operator = Conv(
        weight=turned,
        bias=np.zeros(len(turned)) if bias is None else bias.floats,
        strides=(1,) * len(strides),
        pads=((0, 0),) * len(strides),
        dilations=dilations,
        groups=groups,
        bias_source=None if bias is None else bias.source,
    )
    if operator.bias.shape != (len(turned),):
        raise RefusedError(
            f"its bias of shape {list(operator.bias.shape)} does not fit {len(turned)} channels"
        )
    extents = (1 + (k - 1) * d for k, d in zip(turned.shape[2:], dilations, strict=True))
    target = tuple(n - e + 1 for n, e in zip(index.shape[2:], extents, strict=True))
    wide = call.shaped(call.select(x, index, suffix="/spread"))
    return [call.emit(operator, [wide], (1, len(turned), *target))]


def turn(filters: Array, groups: int) -> Array:
    """Filters [c, o / groups, *k] as those of the convolution: [o, c / groups, *k], each axis reversed."""
    parts = [np.swapaxes(part, 0, 1) for part in np.split(filters, groups)]
    return np.flip(np.concatenate(parts), axis=tuple(range(2, filters.ndim)))


def geometry(
    call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    """Strides, dilations, and the zeros around the spread entries of each axis (negative where they crop)."""
    rank = len(sizes)
    strides = call.integers("strides") or (1,) * rank
    dilations = call.integers("dilations") or (1,) * rank
    more = call.integers("output_padding") or (0,) * rank
    declared = call.integers("kernel_shape") or kernel
    if not len(strides) == len(dilations) == len(more) == rank or declared != kernel:
        raise RefusedError(f"its kernel, strides, dilations or output_padding do not fit {rank} spatial axes")
    if min(*strides, *dilations, *kernel) < 1 or min(more) < 0:
        raise RefusedError("its kernel, strides, dilations or output_padding are out of range")
    if any(r >= s for r, s in zip(more, strides, strict=True)):
        raise RefusedError(f"its output_padding {list(more)} is not below its strides {list(strides)}")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [s * (n - 1) + e + r for s, n, e, r in zip(strides, sizes, extents, more, strict=True)]
    pads = pads_of(call, sizes, strides, full)
    if any(n <= p + q for n, (p, q) in zip(full, pads, strict=True)):
        raise RefusedError(f"its pads {pads} leave nothing of axes of {full} entries")
    around = tuple((e - 1 - p, e - 1 - q + r) for e, (p, q), r in zip(extents, pads, more, strict=True))
    return strides, dilations, around


def pads_of(call: Call, sizes: tuple[int, ...], strides: tuple[int, ...], full: list[int]) -> Pads:
    """What is cut off before and behind each axis: declared, or what makes the result as long as wanted."""
    rank, auto = len(sizes), padding_of(call)
    wanted = call.integers("output_shape")
    if wanted is None and auto in ("NOTSET", "", "VALID"):
        flat = (call.integers("pads") if auto != "VALID" else None) or (0,) * (2 * rank)
        if len(flat) != 2 * rank or min(flat) < 0:
            raise RefusedError(f"its pads {list(flat)} do not fit {rank} spatial axes")
        return tuple(zip(flat[:rank], flat[rank:], strict=True))
    if auto not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise RefusedError(f"its auto_pad {auto!r} is not known")
    goal = wanted[-rank:] if wanted else tuple(n * s for n, s in zip(sizes, strides, strict=True))
    total = [n - g for n, g in zip(full, goal, strict=True)]
    if min(total) < 0:
        raise RefusedError(f"it asks for axes of {list(goal)} entries, its windows reach {full} of them only")
    halves = tuple((t // 2, t - t // 2) for t in total)
    return halves if auto == "SAME_UPPER" else tuple((b, a) for a, b in halves)


def spread(x: Tensor, strides: tuple[int, ...], around: Pads) -> Indices:
    """The positions of x with zeros (-1) between and around them."""
    index = positions(x)
    for axis, (step, (before, behind)) in enumerate(zip(strides, around, strict=True), start=2):
        length = step * (index.shape[axis] - 1) + 1
        size = length + before + behind
        shape = affordable((*index.shape[:axis], size, *index.shape[axis + 1 :]))
        places = np.arange(index.shape[axis]) * step + before
        inside = (places >= 0) & (places < size)
        wide = np.full(shape, -1, dtype=np.int64)
        np.moveaxis(wide, axis, 0)[places[inside]] = np.moveaxis(index, axis, 0)[inside]
        index = wide
    return index


OPERATORS = {"ConvTranspose": conv_transpose}
