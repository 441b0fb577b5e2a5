"""Smear: never less than what finite differences show that an input can move."""

from __future__ import annotations

import numpy as np
import torch
from bounding import boxes
from random_networks import dense_network, random_network, sample

from repairsolver.bounds.gradient import smear
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten


def test_smear_contains_finite_differences() -> None:
    rng = np.random.default_rng(9)
    for seed in range(50):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(rng, network, 3, 1.0)
        found = root_boxes(graph, lower, upper)
        tighten(graph, found)
        rows = torch.tensor(rng.normal(size=(3, 2, network.output_size)))
        score = smear(graph, found, rows).numpy()
        width = (upper - lower).numpy()
        assert score.shape == width.shape
        for b in range(3):
            points = sample(rng, lower[b].numpy(), upper[b].numpy(), 60)
            for i in range(network.input_size):
                # The whole chord along input i: its mean slope is a slope of the range, too.
                first, second = points.copy(), points.copy()
                first[:, i], second[:, i] = lower[b, i], upper[b, i]
                moved = (network(second) - network(first)) @ rows[b].numpy().T
                reached = np.abs(moved).max(axis=0).sum()
                assert reached <= score[b, i] * (1 + 1e-9) + 1e-9, (seed, b, i)


def test_a_linear_network_has_its_gradient() -> None:
    network = dense_network(0, (3, 2))
    graph = tensor_graph(network)
    lower, upper = boxes(np.random.default_rng(1), network, 2)
    rows = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    score = smear(graph, root_boxes(graph, lower, upper), rows)
    expected = np.abs(network.nodes[0].operator.weight).sum(axis=0) * (upper - lower).numpy()
    np.testing.assert_allclose(score.numpy(), expected, atol=1e-12)
