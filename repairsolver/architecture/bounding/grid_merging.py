"""Merge layers on grids: the least price of two inputs together, for every shape of the output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from layerwise.shapes import Rule
from repairsolver.architecture.bounding.grid import Array, Grid, limit_of, relimited, resized

Found = Iterator[tuple[int, Array]]


def known(rule: Rule, args: Mapping[str, Any]) -> bool:
    """Whether grids know the merge layer."""
    axis = args.get("axis", args.get("dim"))
    return "strict" in args or rule.kind == "Dot" or (rule.inputs is None and isinstance(axis, int))


def merged(rule: Rule, args: Mapping[str, Any], one: Grid, other: Grid) -> Found:
    """Prices by rank of what two inputs give; for layers that are `known`."""
    if "strict" in args:
        if args["strict"]:
            return _met(one, other)
        return _broadcast(one, other, same_rank=bool(args.get("same_rank")))
    axis = args.get("axis", args.get("dim"))
    if rule.inputs is None and isinstance(axis, int):
        return _concatenated(one, other, axis)
    return _dot(one, other, args["axes"])


def _met(one: Grid, other: Grid) -> Found:
    for rank, array in one.items():
        yield rank, array + other[rank]


def _broadcast(one: Grid, other: Grid, *, same_rank: bool) -> Found:
    """Per axis: equal sizes, or a 1 on one side; missing axes in front are 1."""
    for left, a in one.items():
        for right, b in other.items():
            if (left == right or not same_rank) and np.isfinite(a).any() and np.isfinite(b).any():
                rank = max(left, right)
                limit = limit_of(one[rank])
                yield rank, _spread(_ranked(a, rank, limit), _ranked(b, rank, limit))


def _ranked(array: Array, rank: int, limit: int) -> Array:
    """With axes of size 1 in front, at the limit of that rank."""
    if array.ndim == rank:
        return array
    out = np.full((limit + 1,) * rank, np.inf)
    out[(0,) * (rank - array.ndim)] = relimited(array, limit)
    return out


def _spread(a: Array, b: Array) -> Array:
    out = a + b
    for sides in product((0, 1, 2), repeat=a.ndim):
        left = tuple(slice(0, 1) if side == 1 else slice(None) for side in sides)
        right = tuple(slice(0, 1) if side == 2 else slice(None) for side in sides)
        np.minimum(out, a[left] + b[right], out=out)
    return out


def _concatenated(one: Grid, other: Grid, axis: int) -> Found:
    for rank, a in one.items():
        at = axis + rank if axis < 0 else axis - 1
        if 0 <= at < rank and np.isfinite(a).any() and np.isfinite(other[rank]).any():
            left, right = np.moveaxis(a, at, 0), np.moveaxis(other[rank], at, 0)
            yield rank, np.moveaxis(_summed(left, right), 0, at)


def _summed(left: Array, right: Array) -> Array:
    """Sizes i + 1 and j + 1 give i + j + 2; what is beyond the limit goes into the last entry."""
    out, last = np.full_like(left, np.inf), len(left) - 1
    for i, prices in enumerate(left):
        if np.isfinite(prices).any():
            reached = max(last - i - 1, 0)
            np.minimum(
                out[i + 1 : i + 1 + reached], prices + right[:reached], out=out[i + 1 : i + 1 + reached]
            )
            out[last] = np.minimum(out[last], prices + right[reached:].min(axis=0))
    return out


def _dot(one: Grid, other: Grid, axes: tuple[int, int]) -> Found:
    """The two axes must agree; what is left of both stands side by side."""
    for left, a in one.items():
        for right, b in other.items():
            i, j = (d - 1 if d > 0 else d + rank for d, rank in zip(axes, (left, right), strict=True))
            rank = max(left + right - 2, 1)
            fits = 0 <= i < left and 0 <= j < right and rank in one
            if fits and np.isfinite(a).any() and np.isfinite(b).any():
                yield rank, _contracted(np.moveaxis(a, i, 0), np.moveaxis(b, j, 0), limit_of(one[rank]))


def _contracted(a: Array, b: Array, inner: int) -> Array:
    shared = min(len(a), len(b)) - 1
    a, b = (np.stack(list(resized(x, 0, shared))) for x in (a, b))
    a, b = (_inner(x, inner) for x in (a, b))
    out = np.full(a.shape[1:] + b.shape[1:], np.inf)
    for x, y in zip(a, b, strict=True):
        np.minimum(out, np.add.outer(x, y), out=out)
    if out.ndim:
        return out
    whole = np.full(inner + 1, np.inf)
    whole[0] = out
    return whole


def _inner(array: Array, limit: int) -> Array:
    for axis in range(1, array.ndim):
        array = resized(array, axis, limit)
    return array
