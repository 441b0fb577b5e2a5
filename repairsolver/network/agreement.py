"""Does the graph compute what onnxruntime computes from the same file?"""

from __future__ import annotations

import numpy as np

from repairsolver.errors import SoundnessError
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay

SCALES = (0.01, 0.1, 1.0, 10.0, 1000.0)
PER_SCALE = 4
ROUNDING = 200.0
"""Roundings of the largest number in the network that outputs may differ by; measured: below 20."""


def check_agreement(network: Network, seed: int = 0) -> None:
    """Compare the float64 forward pass with onnxruntime on 20 random inputs of several magnitudes.

    The tolerance at a point is 200 units of rounding (2^-24, or 2^-53 for float64 files) of the
    largest absolute value of any tensor at that point: what float arithmetic loses, and no more.

    Raises:
        SoundnessError: they differ by more; names the largest difference.
    """
    random = np.random.default_rng(seed)
    noise = random.standard_normal((len(SCALES), PER_SCALE, network.input_size))
    points = (noise * np.reshape(SCALES, (-1, 1, 1))).reshape(-1, network.input_size)
    points = points.astype(network.element).astype(np.float64)
    with np.errstate(over="ignore"):
        values = activations(network, points)
    largest = np.max([np.abs(value).max(axis=1, initial=0.0) for value in values.values()], axis=0)
    difference = np.abs(replay(network, points) - values[network.output.name]).max(axis=1)
    allowed = ROUNDING * float(np.finfo(network.element).eps) / 2 * np.maximum(largest, 1e-30)
    if not (difference <= allowed).all():
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference / allowed)))
        raise SoundnessError(
            f"{network.name}: our forward pass and onnxruntime differ by {difference[worst]:.3g} at a random "
            f"input (rounding explains {allowed[worst]:.3g}), so nothing computed from this file could be "
            "trusted. Please report the file; a re-export with another opset may help"
        )
