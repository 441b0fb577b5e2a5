"""Operators that pick and repeat entries at constant places: numpy moves positions, which make a `Select`."""

from __future__ import annotations

import numpy as np

from repairsolver.network.lowering.builder import (
    Call,
    RefusedError,
    Tensor,
    Value,
    affordable,
    axis_of,
    positions,
)
from repairsolver.network.operators import Indices


def places(call: Call) -> Indices:
    """The second input: constant whole numbers."""
    found = call.constant(1).value
    if found.dtype.kind != "i":
        raise RefusedError(f"its indices are of type {found.dtype}, expected whole numbers")
    return found.astype(np.int64)


def gather(call: Call) -> list[Value]:
    """Slices of one axis, in the order of the indices; their shape takes the place of the axis."""
    x, index = call.tensor(0), places(call)
    axis = axis_of(call.integer("axis", 0), len(x.shape))
    affordable((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))
    return [call.select(x, np.take(positions(x), index, axis))]


def gather_elements(call: Call) -> list[Value]:
    """One entry for each index, which replaces the place on one axis."""
    x, index = call.tensor(0), places(call)
    axis = axis_of(call.integer("axis", 0), len(x.shape))
    if index.ndim != len(x.shape):
        raise RefusedError(f"its indices have rank {index.ndim}, its input rank {len(x.shape)}")
    part = tuple(slice(None if i == axis else d) for i, d in enumerate(index.shape))
    return [call.select(x, np.take_along_axis(positions(x)[part], index, axis))]


def gather_nd(call: Call) -> list[Value]:
    """One slice for each row of indices, which name its place on the first axes."""
    x, index = call.tensor(0), places(call)
    if call.integer("batch_dims", 0):
        raise RefusedError("its batch_dims is not 0")
    depth = index.shape[-1]
    affordable((*index.shape[:-1], *x.shape[depth:]))
    return [call.select(x, positions(x)[tuple(np.moveaxis(index, -1, 0))])]


def tile(call: Call) -> list[Value]:
    """Copies of the whole tensor, so many along each axis."""
    x, repeats = call.tensor(0), call.integers("repeats", 1) or ()
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 0:
        raise RefusedError(f"its repeats {list(repeats)} do not fit a tensor of rank {len(x.shape)}")
    affordable(tuple(d * times for d, times in zip(x.shape, repeats, strict=True)))
    return [call.select(x, np.tile(positions(x), repeats))]


def expand(call: Call) -> list[Value]:
    """Broadcasting to a shape, in both directions."""
    x, wanted = call.tensor(0), call.integers("shape", 1) or ()
    shape = affordable(np.broadcast_shapes(x.shape, wanted))
    return [call.select(x, np.broadcast_to(positions(x), shape))]


def depth_to_space(call: Call) -> list[Value]:
    """Blocks of channels become squares of pixels: block first (DCR), or channel first (CRD)."""
    x, (batch, channels, height, width), size = _image(call)
    if channels % size**2:
        raise RefusedError(f"its {channels} channels are no multiple of the square of its blocksize {size}")
    kept, mode = channels // size**2, call.text("mode", "DCR")
    if mode == "DCR":
        parts, order = (batch, size, size, kept, height, width), (0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        parts, order = (batch, kept, size, size, height, width), (0, 1, 4, 2, 5, 3)
    else:
        raise RefusedError(f"its mode is {mode!r}, expected DCR or CRD")
    moved = positions(x).reshape(parts).transpose(order)
    return [call.select(x, moved.reshape(batch, kept, height * size, width * size))]


def space_to_depth(call: Call) -> list[Value]:
    """Squares of pixels become blocks of channels."""
    x, (batch, channels, height, width), size = _image(call)
    if height % size or width % size:
        raise RefusedError(f"its {height} x {width} pixels are no multiple of its blocksize {size}")
    parts = (batch, channels, height // size, size, width // size, size)
    moved = positions(x).reshape(parts).transpose(0, 3, 5, 1, 2, 4)
    return [call.select(x, moved.reshape(batch, channels * size**2, height // size, width // size))]


def _image(call: Call) -> tuple[Tensor, tuple[int, ...], int]:
    x, size = call.tensor(0), call.integer("blocksize", 0)
    if len(x.shape) != 4 or size < 1:
        raise RefusedError(f"its blocksize {size} and its input {list(x.shape)} do not fit together")
    return x, x.shape, size


OPERATORS = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Tile": tile,
    "Expand": expand,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
