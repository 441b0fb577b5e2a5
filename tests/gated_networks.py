"""Random gates for random networks."""

from __future__ import annotations

import numpy as np

from repairsolver.network import Network
from repairsolver.network.gated import Change, Correction, NewGate, Override, gateable

GRID = 64


def random_gate(rng: np.random.Generator, network: Network, *, boxes: int | None = None) -> NewGate:
    """A gate of a random tensor, in random boxes with corners on a grid, some of them flat or unlimited."""
    nodes = gateable(network)
    node = nodes[int(rng.integers(len(nodes)))]
    count, n = boxes or int(rng.integers(1, 4)), network.input_size
    lower = np.round(GRID * rng.normal(size=(count, n))) / GRID
    upper = lower + np.round(GRID * rng.uniform(0, 1.5, (count, n))) / GRID
    free = rng.random((count, n)) < 0.2
    free[:, 0] = False
    lower, upper = np.where(free, -np.inf, lower), np.where(free, np.inf, upper)
    return NewGate(node.name, node.layer, lower, upper, random_change(rng, node.size, n))


def random_change(rng: np.random.Generator, size: int, inputs: int) -> Change:
    """An override of some entries, or a correction by one or two half-spaces."""

    def numbers(*shape: int) -> np.ndarray:
        return np.round(16 * rng.normal(size=shape)) / 16

    if rng.random() < 0.3:
        rows = int(rng.integers(1, 3))
        reads = numbers(rows, inputs) * (rng.random() < 0.5)
        return Correction(numbers(rows, size), reads, numbers(rows), numbers(rows, size))
    index = np.sort(rng.choice(size, int(rng.integers(1, min(size, 4) + 1)), replace=False))
    count = len(index)
    lower = np.where(rng.random(count) < 0.5, -np.inf, numbers(count))
    upper = np.where(rng.random(count) < 0.5, np.inf, np.maximum(lower, -1) + np.abs(numbers(count)))
    slope = np.where(rng.random(count) < 0.5, 1.0, np.round(16 * rng.random(count)) / 16)
    return Override(index, slope, numbers(count), lower, upper)


def points_near(rng: np.random.Generator, gates: list[NewGate], count: int = 60) -> np.ndarray:
    """Inputs inside of boxes, on their faces, next to faces, and anywhere, as float32 numbers."""
    n = gates[0].lower.shape[1]
    found = [rng.normal(size=(count, n))]
    for gate in gates:
        for low, high in zip(gate.lower, gate.upper, strict=True):
            low = np.where(np.isfinite(low), low, np.minimum(high, 3) - 6)
            high = np.where(np.isfinite(high), high, low + 6)
            inside = rng.uniform(low, high, (count, n))
            face = np.where(rng.random((count, n)) < 0.5, low, high)
            mixed = np.where(rng.random((count, n)) < 0.5, inside, face)
            beside = np.nextafter(mixed.astype(np.float32), np.float32(rng.choice([-9, 9])))
            found += [inside, mixed, np.where(rng.random((count, n)) < 1 / n, beside, mixed)]
    return np.concatenate(found).astype(np.float32).astype(np.float64)
