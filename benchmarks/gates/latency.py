"""How much longer a gated network takes in onnxruntime: interleaved runs, ratios of medians.

One thread is measured, by its own clock, so that other programs on the machine do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime

import repairsolver as rs
from repairsolver.results import Array

BATCHES = {1: (200, 20), 1000: (40, 2)}
"""Size of a batch: how many measurements are taken, and runs in each."""


def ratios(before: rs.Network, after: rs.Network) -> dict[int, float]:
    """The ratio of median times for each size of a batch; the files' first axis is made variable."""
    sessions = [_session(network) for network in (before, after)]
    found = {}
    for size, (measurements, runs) in BATCHES.items():
        shape = (size, *before.input_shape[1:])
        feed = {before.input_name: np.random.default_rng(0).uniform(-0.3, 0.5, shape).astype(np.float32)}
        seconds: list[list[float]] = [[], []]
        for _ in range(measurements):
            for session, taken in zip(sessions, seconds, strict=True):
                started = time.thread_time()
                for _ in range(runs):
                    session.run(None, feed)
                taken.append(time.thread_time() - started)
        first, second = (float(np.median(taken)) for taken in seconds)
        found[size] = second / first
    return found


def in_batches(network: rs.Network) -> Callable[[Array], Array]:
    """The scores [b, m] of inputs [b, n] by onnxruntime, many at once."""
    session = _session(network)

    def run(points: Array) -> Array:
        shape = (len(points), *network.input_shape[1:])
        (scores, *_) = session.run(None, {network.input_name: points.astype(np.float32).reshape(shape)})
        return np.asarray(scores, dtype=np.float64)

    return run


def _session(network: rs.Network) -> onnxruntime.InferenceSession:
    model = onnx.load_from_string(network.model)
    for value in (*model.graph.input, *model.graph.output):
        if value.name in (network.input_name, model.graph.output[0].name):
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
