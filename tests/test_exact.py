"""Exact programs of a box against z3 and brute force; sound where the program is a relaxation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from exact_oracle import can_be_violated
from random_networks import dense_network, random_network, random_property, sample

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.network import Network
from repairsolver.network import operators as ops
from repairsolver.property import Conjunction, Property, Region
from repairsolver.verification.exact import Answer, Rows, largest_violation

# What the answer may lack, relative to the size of the rows: the solver's tolerances.
TOLERANCE = 1e-4


def known_bounds(network: Network, lower: np.ndarray, upper: np.ndarray) -> dict:
    graph = tensor_graph(network)
    boxes = root_boxes(graph, torch.tensor(lower[None]), torch.tensor(upper[None]))
    tighten(graph, boxes)
    names = [network.input_name, *(node.name for node in network.nodes)]
    return {names[k]: (low[0].numpy(), high[0].numpy()) for k, (low, high) in boxes.known.items()}


def ask(network: Network, region: Region, conjunction: Conjunction, seconds: float = 20.0) -> Answer:
    known = known_bounds(network, region.lower, region.upper)
    rows = Rows(conjunction.output, conjunction.input, conjunction.bound)
    return largest_violation(network, region.lower, region.upper, rows, known, seconds=seconds)


def single(network: Network, region: Region, conjunction: Conjunction) -> Property:
    part = Region(region.lower, region.upper, (conjunction,))
    return Property((part,), network.input_size, network.output_size)


def test_the_answer_is_that_of_z3() -> None:
    """Random networks of all piecewise-linear operators, thresholds near the truth."""
    seen: set[type] = set()
    possible = impossible = 0
    for seed in range(45):
        network = random_network(seed, smooth=False)
        prop = random_property(seed, network, regions=1)
        region = prop.regions[0]
        for conjunction in region.unsafe:
            answer = ask(network, region, conjunction)
            assert answer.finished
            query = single(network, region, conjunction)
            truth = can_be_violated(network, query)
            if truth is None:
                continue
            assert not (answer.impossible and truth), seed
            clear = can_be_violated(network, query, relaxed=2 * TOLERANCE)
            assert answer.impossible or clear or truth, seed
            if truth:
                found = conjunction.violation(answer.point[None], network(answer.point[None]))[0]
                assert found >= -TOLERANCE, seed
                assert found == pytest.approx(-answer.bound, abs=TOLERANCE)
            possible, impossible = possible + truth, impossible + (not truth)
            seen |= {type(node.operator) for node in network.nodes}
    assert possible > 20
    assert impossible > 20
    assert seen >= {
        ops.Dense, ops.Conv, ops.Scale, ops.Select, ops.Sum, ops.Concat, ops.Relu, ops.LeakyRelu, ops.Clip,
        ops.MaxPool,
    }  # fmt: skip


def test_the_largest_violation_of_one_input_is_at_a_kink() -> None:
    """With one input the output is piecewise linear in it: a dense grid and the kinks find the optimum."""
    for seed in range(12):
        network = dense_network(seed, (1, 4, 4, 1))
        lower, upper = np.array([-2.0]), np.array([2.0])
        conjunction = Conjunction(np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1))
        answer = ask(network, Region(lower, upper, (conjunction,)), conjunction)
        points = np.linspace(-2, 2, 200_001)[:, None]
        least = network(points).min()
        assert answer.bound == pytest.approx(least, abs=1e-3)
        assert answer.bound <= least + 1e-6
        assert answer.impossible == (answer.bound > TOLERANCE)


@pytest.mark.parametrize("smooth", ["Sigmoid", "Tanh"])
def test_smooth_networks_are_never_declared_safe_wrongly(smooth: str) -> None:
    rng = np.random.default_rng(5)
    claims = 0
    for seed, width in itertools.product(range(4), (0.1, 1.0)):
        network = dense_network(seed, (2, 4, 3, 1), smooth)
        centre = rng.normal(size=2)
        lower, upper = centre - width, centre + width
        points = sample(rng, lower, upper, 4000)
        least = float(network(points).min())
        for offset in (-0.3, -0.02, 0.0, 0.05):
            conjunction = Conjunction(np.ones((1, 1)), np.zeros((1, 2)), np.array([least + offset]))
            answer = ask(network, Region(lower, upper, (conjunction,)), conjunction)
            claims += answer.impossible
            assert not (answer.impossible and offset >= 0)
            assert answer.bound <= -offset + 1e-6
    assert claims > 6


def test_random_networks_with_smooth_activations_are_sound() -> None:
    rng = np.random.default_rng(6)
    claims = 0
    for seed in range(25):
        network = random_network(seed)
        region = random_property(seed, network, regions=1).regions[0]
        points = sample(rng, region.lower, region.upper, 2000)
        for conjunction in region.unsafe:
            answer = ask(network, region, conjunction)
            worst = conjunction.violation(points, network(points)).max()
            claims += answer.impossible
            assert not (answer.impossible and worst >= 0), seed
            assert answer.bound <= -worst + 1e-5, seed
    assert claims > 10


def test_a_box_of_one_point() -> None:
    for seed in range(20):
        network = random_network(seed)
        point = np.round(64 * np.random.default_rng(seed).normal(size=network.input_size)) / 64
        value = network(point)
        for offset in (-0.01, 0.01):
            row = np.eye(network.output_size)[:1]
            conjunction = Conjunction(row, np.zeros((1, network.input_size)), value[:1] + offset)
            answer = ask(network, Region(point, point, (conjunction,)), conjunction)
            assert answer.impossible == (offset < 0), seed
            assert answer.bound == pytest.approx(-offset, abs=1e-5)


def test_out_of_time_is_not_a_proof() -> None:
    network = dense_network(3, (6, 40, 40, 1))
    conjunction = Conjunction(np.ones((1, 1)), np.zeros((1, 6)), np.array([-1.0]))
    answer = ask(network, Region(-np.ones(6), np.ones(6), (conjunction,)), conjunction, seconds=0.01)
    assert not answer.finished
    assert not answer.impossible
