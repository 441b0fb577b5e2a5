"""Optimised slopes: never looser than what was known, valid for sampled values, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bounding import assert_inside, boxes, values
from float32_runs import WAYS, execute
from random_networks import dense_network, random_network

from repairsolver.bounds.backward import Boxes, pull_back
from repairsolver.bounds.constrained import ConstrainedBox, find_kinks
from repairsolver.bounds.refreshing import refreshing
from repairsolver.bounds.slopes import Parameter, climb, tighten_slopes
from repairsolver.bounds.tensors import apply_activation, tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.bounds.turning import turning
from repairsolver.network import Network
from repairsolver.network import operators as ops
from repairsolver.network.graph import Node


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


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu", "Sigmoid", "Tanh"])
@pytest.mark.parametrize("width", [1e-9, 1e-4, 0.5, 2.0, 30.0])
def test_every_share_keeps_the_relaxation_sound(operator: str, width: float) -> None:
    rng = np.random.default_rng(1)
    # The rounding of chords is counted elsewhere; that of smooth functions is within their lines.
    slack = 1e-12 if operator.endswith("Relu") else 1e-15
    for seed in range(20):
        network = dense_network(seed, [3, 12, 2], operator)
        node = tensor_graph(network).nodes[1]
        lower = torch.tensor(rng.normal(size=(1, 12)) * 3)
        upper = lower + torch.tensor(rng.random((1, 12)) * width)
        share = torch.tensor(rng.random((1, 5, 12)))
        share[:, 0], share[:, 1] = 0.0, 1.0
        lines = turning(node, lower, upper)(share)
        for part in np.linspace(0, 1, 81):
            x = lower + (upper - lower) * part
            y = apply_activation(node, x)
            assert (lines.lower_slope * x + lines.lower_shift <= y + slack).all()
            assert (lines.upper_slope * x + lines.upper_shift >= y - slack).all()


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh"])
def test_tangents_touch_the_function(operator: str) -> None:
    """No line can be moved closer: somewhere on the interval it meets the function."""
    rng = np.random.default_rng(6)
    node = tensor_graph(dense_network(1, [3, 40, 2], operator)).nodes[1]
    lower = torch.tensor(rng.normal(size=(1, 40)) * 2 - 1)
    upper = lower + torch.tensor(rng.random((1, 40)) * 4)
    x = lower + (upper - lower) * torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    y = apply_activation(node, x)
    for share in (0.0, 0.3, 1.0):
        lines = turning(node, lower, upper)(torch.full_like(lower, share))
        above = lines.upper_slope * x + lines.upper_shift - y
        below = y - lines.lower_slope * x - lines.lower_shift
        assert float(above.amin(dim=0).max()) < 1e-6
        assert float(below.amin(dim=0).max()) < 1e-6


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh"])
def test_smooth_networks_gain_and_no_value_escapes(operator: str) -> None:
    rng = np.random.default_rng(7)
    for seed in range(4):
        network = dense_network(seed, [4, 12, 12, 12, 3], operator)
        lower, upper = (corner[:1] for corner in boxes(rng, network, 2, 2.0))
        plain, better = tightened(network, lower, upper)
        taken = values(rng, network, lower, upper, 2000)[0]
        for source, (low, high) in better.known.items():
            assert_inside(taken[source], low[0], high[0], (seed, source))
        last = max(better.known)
        width = [float((b.known[last][1] - b.known[last][0]).mean()) for b in (plain, better)]
        assert width[1] < 0.9 * width[0], seed


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


def cancelling() -> Network:
    """At the point 1 every neuron but the first is 0 in real arithmetic, and of either sign in float32."""
    weights = np.linspace(0.5, 3.0, 16)[:, None]
    first = ops.Dense(np.array([[1.0], [1.0]]), np.array([0.0, -1.0]))
    second = ops.Dense(np.hstack([weights, 0 * weights]), -weights[:, 0])
    last = ops.Dense(np.ones((1, 16)), np.zeros(1))
    nodes, name = [], "x"
    for number, operator in enumerate([first, ops.Relu(), second, ops.Relu(), last]):
        size = len(operator.bias) if isinstance(operator, ops.Dense) else nodes[-1].shape[1]
        nodes.append(Node(f"n{number}", operator, (name,), (1, size)))
        name = f"n{number}"
    return Network(tuple(nodes), "x", (1, 1), np.dtype(np.float32), b"")


def test_no_float32_execution_leaves_the_bounds() -> None:
    """Of neurons on the whole box, and bounded anew: each layer's own rounding counts."""
    rng, network = np.random.default_rng(9), cancelling()
    graph = tensor_graph(network, arithmetic="float32")
    corner = torch.ones(1, 1, dtype=torch.float64)
    found = root_boxes(graph, corner, corner)
    wide = dict(found.known)
    slopes = tighten_slopes(graph, tensor_graph(network, torch.float32), found, steps=4)
    box = ConstrainedBox(graph, Boxes(corner, corner, wide), find_kinks(graph, wide))
    assert box.total == 17
    split = torch.zeros(1, dtype=torch.int64)
    low, high = refreshing(box, slopes, rows=1e9).refresh(*box.ranges(), split)
    for way in [*WAYS, *["limit"] * 50]:
        run = execute(rng, network, corner[0].numpy(), way)
        for source, (least, most) in found.known.items():
            assert_inside(run[source][None], least[0], most[0], way)
        for k in box.kinks:
            taken = run[k.source][k.entries]
            assert (taken >= low[0, k.part].numpy()).all(), way
            assert (taken <= high[0, k.part].numpy()).all(), way
