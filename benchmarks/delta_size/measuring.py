"""One size: the layer, the points, the least change, and what it takes."""

from __future__ import annotations

import resource
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from repairsolver.network import Network, load_network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.resumed import Resumed

WRONG = 0.02
"""The share of the points whose label is not what the layer decides; at least one."""

NOISE = 0.5
"""Standard deviation of the features around the mean of their class, whose entries have deviation 1."""

MARGIN = 1e-3


def measure(width: int, classes: int, points: int, norm: str, timeout: float, seed: int) -> dict[str, object]:
    """The least change of one layer for one set of points."""
    network, given = instance(width, classes, points, seed)
    base, started = peak(), time.perf_counter()
    requirements = Requirements(network, find_layer(network))
    add_points(requirements, Property((), width, classes), given, None, "max")
    ready = time.perf_counter()
    objective = objective_for(requirements.layer, Aim(norm))
    solver = "projection" if norm == "l2" else "highs"
    problem = LeastChange(requirements, MARGIN, objective, solver, deadline=ready + timeout, seed=seed)
    problem.resumed = Resumed(solver, seed)
    found = optimise(problem, shared=False)
    seconds = time.perf_counter() - ready
    return {
        "width": width,
        "classes": classes,
        "points": points,
        "norm": norm,
        "status": found.status,
        "cost": found.cost,
        "lower_bound": found.bound,
        "entries": None if found.delta is None else int(np.count_nonzero(found.delta)),
        "rows_used": problem.rows_used,
        "missed": None if found.delta is None else missed(requirements, found.delta),
        "requirements_seconds": ready - started,
        "solve_seconds": seconds,
        "peak_megabytes": peak(),
        "base_megabytes": base,
        "timeout": timeout,
    }


def instance(width: int, classes: int, points: int, seed: int) -> tuple[Network, PointSet]:
    """A layer that tells noisy class means apart, and points of which some have the second best label."""
    rng = np.random.default_rng([seed, width, classes, points])
    means = np.maximum(rng.normal(size=(classes, width)), 0.0)
    weight = ((means - means.mean(axis=0)) / np.sqrt(width)).astype(np.float32)
    bias = (-0.5 * (weight.astype(np.float64) * (means + means.mean(axis=0))).sum(axis=1)).astype(np.float32)
    network = last_layer(weight, bias)
    drawn = means[rng.integers(0, classes, points)] + NOISE * rng.normal(size=(points, width))
    inputs = np.maximum(drawn, 0.0).astype(np.float32).astype(np.float64)
    order = network(inputs).argsort(axis=1)
    wrong = max(1, round(WRONG * points))
    labels = order[:, -1].copy()
    labels[:wrong] = order[:wrong, -2]
    return network, PointSet(inputs, labels, name="features")


def last_layer(weight: np.ndarray, bias: np.ndarray) -> Network:
    """A network of one dense layer."""
    classes, width = weight.shape
    node = helper.make_node("Gemm", ["features", "W", "b"], ["scores"], transB=1, name="last")
    graph = helper.make_graph(
        [node],
        "last layer",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return load_network(model.SerializeToString(), name="last layer")


def missed(requirements: Requirements, delta: np.ndarray) -> int:
    """Points whose label is not decided after the change, in float64."""
    values = requirements.all_values(delta)
    return int(sum((part.min(axis=1) <= 0).sum() for part in values.values()))


def peak() -> float:
    """The largest resident size of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
