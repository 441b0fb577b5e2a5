"""Shared by the tests of bounds: boxes as tensors, sampled values of every tensor of a network."""

from __future__ import annotations

import numpy as np
import torch
from random_networks import random_box, sample

from repairsolver.network import Network
from repairsolver.network.forward import activations

# Sampled values are rounded themselves: relative to the largest value on the way.
ROUNDING = 1e-12


def boxes(
    rng: np.random.Generator, network: Network, count: int, width: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Several random boxes [b, n], of widths up to `width` and one of no width at all."""
    pairs = [random_box(rng, network, width * 2.0**-k) for k in range(count)]
    lower, upper = (np.stack([pair[k] for pair in pairs]) for k in (0, 1))
    upper[-1] = lower[-1]
    return torch.tensor(lower), torch.tensor(upper)


def values(
    rng: np.random.Generator, network: Network, lower: torch.Tensor, upper: torch.Tensor, count: int = 200
) -> list[dict[int, np.ndarray]]:
    """For every box, the values [count, size] of every tensor, by position, at sampled points."""
    names = [network.input_name, *(node.name for node in network.nodes)]
    found = []
    for low, high in zip(lower.numpy(), upper.numpy(), strict=True):
        taken = activations(network, sample(rng, low, high, count))
        found.append({k: taken[name] for k, name in enumerate(names)})
    return found


def assert_inside(taken: np.ndarray, low: torch.Tensor, high: torch.Tensor, what: object = "") -> None:
    """Sampled values [count, size] lie within bounds [size]."""
    slack = ROUNDING * (1 + np.abs(taken).max(initial=0.0))
    assert (taken >= low.numpy() - slack).all(), (what, float((low.numpy() - taken).max()))
    assert (taken <= high.numpy() + slack).all(), (what, float((taken - high.numpy()).max()))
