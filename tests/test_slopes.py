"""Optimised slopes: never looser than what was known, valid for sampled values, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bounding import assert_inside, boxes, values
from random_networks import dense_network, random_network

from repairsolver.bounds.backward import Boxes, pull_back
from repairsolver.bounds.relaxation import relax, relax_with
from repairsolver.bounds.slopes import Parameter, climb, tighten_slopes
from repairsolver.bounds.tensors import apply_activation, tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten


def tightened(network, lower, upper, *, steps=12, memory=2.5e8) -> tuple[Boxes, Boxes]:
    """Plain backward bounds, and those with optimised slopes."""
    graph = tensor_graph(network)
    plain = root_boxes(graph, lower, upper)
    tighten(graph, plain)
    better = Boxes(lower, upper, dict(plain.known))
    tighten_slopes(graph, tensor_graph(network, torch.float32), better, steps=steps, memory=memory)
    return plain, better


def test_climb_finds_each_maximum_within_its_interval() -> None:
    peaks = torch.tensor([-2.0, 0.25, 0.75, 3.0])

    def value(leaves: list[torch.Tensor]) -> torch.Tensor:
        return -((leaves[0][:, 0] - peaks) ** 2)

    start = torch.full((4, 1), 0.5)
    (best,), height = climb(value, [Parameter(start, 0.1, 0.0, 1.0)], 150)
    assert torch.allclose(best[:, 0], peaks.clamp(0, 1), atol=0.02)
    assert (height >= value([start])).all()


def test_climb_never_returns_worse_than_the_start() -> None:
    def value(leaves: list[torch.Tensor]) -> torch.Tensor:
        return -leaves[0][:, 0].abs() * 100

    (best,), height = climb(value, [Parameter(torch.zeros(3, 1), 1.0)], 7)
    assert (best == 0).all()
    assert (height == 0).all()


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu"])
def test_every_share_keeps_the_relaxation_sound(operator: str) -> None:
    rng = np.random.default_rng(1)
    for seed in range(40):
        network = dense_network(seed, [3, 12, 2], operator)
        node = tensor_graph(network).nodes[1]
        lower = torch.tensor(rng.normal(size=(1, 12)) - 0.5)
        upper = lower + torch.tensor(rng.random((1, 12)) * 2)
        share = torch.tensor(rng.random((1, 5, 12)))
        bent = (lower < 0) & (upper > 0)
        lines = relax_with(node, relax(node, lower, upper), bent, share)
        for part in np.linspace(0, 1, 21):
            x = lower + (upper - lower) * part
            y = apply_activation(node, x)
            assert (lines.lower_slope * x + lines.lower_shift <= y + 1e-12).all()
            assert (lines.upper_slope * x + lines.upper_shift >= y - 1e-12).all()


def test_no_value_escapes_and_nothing_becomes_looser() -> None:
    rng = np.random.default_rng(2)
    tighter = 0
    for seed in range(80):
        network = random_network(seed)
        lower, upper = (corner[:1] for corner in boxes(rng, network, 2, 2.0))
        plain, better = tightened(network, lower, upper)
        taken = values(rng, network, lower, upper, 150)[0]
        for source, (low, high) in better.known.items():
            assert (low <= high).all()
            assert (low >= plain.known[source][0]).all()
            assert (high <= plain.known[source][1]).all()
            assert_inside(taken[source], low[0], high[0], (seed, source))
            tighter += int((high - low < 0.98 * (plain.known[source][1] - plain.known[source][0])).sum())
    assert tighter > 10


def test_deep_networks_gain_much_and_blocks_change_nothing() -> None:
    network = dense_network(3, [6, 24, 24, 24, 24, 3])
    rng = np.random.default_rng(3)
    lower, upper = (corner[:1] for corner in boxes(rng, network, 2, 2.0))
    plain, better = tightened(network, lower, upper)
    last = max(better.known)
    width = [float((b.known[last][1] - b.known[last][0]).mean()) for b in (plain, better)]
    assert width[1] < 0.97 * width[0]
    _, blocks = tightened(network, lower, upper, memory=2e4)
    assert torch.allclose(blocks.known[last][0], better.known[last][0], rtol=0.05, atol=0.05)
    _, again = tightened(network, lower, upper)
    for source, (low, high) in better.known.items():
        assert torch.equal(low, again.known[source][0])
        assert torch.equal(high, again.known[source][1])


def test_a_deadline_that_has_passed_keeps_what_is_known() -> None:
    network = dense_network(4, [4, 10, 10, 2])
    graph = tensor_graph(network)
    found = root_boxes(graph, -torch.ones(1, 4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64))
    before = dict(found.known)
    tighten_slopes(graph, tensor_graph(network, torch.float32), found, until=0.0)
    assert all(torch.equal(found.known[k][0], before[k][0]) for k in before)


def test_a_guide_differs_from_the_proof_by_rounding_only() -> None:
    network = dense_network(5, [4, 10, 10, 2])
    graph = tensor_graph(network)
    found = root_boxes(graph, -torch.ones(1, 4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64))
    rows = {len(graph.nodes): torch.eye(2, dtype=torch.float64).unsqueeze(0)}
    seen: dict[int, torch.Tensor] = {}
    proof, guide = pull_back(graph, found, rows), pull_back(graph, found, rows, guide=True, seen=seen)
    assert torch.equal(proof.slope, guide.slope)
    assert (proof.shift < guide.shift).all()
    assert torch.allclose(proof.shift, guide.shift, rtol=1e-9)
    assert sorted(seen) == [2, 4]
