"""The checker's linear bounds, lines and contraction against exact rational evaluation."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from random_networks import dense_network, random_box, random_network, sample, single_activation
from rational import dot, exact_tensors, fractions
from test_certificate_arithmetic import true_sigmoid, true_tanh

from repairsolver.certificate import bounds
from repairsolver.certificate.boxes import Boxes, contract, minimum
from repairsolver.certificate.layers import Layer, layers_of
from repairsolver.certificate.relaxation import extremes
from repairsolver.certificate.statement import InvalidError
from repairsolver.certificate.steps import Step
from repairsolver.certificate.strategy import Hints, hints, slopes
from repairsolver.network import Network, activations
from repairsolver.network import operators as ops


def box(lower: np.ndarray, upper: np.ndarray, a: np.ndarray | None = None, k: float = 0.0) -> Boxes:
    """One box, of whose tensors nothing else is known, with the half-space a x + k <= 0 if there is one."""
    slope = np.zeros((1, len(lower))) if a is None else a.reshape(1, -1)
    none = np.zeros(1, np.int64)
    return Boxes([(lower[None], upper[None])], slope, np.array([[k]]), none, none)


def whole(
    network: Network, lower: np.ndarray, upper: np.ndarray, arithmetic: str = "real"
) -> tuple[list[Layer], list[Step], Boxes]:
    """A network on one box, all neurons bounded anew."""
    layers, boxes = layers_of(network, arithmetic), box(lower, upper)
    with np.errstate(all="ignore"):
        boxes.bounds = bounds.intervals(layers, *boxes.bounds[0])
        return layers, bounds.bounded(layers, boxes, thin(network, lower, upper)), boxes


def thin(network: Network, lower: np.ndarray, upper: np.ndarray) -> Hints:
    """Hints about a small part of a larger box."""
    return hints(network, lower[None], upper[None], lower[None] - 2.0**20, upper[None] + 2.0**20)


def test_a_time_limit_holds_within_a_box() -> None:
    """One box of a large network takes long: neurons that are bounded anew look at the clock."""
    network = dense_network(0, (2, 16, 1))
    lower, upper = -np.ones(2), np.ones(2)
    layers, _, boxes = whole(network, lower, upper)
    with pytest.raises(InvalidError, match="time was up within a box"):
        bounds.bounded(layers, boxes, thin(network, lower, upper), until=time.monotonic() - 1)


@pytest.mark.parametrize("seed", range(60))
def test_bounds_hold_without_rounding(seed: int) -> None:
    """Rows pulled back from the output: A x + c is at most R y(x), exactly, at points of the box."""
    rng = np.random.default_rng([seed, 5])
    network = random_network(seed, smooth=False)
    lower, upper = random_box(rng, network)
    layers, steps, boxes = whole(network, lower, upper)
    rows = rng.normal(size=(1, 3, network.output_size)) * 2.0 ** rng.integers(-20, 20, (1, 3, 1))
    slope, shift = bounds.pull(steps, boxes, {len(layers): rows.copy()}, np.zeros((1, 3)))
    least = minimum(boxes, slope, shift)[0]
    assert np.isfinite(least).all()
    for point in sample(rng, lower, upper, 6):
        tensors = exact_tensors(network, point)
        for k, (low, high) in enumerate(boxes.bounds):
            assert all(
                Fraction(a) <= v <= Fraction(b) for a, v, b in zip(low[0], tensors[k], high[0], strict=True)
            )
        for r in range(3):
            bound = dot(slope[0, r], tensors[0]) + Fraction(float(shift[0, r]))
            value = dot(rows[0, r], tensors[-1])
            assert bound <= value
            assert Fraction(float(least[r])) <= value


@pytest.mark.parametrize("seed", range(20))
def test_bounds_are_as_sharp_as_rounding_allows(seed: int) -> None:
    """Where nothing is unstable (a box of one point), the bound is the value up to a few roundings."""
    rng = np.random.default_rng([seed, 6])
    network = random_network(seed, smooth=False)
    # Corners with all bits, so that hardly any operation is exact.
    point = random_box(rng, network)[0] + rng.normal(size=network.input_size)
    layers, steps, boxes = whole(network, point, point)
    rows = rng.normal(size=(1, 1, network.output_size))
    slope, shift = bounds.pull(steps, boxes, {len(layers): rows.copy()}, np.zeros((1, 1)))
    value = dot(rows[0, 0], exact_tensors(network, point)[-1])
    size = 1 + max(float(np.abs(v).max()) for v in activations(network, point[None]).values())
    assert 0 <= float(value - Fraction(float(minimum(boxes, slope, shift)[0, 0]))) <= 1e-11 * size


def test_cancellation_is_bounded() -> None:
    """Two layers whose products cancel to nearly nothing: the float64 value is all noise."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        network = dense_network(seed, [3, 8, 8, 2])
        weight = network.nodes[-1].operator
        assert isinstance(weight, ops.Dense)
        lower = rng.normal(size=3) * 1e3
        layers, boxes = layers_of(network), box(lower, lower + 2.0**-20)
        last = layers[-1]
        assert last.operator is None
        # Rows (1, -1) times nearly equal rows of the last weights.
        last.matrices[0][1] = last.matrices[0][0] * (1 + 2.0**-50)
        last.constant[1] = last.constant[0]
        boxes.bounds = bounds.intervals(layers, *boxes.bounds[0])
        steps = bounds.bounded(layers, boxes, thin(network, lower, lower + 2.0**-20))
        rows = np.array([[[1.0, -1.0]]]) * 2.0**30
        slope, shift = bounds.pull(steps, boxes, {len(layers): rows.copy()}, np.zeros((1, 1)))
        least = Fraction(float(minimum(boxes, slope, shift)[0, 0]))
        for point in (lower, lower + 2.0**-20):
            hidden = exact_tensors(network, point)[-2]
            outputs = [
                dot(row, hidden) + Fraction(float(c))
                for row, c in zip(last.matrices[0], last.constant, strict=True)
            ]
            assert least <= 2**30 * (outputs[0] - outputs[1])


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "PRelu", "Clip", "HardSigmoid"])
def test_lines_enclose_piecewise_activations(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for seed in range(12):
        network = single_activation(name, 4, seed)
        lower = rng.normal(size=4) * 2.0 ** rng.integers(-12, 6, 4)
        upper = lower + np.abs(rng.normal(size=4)) * 2.0 ** rng.integers(-12, 6, 4) * (rng.random(4) < 0.9)
        for node in network.nodes:
            if isinstance(node.operator, ops.Linear):
                continue
            piece = Network((node,), node.inputs[0], (1, 4), network.element, b"")
            operator = layers_of(piece)[0].operator
            assert operator is not None
            assert not isinstance(operator, ops.MaxPool)
            ends = extremes(operator, np.zeros(1), np.zeros(1), lower[None], upper[None])
            inner = [np.clip(c, lower, upper) for c in (-0.5, 0.0, 0.25, 0.5, 1.0, 6.0)]
            points = [lower, upper, *inner, *sample(rng, lower, upper, 10)]
            values = [exact_tensors(piece, point)[-1] for point in points]
            chosen = slopes(operator, lower[None], upper[None])
            for slope in (*chosen, *rng.normal(size=(3, 1, 4)) * 2.0 ** rng.integers(-9, 9, (3, 1, 1))):
                floor, ceiling = extremes(operator, slope, slope, lower[None], upper[None])
                for point, value in zip(points, values, strict=True):
                    for i, (x, y) in enumerate(zip(fractions(point), value, strict=True)):
                        gap = y - Fraction(np.broadcast_to(slope, (1, 4))[0, i]) * x
                        assert Fraction(floor[0, i]) <= gap <= Fraction(ceiling[0, i])
                        assert Fraction(ends[0][0, i]) <= y <= Fraction(ends[1][0, i])


@pytest.mark.parametrize(("operator", "truth"), [(ops.Sigmoid(), true_sigmoid), (ops.Tanh(), true_tanh)])
def test_lines_enclose_smooth_activations(operator: ops.Sigmoid | ops.Tanh, truth: object) -> None:
    rng = np.random.default_rng(8)
    lower = rng.normal(size=150) * 2.0 ** rng.integers(-6, 4, 150)
    upper = lower + np.abs(rng.normal(size=150)) * 2.0 ** rng.integers(-30, 4, 150)
    lower[:40], upper[:40] = np.abs(lower[:40]), np.abs(lower[:40]) + upper[:40] - lower[:40]
    low, high = slopes(operator, lower, upper)
    for slope in (low, high, low * (1 + 1e-9), high + 2.0**-30, rng.random(150) - 0.2, np.full(150, 0.25)):
        floor, ceiling = extremes(operator, slope, slope, lower, upper)
        for share in (0.0, 1e-9, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0):
            for i, x in enumerate(np.clip(lower + share * (upper - lower), lower, upper)):
                gap = Fraction(truth(float(x))) - Fraction(slope[i]) * Fraction(x)  # type: ignore[operator]
                # `truth` has 28 digits.
                assert Fraction(floor[i]) - Fraction(1, 10**25) <= gap
                assert gap <= Fraction(ceiling[i]) + Fraction(1, 10**25)


def random_rows(rng: np.random.Generator, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    slope = (
        rng.normal(size=(1, count, n))
        * 2.0 ** rng.integers(-8, 8, (1, count, n))
        * (rng.random((1, count, n)) < 0.9)
    )
    return slope, rng.normal(size=(1, count))


@pytest.mark.parametrize("seed", range(30))
def test_contraction_keeps_every_relevant_point(seed: int) -> None:
    rng = np.random.default_rng([seed, 9])
    lower = rng.normal(size=3)
    upper = lower + rng.random(3)
    slope, shift = random_rows(rng, 3, 2)
    with np.errstate(all="ignore"):
        low, high = contract(box(lower, upper), slope, shift)
    assert (low >= lower).all()
    assert (high <= upper).all()
    for point in sample(rng, lower, upper, 60):
        x = fractions(point)
        if all(dot(slope[0, r], x) + Fraction(shift[0, r]) <= 0 for r in range(2)):
            assert all(Fraction(a) <= v <= Fraction(b) for a, v, b in zip(low[0], x, high[0], strict=True))


@pytest.mark.parametrize("seed", range(30))
def test_the_minimum_with_a_half_space_is_below_every_point_of_it(seed: int) -> None:
    rng = np.random.default_rng([seed, 10])
    lower = rng.normal(size=3)
    upper = lower + rng.random(3)
    (slope, shift), (a, k) = random_rows(rng, 3, 4), random_rows(rng, 3, 1)
    with np.errstate(all="ignore"):
        least = minimum(box(lower, upper, a, float(k[0, 0])), slope, shift)[0]
    assert (least >= minimum(box(lower, upper), slope, shift)[0]).all()
    for point in sample(rng, lower, upper, 60):
        x = fractions(point)
        if dot(a[0, 0], x) + Fraction(k[0, 0]) <= 0:
            for r in range(4):
                assert Fraction(least[r]) <= dot(slope[0, r], x) + Fraction(shift[0, r])
