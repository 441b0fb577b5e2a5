"""What the ONNX file computes: onnxruntime on the network's own bytes, one thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from repairsolver.errors import NetworkError
from repairsolver.network.graph import Network
from repairsolver.results import Array
from repairsolver.signatures import typed

CHUNK_ENTRIES = 2**22
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
    runtime.RuntimeException,
    ValueError,
)


@typed
def replay(network: Network, points: Array) -> Array:
    """Run the network's file on points, cast to its element type.

    A file with a symbolic first axis runs in batches if its rows are independent (tried once per
    network), else point by point. Within a batch the last bits may depend on the batch's size, so what
    is reported as a counterexample should be replayed by itself.

    Args:
        points: [b, n].

    Returns:
        [b, m] in float64.

    Raises:
        NetworkError: the points do not have n entries each, or onnxruntime refuses to run.
    """
    if np.ndim(points) != 2 or np.shape(points)[1] != network.input_size:
        raise NetworkError(
            f"{network.name}: expected points with {network.input_size} entries each, "
            f"got an array of shape {np.shape(points)}"
        )
    cast = np.ascontiguousarray(points, dtype=network.element)
    try:
        batch = batched(network.model, network.input_shape)
        step = max(1, CHUNK_ENTRIES // widest(network)) if batch else 1
        run = runner(network.model, network.input_shape)
        parts = [run(cast[i : i + step]) for i in range(0, len(cast), step)]
    except RUNTIME_ERRORS as error:
        raise NetworkError(f"{network.name}: onnxruntime cannot run the network: {error}") from error
    return np.concatenate(parts) if parts else np.zeros((0, network.output_size))


def widest(network: Network) -> int:
    """Entries of the largest tensor: what one point of a batch needs."""
    return max(network.input_size, *(node.size for node in network.nodes))


@lru_cache(maxsize=16)
def session(model: bytes) -> onnxruntime.InferenceSession:
    """The onnxruntime session of a model: CPU, one thread, silent."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The fallback would retry the same provider and print about it on stdout.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


@lru_cache(maxsize=16)
def runner(model: bytes, shape: tuple[int, ...]) -> Callable[[NDArray[Any]], Array]:
    """A function from [b, n] points, as a tensor whose first axis is b times as long, to [b, m] outputs."""
    running = session(model)
    name = running.get_inputs()[0].name
    outputs = [running.get_outputs()[0].name]

    def run(points: NDArray[Any]) -> Array:
        axes = (len(points) * shape[0], *shape[1:]) if shape else ()
        (result,) = running.run(outputs, {name: points.reshape(axes)})
        return np.asarray(result, dtype=np.float64).reshape(len(points), -1)

    return run


@lru_cache(maxsize=64)
def batched(model: bytes, shape: tuple[int, ...]) -> bool:
    """Whether a longer first axis means independent points; found by trying three."""
    entry = session(model).get_inputs()[0]
    if not shape or shape[0] != 1 or isinstance(entry.shape[0], int):
        return False
    element = np.float64 if entry.type == "tensor(double)" else np.float32
    points = np.random.default_rng(0).standard_normal((3, prod(shape))).astype(element)
    run = runner(model, shape)
    single = np.concatenate([run(points[i : i + 1]) for i in range(3)])
    try:
        together = run(points)
    except RUNTIME_ERRORS:
        return False
    size = 1e-4 * max(1.0, float(np.abs(single).max(initial=0.0)))
    with np.errstate(invalid="ignore"):  # outputs that overflow are not comparable, so not independent
        apart = (
            float(np.abs(together - single).max(initial=0.0)) if together.shape == single.shape else np.inf
        )
    return bool(apart <= size)
