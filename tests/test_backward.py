"""Backward linear bounds: below every sampled value, exact where the network is linear."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from bounding import ROUNDING, boxes, values
from random_networks import Draft, dense_network, random_network

from repairsolver.bounds.backward import LinearBound, pull_back
from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.network import Network


def random_rows(rng: np.random.Generator, batch: int, count: int, size: int) -> torch.Tensor:
    return torch.tensor(rng.normal(size=(batch, count, size)))


def bound_of(
    graph: TensorGraph, lower: torch.Tensor, upper: torch.Tensor, rows: dict[int, torch.Tensor]
) -> LinearBound:
    known = root_boxes(graph, lower, upper)
    tighten(graph, known)
    return pull_back(graph, known, rows)


def test_the_line_is_below_the_functional_everywhere() -> None:
    rng = np.random.default_rng(4)
    for seed in range(60):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(rng, network, 4, 1.5)
        rows = random_rows(rng, 4, 3, network.output_size)
        direct = random_rows(rng, 4, 3, network.input_size)
        bound = bound_of(graph, lower, upper, {len(graph.nodes): rows, 0: direct})
        least = bound.minimum(lower, upper).numpy()
        for b, taken in enumerate(values(rng, network, lower, upper)):
            x, y = taken[0], taken[len(graph.nodes)]
            reached = y @ rows[b].numpy().T + x @ direct[b].numpy().T
            line = x @ bound.slope[b].numpy().T + bound.shift[b].numpy()
            slack = 100 * ROUNDING * (1 + np.abs(y).max() + np.abs(line).max())
            assert (reached >= line - slack).all(), (seed, (line - reached).max())
            assert (line >= least[b] - slack).all()


def test_a_linear_network_is_bounded_exactly() -> None:
    rng = np.random.default_rng(6)
    draft = Draft(rng, (1, 2, 3))
    draft.add("Conv", ["x", draft.normal(2, 1, 2), draft.normal(2)], (1, 2, 4), group=2, pads=[1, 1])
    before = draft.current
    draft.add("AveragePool", [before], (1, 2, 4), kernel_shape=[3], pads=[1, 1])
    draft.add("Add", [draft.current, before], draft.shape)
    draft.add("Concat", [draft.current, before], (1, 4, 4), axis=1)
    draft.add("Flatten", [draft.current], (1, 16))
    draft.add("Gemm", [draft.current, draft.normal(2, 16), draft.normal(2)], (1, 2), transB=1)
    network = draft.network("linear")
    graph = tensor_graph(network)
    lower, upper = boxes(rng, network, 3)
    rows = random_rows(rng, 3, 2, 2)
    least = bound_of(graph, lower, upper, {len(graph.nodes): rows}).minimum(lower, upper)
    corners = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T
    for b in range(3):
        outputs = network(lower[b].numpy() + corners * (upper[b] - lower[b]).numpy())
        reached = (outputs @ rows[b].numpy().T).min(axis=0)
        np.testing.assert_allclose(least[b].numpy(), reached, atol=1e-9)


def test_a_network_that_is_linear_on_the_box_is_bounded_exactly() -> None:
    """Every ReLU is stable on boxes that are small enough (and not at a kink)."""
    rng = np.random.default_rng(7)
    for seed in range(20):
        network = dense_network(seed, (3, 6, 6, 2))
        graph = tensor_graph(network)
        centre = torch.tensor(rng.normal(size=(1, 3)))
        lower, upper = centre - 1e-7, centre + 1e-7
        rows = random_rows(rng, 1, 2, 2)
        bound = bound_of(graph, lower, upper, {len(graph.nodes): rows})
        points = (lower + (upper - lower) * torch.rand(20, 3, dtype=torch.float64)).numpy()
        line = points @ bound.slope[0].numpy().T + bound.shift[0].numpy()
        np.testing.assert_allclose(line, network(points) @ rows[0].numpy().T, atol=1e-10)


def test_an_output_that_does_not_depend_on_the_input() -> None:
    draft = Draft(np.random.default_rng(0), (1, 2))
    draft.add("Gemm", ["x", draft.constant(np.zeros((3, 2))), draft.normal(3)], (1, 3), transB=1)
    draft.add("Relu", [draft.current], (1, 3))
    network = draft.network("constant")
    graph = tensor_graph(network)
    box = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    bound = bound_of(graph, *box, {len(graph.nodes): torch.eye(3, dtype=torch.float64).unsqueeze(0)})
    np.testing.assert_allclose(bound.minimum(*box)[0], network(np.zeros((1, 2)))[0], atol=1e-10)


def cancelling(size: float) -> Network:
    """y = (x - 1) + size - size + ... by biases that cancel: float64 loses what is small beside them."""
    draft = Draft(np.random.default_rng(0), (1, 1))
    for weight, bias in [(1.0, size), (1.0, -size), (1.0, -1.0)]:
        names = [draft.constant([[weight]]), draft.constant([bias])]
        draft.add("Gemm", [draft.current, *names], (1, 1), transB=1)
        draft.add("LeakyRelu", [draft.current], (1, 1), alpha=1.0)
    return draft.network("cancelling")


def test_bounds_survive_cancelling_biases() -> None:
    """In real arithmetic y = x - 1 whatever the size of the biases that cancel on the way."""
    for size in (1.0, 2.0**20, 2.0**40, 2.0**60, 2.0**80):
        network = cancelling(size)
        graph = tensor_graph(network)
        box = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        rows = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
        least = bound_of(graph, *box, {len(graph.nodes): rows}).minimum(*box)[0]
        assert Fraction(float(least[0])) <= -1, size
        assert Fraction(float(least[1])) <= 0, size
