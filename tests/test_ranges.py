"""Layer rules on ranges: what holds for members is never excluded, and exact ranges say what numbers say."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks.architecture.calls import draw, kinds, predicted
from layerwise.shapes import RULES, RankMismatch
from layerwise.shapes.ranges import Possible, Range
from layerwise.shapes.terms import choose, divides, every, floor_div, some


def around(rng, shape, spread):
    """Ranges that hold the sizes."""
    lows = [np.asarray([max(1.0, n - rng.randint(0, spread))]) for n in shape]
    highs = [np.asarray([float(n + rng.randint(0, spread))]) for n in shape]
    return tuple(Range(low, high) for low, high in zip(lows, highs, strict=True))


def relaxed(call, inputs):
    """(possible, output ranges) by the rule on ranges."""
    try:
        outcome = RULES[call.framework][call.kind](inputs, call.args)
    except RankMismatch:
        return False, ()
    shape = [Range.of(size) for size in outcome.shape]
    may = all(np.all(n.holds.may) if isinstance(n.holds, Possible) else n.holds for n in outcome.requirements)
    return may and all(np.all(size.high >= 1) for size in shape), shape


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_no_valid_call_is_excluded(framework):
    rng = random.Random(framework)
    for kind in kinds(framework):
        for _ in range(25):
            call = draw(framework, kind, rng)
            wanted = predicted(call)
            possible, shape = relaxed(call, [around(rng, s, rng.choice((1, 3))) for s in call.inputs])
            if wanted is not None:
                assert possible, call
                assert len(shape) == len(wanted)
                pairs = zip(shape, wanted, strict=True)
                assert all(np.all((r.low <= n) & (n <= r.high)) for r, n in pairs), call


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_exact_ranges_refuse_what_numbers_refuse(framework):
    rng = random.Random(framework)
    for kind in kinds(framework):
        for _ in range(15):
            call = draw(framework, kind, rng)
            possible, _ = relaxed(call, [around(rng, s, 0) for s in call.inputs])
            assert possible == (predicted(call) is not None), call


def interval(rng):
    low = rng.randint(-6, 6)
    return low, low + rng.randint(0, 5)


def test_operations_hold_every_member():
    rng = random.Random(0)
    for _ in range(100):
        (a, b), (c, d) = interval(rng), interval(rng)
        one, other, positive = (
            Range(np.asarray(float(low)), np.asarray(float(high)))
            for low, high in ((a, b), (c, d), (max(1, c), max(1, d)))
        )
        for x in range(a, b + 1):
            for y in range(c, d + 1):
                z = max(1, y)
                for result, value in (
                    (one + other, x + y),
                    (one - other, x - y),
                    (one * other, x * y),
                    (floor_div(one, positive), x // z),
                    (choose(one >= other, one, other), max(x, y)),
                ):
                    assert result.low <= value <= result.high
                for truth, value in (
                    (one <= other, x <= y),
                    (one < other, x < y),
                    (one == other, x == y),
                    (divides(positive, one), x % z == 0),
                    (every([one <= other, one == other]), x == y),
                    (some([one <= other, one > other]), True),
                ):
                    assert truth.may or not value
                    assert not truth.must or value


def test_a_condition_on_ranges_is_not_a_boolean():
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(Range.of(1) <= Range.of(2))
