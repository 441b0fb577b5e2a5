"""Interval bounds: no sampled value of any tensor ever escapes, and single operators are tight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bounding import assert_inside, boxes, values
from random_networks import Draft, dense_network, random_network, single_activation

from repairsolver.bounds.interval import interval_bounds
from repairsolver.bounds.tensors import tensor_graph


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("width", [0.01, 1.0, 30.0])
def test_no_value_escapes(width: float, softmax: bool) -> None:
    rng = np.random.default_rng(int(10 * width))
    for seed in range(40):
        network = random_network(seed, softmax=softmax)
        lower, upper = boxes(rng, network, 4, width)
        found = interval_bounds(tensor_graph(network), lower, upper)
        for b, taken in enumerate(values(rng, network, lower, upper, 60)):
            for k, (low, high) in enumerate(found):
                assert (low <= high).all()
                assert_inside(taken[k], low[b], high[b], (seed, k))


def test_one_dense_layer_is_exact() -> None:
    """The bounds of W x + b are attained at corners."""
    network = dense_network(3, (4, 5))
    lower, upper = boxes(np.random.default_rng(0), network, 5)
    low, high = interval_bounds(tensor_graph(network), lower, upper)[-1]
    corners = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
    for b in range(5):
        points = lower[b].numpy() + corners * (upper[b] - lower[b]).numpy()
        reached = network(points)
        np.testing.assert_allclose(low[b].numpy(), reached.min(axis=0), atol=1e-10)
        np.testing.assert_allclose(high[b].numpy(), reached.max(axis=0), atol=1e-10)


@pytest.mark.parametrize("operator", ["Relu", "LeakyRelu", "PRelu", "Clip", "HardSigmoid", "Sigmoid", "Tanh"])
def test_activations_of_the_input_are_exact(operator: str) -> None:
    """Compared with the least and largest value on a dense grid with the kink 0 in it."""
    for seed in range(6):
        network = single_activation(operator, 3, seed)
        lower = torch.tensor([[-2.0, -0.5, 0.25]], dtype=torch.float64)
        upper = torch.tensor([[-0.5, 1.5, 3.0]], dtype=torch.float64)
        low, high = interval_bounds(tensor_graph(network), lower, upper)[-1]
        points = lower.numpy() + np.linspace(0, 1, 401)[:, None] * (upper - lower).numpy()
        reached = network(points)
        np.testing.assert_allclose(low[0].numpy(), reached.min(axis=0), atol=1e-10)
        np.testing.assert_allclose(high[0].numpy(), reached.max(axis=0), atol=1e-10)


def test_a_pool_takes_the_largest_bounds() -> None:
    draft = Draft(np.random.default_rng(0), (1, 1, 4))
    draft.add("MaxPool", ["x"], (1, 1, 3), kernel_shape=[3], strides=[1], pads=[0, 1])
    lower = torch.tensor([[-4.0, -1.0, 0.0, -2.0]], dtype=torch.float64)
    upper = torch.tensor([[5.0, -0.5, 1.0, -1.0]], dtype=torch.float64)
    low, high = interval_bounds(tensor_graph(draft.network("pool")), lower, upper)[-1]
    np.testing.assert_allclose(low[0].numpy(), [0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(high[0].numpy(), [5, 1, 1], atol=1e-12)
