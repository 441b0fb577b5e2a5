"""MNIST test images, corrupted by fog or by an attack: made here, from the images and a seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repairsolver.network import Network, replay
from repairsolver.network.forward import activations
from repairsolver.repairing.delta.derivatives import pull
from repairsolver.results import Array

SIDE = 28
THICKNESS = 1.5
"""How much fog is added, before the image is scaled back to the range 0 to 1."""

DECAY = 1.7
"""By how much each octave of the fog is weaker than the next coarser one."""

STEPS = 10
"""Of the attack."""


def load_images(folder: Path) -> tuple[Array, np.ndarray]:
    """The 10,000 test images [10000, 784], 0 to 1, and their labels."""
    with np.load(folder / "mnist_t10k.npz", allow_pickle=False) as data:
        return data["images"] / 255.0, data["labels"].astype(np.int64)


def fog(images: Array, seed: int) -> Array:
    """Images in fog: (x + c f) / (1 + c) with clouds f, 0 to 1, another one for every image.

    Clouds are sums of octaves: random grids of 2, 3, 5, 9 and 17 points a side, interpolated.
    """
    rng = np.random.default_rng(seed)
    clouds = np.zeros((len(images), SIDE, SIDE))
    for octave in range(5):
        points = 2**octave + 1
        grid = rng.random((len(images), points, points)) / DECAY**octave
        weights = _interpolation(points)
        clouds += weights @ grid @ weights.T
    flat = clouds.reshape(len(images), -1)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    return _stored((images + THICKNESS * (flat - low) / (high - low)) / (1 + THICKNESS))


def attacked(
    network: Network, images: Array, labels: np.ndarray, radius: float, seed: int | None = None
) -> Array:
    """Images moved against the margin of their label by projected gradient steps.

    Args:
        radius: in the maximum norm.
        seed: of random starts within the radius; None: from the images themselves.

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
    """
    lower, upper = np.clip(images - radius, 0, 1), np.clip(images + radius, 0, 1)
    x = images.copy()
    if seed is not None:
        x = np.clip(x + np.random.default_rng(seed).uniform(-radius, radius, x.shape), lower, upper)
    for _ in range(STEPS):
        for start in range(0, len(x), 500):
            part = slice(start, start + 500)
            values = activations(network, x[part])
            name = network.output.name
            scores = values[name].copy()
            rows = np.arange(len(scores))
            scores[rows, labels[part]] = -np.inf
            rival = scores.argmax(axis=1)
            back = pull(network, values, np.eye(network.output_size), name, {network.input_name})
            gradient = back[network.input_name]
            uphill = gradient[rows, rival] - gradient[rows, labels[part]]
            x[part] = np.clip(x[part] + radius / 4 * np.sign(uphill), lower[part], upper[part])
    return _stored(x)


def decided(network: Network, images: Array) -> np.ndarray:
    """The decisions of the network's file."""
    return replay(network, images).argmax(axis=1)


def _interpolation(points: int) -> Array:
    """Linear interpolation from `points` values at equal distances to the pixels, [28, points]."""
    place = np.linspace(0, points - 1, SIDE)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(points)[None]))


def _stored(images: Array) -> Array:
    """As float32 holds them."""
    return images.astype(np.float32).astype(np.float64)
