"""Merge layers on sets of shapes: where two inputs must agree, both are cut to what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.shapes import RankMismatch, Rule
from layerwise.shapes.ranges import Possible, Range
from layerwise.shapes.terms import every

Axes = tuple[Range, ...]
Merged = tuple[Sequence[Range], Any]


def merged(rule: Rule, args: Mapping[str, Any], one: Axes, other: Axes) -> Merged | None:
    """The output of two inputs, and whether they may go together; None where the ranks do not.

    A layer with more inputs merges them one after the other.
    """
    if "strict" in args:
        if args["strict"] or (args.get("same_rank") and len(one) != len(other)):
            return _met(one, other)
        return _broadcast(one, other)
    axis = args.get("axis", args.get("dim"))
    if rule.inputs is None and isinstance(axis, int):
        return _concatenated(one, other, axis)
    try:
        outcome = rule([one, other], args)
    except RankMismatch:
        return None
    shape = tuple(Range.of(size) for size in outcome.shape)
    return shape, every(need.holds for need in outcome.requirements)


def _shared(a: Range, b: Range) -> Range:
    return Range(np.maximum(a.low, b.low), np.minimum(a.high, b.high))


def _met(one: Axes, other: Axes) -> Merged | None:
    if len(one) != len(other):
        return None
    return [_shared(a, b) for a, b in zip(one, other, strict=True)], True


def _concatenated(one: Axes, other: Axes, axis: int) -> Merged | None:
    place = axis + len(one) if axis < 0 else axis - 1
    if len(one) != len(other) or not 0 <= place < len(one):
        return None
    both = enumerate(zip(one, other, strict=True))
    return [a + b if i == place else _shared(a, b) for i, (a, b) in both], True


def _broadcast(one: Axes, other: Axes) -> Merged:
    """Per axis: equal sizes, or a 1 on one side."""
    rank = max(len(one), len(other))
    ones = [(Range.of(1),) * (rank - len(axes)) + axes for axes in (one, other)]
    out, holds = [], []
    for a, b in zip(*ones, strict=True):
        ways = [_shared(a, b), _only(b, a.low <= 1), _only(a, b.low <= 1)]
        low = np.minimum.reduce(
            np.broadcast_arrays(*(np.where(w.low <= w.high, w.low, np.inf) for w in ways))
        )
        high = np.maximum.reduce(np.broadcast_arrays(*(np.where(w.low <= w.high, w.high, 0) for w in ways)))
        out.append(Range(low, high))
        holds.append(Possible(low <= high, np.zeros(np.shape(low), dtype=bool)))
    return out, every(holds)


def _only(axis: Range, where: Any) -> Range:
    return Range(np.where(where, axis.low, np.inf), np.where(where, axis.high, 0.0))
