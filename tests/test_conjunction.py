"""Combining and contracting: never beyond the exact optimum, never cutting off a violation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import linprog

from repairsolver.bounds.backward import LinearBound
from repairsolver.verification.conjunction import combine, contract


def random_bounds(
    rng: np.random.Generator, batch: int, rows: int, inputs: int, *, flat: float = 0.0
) -> tuple[LinearBound, torch.Tensor, torch.Tensor]:
    """Linear bounds whose rows are sometimes nearly opposite, over boxes with some fixed inputs."""
    slope = rng.normal(size=(batch, rows, inputs)) * 10.0 ** rng.integers(-2, 3, size=(batch, rows, 1))
    if rows > 1:
        slope[::3, 1] = -slope[::3, 0] * rng.uniform(0.5, 2, size=(len(slope[::3]), 1))
    slope[rng.random(slope.shape) < flat] = 0.0
    lower = rng.normal(size=(batch, inputs))
    upper = lower + rng.random((batch, inputs)) * (rng.random((batch, inputs)) > flat)
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    reach = (np.abs(slope) * radius[:, None]).sum(axis=2) + 0.01
    shift = reach * rng.normal(size=(batch, rows)) - (slope * centre[:, None]).sum(axis=2)
    return LinearBound(torch.tensor(slope), torch.tensor(shift)), torch.tensor(lower), torch.tensor(upper)


def best_combination(slope: np.ndarray, shift: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """min over the box of max_r (A_r x + c_r), which is the best bound of a combination (minimax)."""
    rows, inputs = slope.shape
    cost = np.append(np.zeros(inputs), 1.0)
    matrix = np.hstack([slope, -np.ones((rows, 1))])
    box = [*zip(lower, upper, strict=True), (None, None)]
    result = linprog(cost, matrix, -shift, bounds=box)
    assert result.status == 0
    return float(result.fun)


def exact_minimum(
    weights: np.ndarray, slope: np.ndarray, shift: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> Fraction:
    """min over the box of sum_r w_r (A_r x + c_r) / sum_r w_r in rational arithmetic."""
    w = [Fraction(float(v)) for v in weights]
    total = sum((a * Fraction(float(c)) for a, c in zip(w, shift, strict=True)), Fraction(0))
    for i in range(slope.shape[1]):
        along = sum((a * Fraction(float(s)) for a, s in zip(w, slope[:, i], strict=True)), Fraction(0))
        total += min(along * Fraction(float(lower[i])), along * Fraction(float(upper[i])))
    return total / sum(w, Fraction(0))


def test_a_combination_is_at_most_the_optimum_and_close_to_it() -> None:
    rng = np.random.default_rng(0)
    lost = []
    for rows, inputs in [(1, 3), (2, 1), (2, 5), (3, 2), (4, 5), (9, 3)]:
        bound, lower, upper = random_bounds(rng, 40, rows, inputs, flat=0.1)
        best, weights = combine(bound, lower, upper)
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(40, dtype=torch.float64))
        single = bound.minimum(lower, upper).max(dim=1).values
        assert (best >= single).all()
        for b in range(40):
            arrays = [t[b].numpy() for t in (bound.slope, bound.shift, lower, upper)]
            optimum = best_combination(*arrays)
            size = 1 + np.abs(arrays[1]).max()
            assert best[b] <= optimum + 1e-7 * size
            if optimum - single[b] > 1e-3 * size:
                lost.append((optimum - float(best[b])) / (optimum - float(single[b])))
    assert len(lost) > 50
    assert np.median(lost) < 0.15


def test_what_is_claimed_is_true_in_exact_arithmetic() -> None:
    """Also where rows of large numbers cancel and the sum is tiny."""
    rng = np.random.default_rng(1)
    for inputs in (1, 2, 5):
        slope = rng.normal(size=(200, 3, inputs)) * 1e6
        slope[:, 2] = -slope[:, 0] - slope[:, 1]
        lower = rng.normal(size=(200, inputs))
        lower, upper = -np.abs(lower), np.abs(lower) + 1
        shift = np.zeros((200, 3))
        best, weights = combine(*_as_bound(slope, shift, lower, upper))
        for b in range(200):
            arrays = weights[b].numpy(), slope[b], shift[b], lower[b], upper[b]
            assert Fraction(float(best[b])) <= exact_minimum(*arrays)


def _as_bound(
    slope: np.ndarray, shift: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[LinearBound, torch.Tensor, torch.Tensor]:
    return LinearBound(torch.tensor(slope), torch.tensor(shift)), torch.tensor(lower), torch.tensor(upper)


def test_contracting_keeps_every_violation() -> None:
    rng = np.random.default_rng(2)
    shrunk = crossed = 0
    for rows, inputs in [(1, 1), (1, 4), (2, 3), (4, 2), (3, 6)]:
        bound, lower, upper = random_bounds(rng, 60, rows, inputs, flat=0.15)
        low, high = contract(bound, lower, upper)
        assert (low >= lower).all()
        assert (high <= upper).all()
        shrunk += int(((high - low) < 0.9 * (upper - lower)).sum())
        for b in range(60):
            box = lower[b].numpy(), upper[b].numpy()
            points = box[0] + (box[1] - box[0]) * rng.random((3000, inputs))
            rows_at = points @ bound.slope[b].numpy().T + bound.shift[b].numpy()
            violating = points[(rows_at <= 0).all(axis=1)]
            assert (violating >= low[b].numpy()).all()
            assert (violating <= high[b].numpy()).all()
            empty = bool((low[b] > high[b]).any())
            crossed += empty
            assert not (empty and len(violating))
            if empty:
                arrays = [t[b].numpy() for t in (bound.slope, bound.shift)]
                assert best_combination(*arrays, *box) > -1e-9
    assert shrunk > 100
    assert crossed > 10


def test_contracting_by_one_row_gives_the_hull() -> None:
    """x0 + x1 - 1 <= 0 on [0, 2]^2 leaves [0, 1]^2; 1 - x0 <= 0 leaves x0 >= 1."""
    box = torch.zeros(1, 2, dtype=torch.float64), torch.full((1, 2), 2.0, dtype=torch.float64)
    bound = LinearBound(torch.tensor([[[1.0, 1.0]]]).double(), torch.tensor([[-1.0]]).double())
    low, high = contract(bound, *box)
    np.testing.assert_allclose(low, [[0, 0]], atol=1e-9)
    np.testing.assert_allclose(high, [[1, 1]], atol=1e-9)
    assert (high >= 1).all()
    bound = LinearBound(torch.tensor([[[-1.0, 0.0]]]).double(), torch.tensor([[1.0]]).double())
    low, high = contract(bound, *box)
    np.testing.assert_allclose(low, [[1, 0]], atol=1e-9)
    assert low[0, 0] <= 1


def test_a_point_on_the_boundary_is_kept() -> None:
    """Rows that touch 0 exactly at a corner, a violation in the sense of VNN-LIB."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        inputs = int(rng.integers(1, 6))
        slope, lower = rng.normal(size=(1, 1, inputs)), rng.normal(size=(1, inputs))
        upper = lower + rng.random((1, inputs))
        corner = np.where(slope[:, 0] > 0, lower, upper)
        shift = -(slope[:, 0] * corner).sum(axis=1, keepdims=True)
        bound = LinearBound(torch.tensor(slope), torch.tensor(shift))
        box = torch.tensor(lower), torch.tensor(upper)
        low, high = contract(bound, *box)
        assert (low.numpy() <= corner).all()
        assert (high.numpy() >= corner).all()
        assert combine(bound, *box)[0] <= 0


def test_numbers_that_are_none_cut_nothing() -> None:
    bound = LinearBound(torch.full((1, 1, 2), torch.nan).double(), torch.full((1, 1), torch.nan).double())
    box = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    low, high = contract(bound, *box)
    assert torch.equal(low, box[0])
    assert torch.equal(high, box[1])
