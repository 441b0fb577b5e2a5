"""Given weights in the shapes that a repaired layer needs: as many values as possible are kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from repairsolver.architecture.model import Shape


def refit(old: npt.NDArray[Any], shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """Given weights in a new shape, and in words what was done with them.

    Axes in another order are transposed; a kernel gets another number of spatial axes by `_refit_axes`;
    otherwise the common block is kept and the rest is zero.
    """
    for order in permutations(range(old.ndim)):
        if old.ndim == len(shape) and tuple(old.shape[i] for i in order) == tuple(shape):
            return np.ascontiguousarray(old.transpose(order)), f"transposed by {order}, all values kept"
    if old.ndim != len(shape) and min(old.ndim, len(shape)) > 2:
        return _refit_axes(old, shape)
    if old.ndim != len(shape):
        if old.size == prod(shape):
            return old.reshape(shape), "reshaped, all values kept"
        return np.zeros(shape, old.dtype), "none of the values fits, all are zero"
    new = np.zeros(shape, dtype=old.dtype)
    block = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, shape, strict=True))
    new[block] = old[block]
    kept = prod(s.stop for s in block)
    return new, f"{kept} of {old.size} values kept, {new.size - kept} new ones are zero"


def _refit_axes(old: npt.NDArray[Any], shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """A kernel, (channels, channels, spatial axes), for another number of spatial axes.

    An axis too many is left out at its middle; along a new one the kernel stands in the middle of zeros, so
    that it does along the old axes what it did before.
    """
    kernel = old
    for axis in _spare(old.shape, shape)[::-1]:
        kernel = kernel.take(old.shape[axis] // 2, axis=axis)
    new = np.zeros(shape, dtype=old.dtype)
    middle = [shape[axis] // 2 for axis in range(kernel.ndim, len(shape))]
    block = tuple(slice(0, min(a, b)) for a, b in zip(kernel.shape, shape, strict=False))
    place: tuple[slice | int, ...] = (*block, *middle)
    new[place] = kernel[block]
    kept = prod(s.stop for s in block)
    how = (
        "at the middle of the others"
        if kernel.ndim == old.ndim
        else "from the middle of the axis that is gone"
    )
    return new, f"{kept} of {old.size} values kept, {how}; {new.size - kept} are zero"


def _spare(old: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Spatial axes that go: those of size 1 first, then the last ones."""
    count = max(len(old) - len(shape), 0)
    order = sorted(range(2, len(old)), key=lambda axis: (old[axis] > 1, -axis))
    return sorted(order[:count])
