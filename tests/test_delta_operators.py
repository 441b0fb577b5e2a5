"""Hidden layers in front of convolutions, pooling and smooth activations: bounds, replays, equal networks."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from delta_networks import dense_network
from onnx import helper
from onnx_models import model
from pattern_oracle import least_change
from test_delta_layer import bending_network

from repairsolver.network import Network, load_network, replace_parameters, replay
from repairsolver.property import PointSet
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.sequential import least, least_bound
from repairsolver.results import Limits, RepairStatus
from repairsolver.verification.engine import verify_property


def activation_network(operator: str, seed: int, **attributes: float) -> Network:
    """Two hidden layers with one kind of activation behind each."""
    rng = np.random.default_rng(seed)
    sizes, nodes, constants, current = (2, 3, 3, 2), [], {}, "x"
    for k in range(3):
        constants[f"W{k}"] = rng.normal(size=(sizes[k + 1], sizes[k])).astype(np.float32)
        constants[f"b{k}"] = 0.3 * rng.normal(size=sizes[k + 1]).astype(np.float32)
        out = "y" if k == 2 else f"z{k}"
        nodes.append(helper.make_node("Gemm", [current, f"W{k}", f"b{k}"], [out], name=f"layer{k}", transB=1))
        if k < 2:
            inputs = [out, "low", "high"] if operator == "Clip" else [out]
            nodes.append(helper.make_node(operator, inputs, [f"h{k}"], **attributes))
            current = f"h{k}"
    if operator == "Clip":
        constants |= {"low": np.array(-0.4, dtype=np.float32), "high": np.array(0.6, dtype=np.float32)}
    return load_network(model(nodes, (1, 2), constants).SerializeToString(), name=operator)


def pooling_network(seed: int) -> Network:
    """Filters with shared weights, a rectifier and a maximum behind them."""
    rng = np.random.default_rng(seed)
    constants = {
        "K": rng.normal(size=(2, 1, 2, 2)).astype(np.float32),
        "c": rng.normal(size=2).astype(np.float32),
        "V": rng.normal(size=(8, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "K", "c"], ["a"], name="filters"),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "V"], ["y"]),
    ]
    return load_network(model(nodes, (1, 1, 4, 4), constants).SerializeToString(), name="pooling")


def as_convolution(network: Network) -> Network:
    """The same function with its first dense layer as a convolution with one output position."""
    first, last = (n.operator for n in network.affine_layers)
    constants = {
        "K": first.weight[:, None, :].astype(np.float32),  # type: ignore[union-attr]
        "c": first.bias.astype(np.float32),  # type: ignore[union-attr]
        "V": last.weight.astype(np.float32),  # type: ignore[union-attr]
        "v": last.bias.astype(np.float32),  # type: ignore[union-attr]
    }
    nodes = [
        helper.make_node("Conv", ["x", "K", "c"], ["z"], name="filters"),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("Flatten", ["h"], ["f"]),
        helper.make_node("Gemm", ["f", "V", "v"], ["y"], transB=1),
    ]
    return load_network(model(nodes, (1, 1, 2), constants).SerializeToString(), name="convolution")


def asked(network: Network, layers: str, seed: int, count: int = 2) -> tuple[Requirements, np.ndarray]:
    """Points that must get the runner-up's label; no floor for rounding."""
    points = np.random.default_rng(seed).normal(size=(count, network.input_size))
    points = points.astype(np.float32).astype(np.float64)
    requirements = Requirements(network, find_layers(network, Choice(layers)))
    requirements.decide(points, network(points).argsort(axis=1)[:, -2], "max", role="repair")
    for name, group in requirements.groups.items():
        requirements.groups[name] = replace(group, floor=np.zeros(len(group.floor)))
    return requirements, points


def test_a_convolution_with_one_position_is_the_dense_layer() -> None:
    network = dense_network(4, (2, 3, 2))
    same = as_convolution(network)
    points = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(same(points), network(points), rtol=1e-12)
    requirements, points = asked(same, "filters", 9)
    labels = same(points).argmin(axis=1)
    rows = [(np.eye(2)[label] - np.eye(2)[1 - label])[None] for label in labels]
    truth = least_change(network, 0, points, rows, 0.1, "l1")
    problem = LeastChange(requirements, 0.1, Objective("l1"), "highs")
    assert least(problem, shared=False).cost == pytest.approx(truth, rel=5e-3)
    assert least_bound(problem, gap=1e-6, known=np.inf).bound == pytest.approx(truth, rel=1e-4)


def test_leaky_rectifiers_against_all_patterns() -> None:
    network = activation_network("LeakyRelu", 3, alpha=0.2)
    requirements, points = asked(network, "layer1", 4)
    labels = network(points).argmin(axis=1)
    rows = [(np.eye(2)[label] - np.eye(2)[1 - label])[None] for label in labels]
    index = network.nodes.index(network.affine_layers[1])
    truth = least_change(network, index, points, rows, 0.1, "linf")
    problem = LeastChange(requirements, 0.1, Objective("linf", name="linf"), "highs")
    assert least(problem, shared=False).cost == pytest.approx(truth, rel=5e-3)
    assert least_bound(problem, gap=1e-6, known=np.inf).bound == pytest.approx(truth, rel=1e-4)


CASES = {
    "clip": (activation_network("Clip", 7), "layer0"),
    "sigmoid": (activation_network("Sigmoid", 7), "layer0"),
    "tanh": (activation_network("Tanh", 7), "layer0"),
    "convolution and pooling": (pooling_network(4), "filters"),
    "grouped convolution": (bending_network(4), "conv1"),
    "dense in a branch": (bending_network(4), "dense1"),
}


LARGE = ("convolution and pooling", "grouped convolution", "dense in a branch")
"""Programs that get a few seconds only, in which they may prove nothing."""


@pytest.mark.parametrize("name", CASES)
def test_no_change_below_the_bound_is_enough(name: str) -> None:
    """What is found is enough in the written network; what is smaller than the bound never is."""
    network, layers = CASES[name]
    requirements, points = asked(network, layers, 8)
    end = time.perf_counter() + 8.0 if name in LARGE else None
    problem = LeastChange(requirements, 0.05, Objective("l1"), "highs", deadline=end)
    found = least(problem, shared=False)
    assert found.delta is not None
    layer = requirements.layer
    after = replace_parameters(network, layer.changed(found.delta))(points)
    np.testing.assert_array_equal(after.argmax(axis=1), network(points).argsort(axis=1)[:, -2])
    within = replace(problem, deadline=time.perf_counter() + 4.0 if name in LARGE else None)
    bound = least_bound(within, gap=1e-4, known=found.cost).bound
    assert bound > 0 or name in LARGE
    assert bound <= found.cost * (1 + 1e-9)
    rng = np.random.default_rng(0)
    shares = np.concatenate([np.linspace(0, 1, 200), rng.random(200)])
    enough = []
    for share in shares:
        delta = share * found.delta + (1 - share) * 0.2 * found.delta * rng.normal(size=layer.size)
        lack = max(float(problem.shortfall(g, delta).max()) for g in requirements.groups.values())
        if lack <= 0:
            enough.append(problem.cost(delta))
    assert min(enough, default=np.inf) >= bound * (1 - 1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "clip"])
def test_a_region_is_repaired_in_front_of_smooth_activations(name: str) -> None:
    network, layers = CASES[name]
    box = np.full(2, 0.3)
    label = int(network(np.zeros((1, 2))).argmax())
    row = np.array([[1.0, -1.0]]) * (1 if label == 1 else -1)
    prop = Property(
        (Region(-box, box, (Conjunction(row, np.zeros((1, 2)), np.zeros(1)),)),), 2, 2, name="flip"
    )
    fix = repair_property(network, prop, layers=layers, gap=0.5, limits=Limits(seconds=40.0))
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert verify_property(fix.network, prop).status.value == "holds"
    x = np.random.default_rng(0).uniform(-0.3, 0.3, size=(2000, 2)).astype(np.float32).astype(np.float64)
    assert (replay(fix.network, x).argmax(axis=1) != label).all()


def test_points_through_a_final_sigmoid_with_a_threshold() -> None:
    """A row with a constant is looked at behind the sigmoid, not at its argument: y0 <= 0.5 is unsafe."""
    network = dense_network(3, (2, 4, 2), tail="Sigmoid")
    x = np.random.default_rng(2).uniform(-1, 1, size=(40, 2)).astype(np.float32).astype(np.float64)
    x = x[network(x)[:, 0] <= 0.5][:2]
    assert len(x) == 2
    unsafe = Conjunction(np.array([[1.0, 0.0]]), np.zeros((1, 2)), np.array([0.5]))
    prop = Property(tuple(Region(p, p, (unsafe,)) for p in x), 2, 2, name="half")
    fix = repair_property(network, prop, points=PointSet(x), gap=0.1, limits=Limits(seconds=30.0))
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert (replay(fix.network, x)[:, 0] > 0.5).all()
    logits = np.log(1 / network(x)[:, 0] - 1)
    scale = 1 + np.abs(np.maximum(dense_hidden(network, x), 0)).max()
    assert fix.lower_bound <= logits.max() * (1 + 1e-6)
    assert fix.cost is not None
    assert fix.cost >= logits.max() / scale * (1 - 1e-6)


def dense_hidden(network: Network, x: np.ndarray) -> np.ndarray:
    first = network.affine_layers[0].operator
    return np.asarray(x @ first.weight.T + first.bias)  # type: ignore[union-attr]
