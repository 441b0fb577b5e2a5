"""Balls around MNIST images: which of them an attack violates, as properties, and who proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.mnist_points.images import decided
from repairsolver.network.forward import activations
from repairsolver.repairing.delta.derivatives import pull
from repairsolver.results import Array

STEPS, STARTS = 20, 2
"""Of the attack that chooses the balls: steps of a path, and paths of every image (the first from itself)."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class Balls:
    """Images [k, 784] with labels [k]; each stands for the ball of the radius around it, within [0, 1]."""

    images: Array
    labels: np.ndarray
    radius: float

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice) -> Balls:
        return Balls(self.images[index], self.labels[index], self.radius)

    def property(self, numbers: Sequence[int] | None = None) -> rs.Property:
        """No other output reaches the label's in any ball (of these): one region for each."""
        regions = []
        for number in range(len(self)) if numbers is None else numbers:
            image, label = self.images[number], int(self.labels[number])
            ball = rs.local_robustness(image, self.radius, label, outputs=10, lower=0.0, upper=1.0)
            regions += ball.regions
        return rs.Property(tuple(regions), self.images.shape[1], 10, name=f"{len(regions)} balls")


def violated_balls(
    network: rs.Network, images: Array, labels: np.ndarray, radius: float, *, most: int, seed: int
) -> Balls:
    """The first balls in which the attack finds another decision than that, right, of the image."""
    chosen: list[int] = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        right = decided(network, images[part]) == labels[part]
        wrong = attack(network, images[part], labels[part], radius, seed)
        chosen += (start + np.flatnonzero(right & wrong)).tolist()
        if len(chosen) >= most:
            break
    return Balls(images[chosen[:most]], labels[chosen[:most]], radius)


def attack(network: rs.Network, images: Array, labels: np.ndarray, radius: float, seed: int) -> np.ndarray:
    """Whether projected gradient steps find an input in the ball that is decided otherwise, [b].

    Every input counts only by the outputs of onnxruntime, run on the network's file.

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
    """
    rng = np.random.default_rng(seed)
    lower, upper = np.clip(images - radius, 0, 1), np.clip(images + radius, 0, 1)
    found = np.zeros(len(images), dtype=bool)
    for start in range(STARTS):
        x = images if start == 0 else rng.uniform(lower, upper)
        for step in range(STEPS):
            uphill = _uphill(network, x, labels)
            x = np.clip(x + 0.5 * radius * 0.85**step * np.sign(uphill), lower, upper)
        inside = np.clip(x.astype(np.float32).astype(np.float64), lower, upper)
        found |= decided(network, inside) != labels
    return found


def _uphill(network: rs.Network, x: Array, labels: np.ndarray) -> Array:
    """The gradient of the strongest other output less the label's, [b, 784]."""
    values, name = activations(network, x), network.output.name
    scores, rows = values[name].copy(), np.arange(len(x))
    scores[rows, labels] = -np.inf
    rival = scores.argmax(axis=1)
    back = pull(network, values, np.eye(network.output_size), name, {network.input_name})
    gradient = back[network.input_name]
    return np.asarray(gradient[rows, rival] - gradient[rows, labels])


def proved_balls(file: Path, balls: Balls, *, seconds: float, seed: int = 0) -> list[str]:
    """What the verifier says of each ball, one by one, about the network of a file."""
    network = rs.load_network(file)
    limits = rs.Limits(seconds=seconds)
    return [
        str(rs.verify(network, balls.property([number]), limits=limits, seed=seed).status)
        for number in range(len(balls))
    ]
