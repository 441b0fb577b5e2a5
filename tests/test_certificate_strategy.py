"""Choices that are bad, random or malicious prove less, and never make a false statement valid."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from certificate_mutants import loosened, rewired, scrambled, statements
from random_networks import random_box, random_network, sample
from rational import dot, exact_tensors
from test_certificate_bounds import whole

from repairsolver.certificate import bounds, check, strategy
from repairsolver.certificate.boxes import minimum

WILD = (np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, -1.0, 5e-324)


def random_strategy(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, wild: float) -> None:
    """Any slopes and multipliers, a share of them no numbers at all, and any neurons in any order."""

    def anything(shape: tuple[int, ...]) -> np.ndarray:
        numbers = rng.normal(size=shape) * 2.0 ** rng.integers(-6, 6, shape)
        return np.where(rng.random(shape) < wild, rng.choice(WILD, shape), numbers)

    def slopes(operator, lower, upper):
        return anything(lower.shape), anything(lower.shape).astype(rng.choice([np.float64, np.float32]))

    def multipliers(slope, shift, a, k, centre, radius):
        return anything(shift.shape).astype(rng.choice([np.float64, np.float32]))

    def choice(low):
        return rng.integers(0, low.shape[2], low.shape[:2])

    def entries(operator, lower, upper, hints, sizes):
        size = lower.shape[1]
        blocks = [rng.integers(-size, size, (len(lower), rng.integers(1, size + 1))) for _ in range(2)]
        return blocks[: rng.integers(3)]

    def halving(slope, lower, upper):
        return rng.integers(-2, lower.shape[1] + 2, len(slope)), anything((len(slope),))

    def inherited(network):
        return {k for k in range(len(network.nodes) + 1) if rng.random() < 0.5}

    monkeypatch.setattr(strategy, "_inherited", inherited)
    monkeypatch.setattr(strategy, "choice", choice)
    monkeypatch.setattr(strategy, "halving", halving)
    monkeypatch.setattr(strategy, "slopes", slopes)
    monkeypatch.setattr(strategy, "multipliers", multipliers)
    monkeypatch.setattr(strategy, "entries", entries)


@pytest.mark.parametrize("seed", range(25))
def test_bounds_hold_whatever_is_chosen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([seed, 21])
    random_strategy(rng, monkeypatch, wild=0.02 * (seed % 2))
    network = random_network(seed, smooth=False)
    lower, upper = random_box(rng, network)
    layers, steps, boxes = whole(network, lower, upper)
    rows = rng.normal(size=(1, 2, network.output_size))
    with np.errstate(all="ignore"):
        pulled = bounds.pull(steps, boxes, {len(layers): rows.copy()}, np.zeros((1, 2)))
        least = minimum(boxes, *pulled)[0]
    for point in sample(rng, lower, upper, 4):
        tensors = exact_tensors(network, point)
        for tensor, (low, high) in zip(tensors, boxes.bounds, strict=True):
            for value, below, above in zip(tensor, low[0], high[0], strict=True):
                assert not np.isfinite(below) or Fraction(below) <= value
                assert not np.isfinite(above) or value <= Fraction(above)
        for row, bound in zip(rows[0], least, strict=True):
            assert not np.isfinite(bound) or Fraction(bound) <= dot(row, tensors[-1])


@pytest.mark.parametrize("wild", [0.0, 0.02, 0.3])
def test_false_statements_are_rejected_whatever_is_chosen(
    wild: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, rejected = np.random.default_rng([int(100 * wild), 22]), 0
    for s in statements(5200, 5270):
        random_strategy(rng, monkeypatch, wild)
        for false in (loosened(rng, s), rewired(rng, s)):
            for attempt in () if false is None else (false, scrambled(rng, false)):
                assert not check(attempt.certificate, network=attempt.network, property=attempt.prop).valid
                rejected += 1
    assert rejected >= 40


def test_worse_choices_still_prove_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the strategies above are in use, and what they prove is proved by the checker."""
    kept, proved = strategy.slopes, 0

    def steeper(operator, lower, upper):
        return tuple(slope * 1.01 for slope in kept(operator, lower, upper))

    monkeypatch.setattr(strategy, "slopes", steeper)
    monkeypatch.setattr(strategy, "multipliers", lambda slope, shift, *_: np.zeros_like(shift))
    monkeypatch.setattr(
        strategy,
        "entries",
        lambda operator, lower, *_: [np.tile(np.arange(lower.shape[1]), (len(lower), 1))[:, ::-1]],
    )
    for s in statements(5200, 5270):
        proved += check(s.certificate, network=s.network, property=s.prop).valid
    assert proved >= 5


def writing(kept: Callable[..., object], which: int) -> Callable[..., object]:
    def changed(*arguments):
        arguments[which][...] = 0.0
        return kept(*arguments)

    return changed


@pytest.mark.parametrize(
    ("name", "which"),
    [
        *(("slopes", k) for k in (1, 2)),
        *(("entries", k) for k in (1, 2)),
        *(("hints", k) for k in range(1, 5)),
        *(("multipliers", k) for k in range(6)),
        *(("halving", k) for k in range(3)),
    ],
)
def test_nothing_can_be_written_to(name: str, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    s = max(statements(5200, 5270), key=lambda s: len(s.network.nodes))
    monkeypatch.setattr(strategy, name, writing(getattr(strategy, name), which))
    with pytest.raises(ValueError, match="read-only"):
        check(s.certificate, network=s.network, property=s.prop)
