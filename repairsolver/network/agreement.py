"""Does the graph compute what onnxruntime computes from the same file?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from repairsolver.errors import NetworkError, SoundnessError
from repairsolver.network.forward import activations, apply
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay
from repairsolver.results import Array

SCALES = (0.01, 0.1, 1.0, 10.0, 1000.0)
PER_SCALE = 4
ROUNDINGS = 500.0
"""Roundings of the largest number in the network that the outputs may differ by; measured: up to 120."""
NUDGES = 3
"""Random courses that are compared: in one of them changes may cancel."""
AMPLIFICATION = 50.0
"""By how much more than once rounded tensors the sums inside a layer may lose."""


def check_agreement(network: Network, seed: int = 0) -> None:
    """Compare the float64 forward pass with onnxruntime on 20 random inputs of several magnitudes.

    The tolerance at a point is what float arithmetic may lose: 500 units of rounding (2^-24, or 2^-53
    for float64 files) of the largest absolute value of any tensor there, plus 50 times the change of
    the output when every tensor is rounded once, or moved by up to one rounding at random (a
    saturated activation is a whole number, which rounding leaves as it is, and a runtime may miss). The
    second term is for networks that amplify rounding: it is measured at the same point.

    Raises:
        SoundnessError: they differ by more; names the largest difference.
        NetworkError: float arithmetic overflows at all of the inputs.
    """
    points = random_points(network, seed)
    with np.errstate(over="ignore", invalid="ignore"):  # large inputs may overflow: such points say nothing
        values = activations(network, points)
    expected, found = values[network.output.name], replay(network, points)
    if found.shape != expected.shape:
        raise SoundnessError(
            f"{network.name}: onnxruntime returns {found.shape[1]} numbers per input, the graph "
            f"{expected.shape[1]}; please report the file"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = tolerance(network, points, values)
        difference = np.abs(found - expected).max(axis=1)
    telling = np.flatnonzero(np.isfinite(allowed))
    if not telling.size:
        raise NetworkError(
            f"{network.name}: its numbers overflow {network.element} at every random input, so it cannot "
            "be compared with onnxruntime; check its weights"
        )
    excess = np.where(np.isnan(difference), np.inf, difference)[telling] - allowed[telling]
    if excess.max() > 0:
        worst = telling[int(np.argmax(excess))]
        raise SoundnessError(
            f"{network.name}: our forward pass and onnxruntime differ by {difference[worst]:.3g} at a random "
            f"input (rounding explains {allowed[worst]:.3g}), so nothing computed from this file could be "
            "trusted. Please report the file; a re-export with another opset may help"
        )


def random_points(network: Network, seed: int) -> Array:
    """Normal inputs of several magnitudes, [b, n], as numbers of the network's element type."""
    noise = np.random.default_rng(seed).standard_normal((len(SCALES), PER_SCALE, network.input_size))
    points = (noise * np.reshape(SCALES, (-1, 1, 1))).reshape(-1, network.input_size)
    return np.asarray(points.astype(network.element), dtype=np.float64)


def tolerance(network: Network, points: Array, values: Mapping[str, Array]) -> Array:
    """What rounding may explain at each point, [b]; infinite or NaN where float arithmetic overflows."""
    largest = np.max([np.abs(value).max(axis=1) for value in values.values()], axis=0)
    unit = float(np.finfo(network.element).eps) / 2
    exact = values[network.output.name]
    courses = [rounded(network, points), *(nudged(network, points, unit, seed) for seed in range(NUDGES))]
    change = np.max([np.abs(course - exact).max(axis=1) for course in courses], axis=0)
    return np.asarray(ROUNDINGS * unit * largest + AMPLIFICATION * change, dtype=np.float64)


def rounded(network: Network, points: Array) -> Array:
    """The outputs when every tensor on the way is rounded to the network's element type."""
    return _changed(network, points, lambda exact: exact.astype(network.element).astype(np.float64))


def nudged(network: Network, points: Array, unit: float, seed: int) -> Array:
    """The outputs when every number on the way is moved by a share of at most `unit` at random."""
    rng = np.random.default_rng(seed)
    return _changed(network, points, lambda exact: exact * (1 + unit * rng.uniform(-1, 1, exact.shape)))


def _changed(network: Network, points: Array, change: Callable[[Array], Array]) -> Array:
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    values = {network.input_name: points}
    for node in network.nodes:
        values[node.name] = change(
            apply(node, [values[name] for name in node.inputs], shapes[node.inputs[0]])
        )
    return values[network.output.name]
