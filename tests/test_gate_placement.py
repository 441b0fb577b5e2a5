"""Which gate a program chooses: clamps, whole channels, and decisions that stay; exported and run."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from test_gate_repair import LIMITS, require_repaired, violated_sometimes

import repairsolver as rs
from repairsolver.network import Network, load_network, replay
from repairsolver.network.forward import activations
from repairsolver.network.gated import NewGate, add_gates, gateable, records_of, remove_gates
from repairsolver.network.operators import Relu
from repairsolver.property import Conjunction
from repairsolver.repairing.gate.placement import Placed, Wanted, layer_of, overridden, place_gates
from repairsolver.results import RepairStatus

NONE = np.zeros((0, 2))


def straight() -> Network:
    """y = relu(x), two of each."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "z"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "z"], ["y"]),
    ]
    stored = {"w": np.eye(2, dtype=np.float32), "z": np.zeros(2, np.float32)}
    return load_network(model(nodes, ["N", 2], stored).SerializeToString(), name="straight")


def placed_in(network: Network, wanted: Wanted, **candidates: object) -> Placed | None:
    node = next(n for n in gateable(network) if isinstance(n.operator, Relu))
    neurons = np.asarray(candidates.pop("neurons", np.arange(node.size)))
    layer = layer_of(network, node, neurons, **candidates)  # type: ignore[arg-type]
    return place_gates(network, layer, wanted, most=1, solver="highs", seconds=20, seed=0)


def test_a_clamp_is_chosen_where_no_line_keeps_the_decisions() -> None:
    """y_0 > y_1 is forbidden where x_0 >= 2; decisions at two other points fix slope and shift of a line."""
    forbidden = Conjunction(
        np.array([[-1.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [-1.0, 0.0]]), np.array([0.0, -2.0])
    )
    kept = np.array([[0.5, 0.49], [0.25, 0.26]])
    wanted = Wanted([forbidden], np.array([[3.0, 1.5]]), 0.1, kept, 0.005, "max")
    clamped = placed_in(straight(), wanted, neurons=[0], clamped=[0])
    assert clamped is not None
    assert clamped.keeps
    change = clamped.change
    assert (change.slope, change.shift, change.lower) == (1, 0, -np.inf)
    assert 0.5 - 1e-6 <= change.upper[0] <= 1.4 + 1e-6
    affine = placed_in(straight(), wanted, neurons=[0])
    assert affine is None or not affine.keeps


def thresholds_by_force(values: np.ndarray, demands: np.ndarray, least: np.ndarray) -> bool:
    """Whether some clamp of one neuron gets all values below demands and keeps them above what they need."""
    limits = np.arange(values.min(), values.max() + 1 / 16, 1 / 16)  # all numbers are whole eighths
    for moved in (np.minimum(values, limits[:, None]), np.maximum(values, limits[:, None])):
        if ((moved <= demands + 1e-9) & (moved >= least - 1e-9)).all(axis=1).any():
            return True
    return False


@pytest.mark.parametrize("seed", range(12))
def test_clamps_are_found_where_brute_force_finds_one(seed: int) -> None:
    """At every point y_0 must lie between x_1 and x_2; the other kinds of gates are excluded."""
    from layerwise.gate import affine_gates, with_clamps
    from layerwise.program import Program
    from repairsolver.solvers import SolutionStatus, solve

    rng = np.random.default_rng(seed)
    values = np.round(8 * rng.uniform(-1, 2, (6, 1))) / 8
    limit = np.round(8 * rng.uniform(-1, 2)) / 8
    target = np.minimum(values, limit) if seed % 2 else np.maximum(values, limit)
    noise = np.round(8 * rng.uniform(0, 0.4, (2, 6))) / 8
    lower, upper = target[:, 0] - noise[0], target[:, 0] + noise[1]
    if seed % 3 == 0:
        upper[0], lower[0] = values[0, 0] - 0.5, -10
    program = Program()
    gated = affine_gates(program, values, [[0]], 5.0)
    gated = with_clamps(program, gated, values, [0])
    program.rows(gated.affine, upper=0.0)
    program.rows(gated.values, lower, upper)
    program.rows(gated.chosen, 1.0, 1.0)
    found = solve(program)
    assert (found.status is SolutionStatus.OPTIMAL) == thresholds_by_force(values[:, 0], upper, lower)
    if found.values is not None:
        kinds = [(+1, gated.above[0]), (-1, gated.below[0])]
        ((sign, clamp),) = [(s, c) for s, c in kinds if c.chosen.value(found.values)[0] > 0.5]
        end = sign * clamp.limit.value(found.values)[0]
        direct = np.minimum(values, end) if sign > 0 else np.maximum(values, end)
        np.testing.assert_allclose(gated.values.value(found.values), direct[:, 0], atol=1e-6)


def convolution() -> Network:
    """1 x 2 x 2 inputs; channels x and 1 - x behind two rectifiers; the first one's sum, and 1."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["h"]),
        helper.make_node("Conv", ["h", "i"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "v"], ["y"]),
    ]
    stored = {"k": np.array([1, -1], np.float32).reshape(2, 1, 1, 1), "b": np.array([0, 1], np.float32)}
    stored |= {"i": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1), "v": np.array([0, 1], np.float32)}
    stored |= {"w": np.array([[1, 0]] * 4 + [[0, 0]] * 4, np.float32)}
    return load_network(model(nodes, ["N", 1, 2, 2], stored).SerializeToString(), name="convolution")


def channel_gate() -> tuple[Network, NewGate, np.ndarray]:
    network = convolution()
    forbidden = Conjunction(np.array([[-1.0, 1.0]]), np.zeros((1, 4)), np.zeros(1))
    points = np.array([[2.0, 2.0, 2.0, 2.0], [2.0, 1.0, 2.0, 1.0]])
    wanted = Wanted([forbidden], points, 0.1, np.zeros((0, 4)))
    assert placed_in(network, wanted) is None  # no single neuron is enough
    placed = placed_in(network, wanted, channels=True)
    assert placed is not None
    node = next(n for n in gateable(network) if n.name == "h")
    return network, NewGate("h", node.layer, np.ones((1, 4)), np.full((1, 4), 2.0), placed.change), points


def test_a_whole_channel_is_gated_where_no_neuron_is_enough() -> None:
    network, gate, points = channel_gate()
    assert gate.change.count == 1
    assert gate.change.sentences("h")[0].startswith("h: channel 0 (4 neurons) ")
    found = add_gates(network, [gate])
    y = replay(found, points)
    assert (y[:, 0] < y[:, 1]).all()
    node = next(n for n in gateable(network) if n.name == "h")
    layer = layer_of(network, node, np.arange(8), channels=True)
    np.testing.assert_allclose(y, overridden(network, layer, gate.change, points)[1], atol=1e-5)
    np.testing.assert_array_equal(replay(found, points / 4), replay(network, points / 4))


def test_a_gated_channel_is_read_back_listed_and_taken_out() -> None:
    network, gate, points = channel_gate()
    found = add_gates(network, [gate], monitor=True)
    read = load_network(found.model)
    (record,) = records_of(read)
    np.testing.assert_array_equal(record.gates[0].change(activations(network, points)["h"], points),
                                  gate.change(activations(network, points)["h"], points))  # fmt: skip
    assert record.gates[0].change.sentences("h") == gate.change.sentences("h")
    assert remove_gates(read).model == network.model


def test_a_convolution_is_repaired_by_gates_inside_and_proved() -> None:
    network = convolution()
    prop = rs.not_maximal([1.0] * 4, [1.25, 1.25, 1.0, 1.0], 0, 2)
    fix = rs.repair(network, prop, method="gate", place="inner", limits=LIMITS, certificate=True)
    require_repaired(fix, network, prop)


def test_a_sigmoid_network_is_repaired_by_gates_inside_and_proved() -> None:
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["y"]),
    ]
    stored = {"w1": 2 * rng.normal(size=(2, 6)), "b1": rng.normal(size=6), "w2": rng.normal(size=(6, 3))}
    stored = {name: value.astype(np.float32) for name, value in (stored | {"b2": np.zeros(3)}).items()}
    network = load_network(model(nodes, ["N", 2], stored).SerializeToString(), name="sigmoid")
    points = rng.uniform(-1, 1, (500, 2))
    label = int(np.bincount(network(points).argmax(axis=1), minlength=3).argmax())
    prop = rs.not_maximal([-1, -1], [-0.5, 0], label, 3)
    fix = rs.repair(network, prop, method="gate", place="inner", limits=LIMITS, certificate=True)
    require_repaired(fix, network, prop)


def test_gates_inside_keep_decisions() -> None:
    network, prop = violated_sometimes(1)
    fix = rs.repair(network, prop, method="gate", place="inner", limits=LIMITS)
    assert fix.status is RepairStatus.REPAIRED
    points = np.random.default_rng(5).uniform(-1, 1, (4000, 2)).astype(np.float32).astype(float)
    before, after = replay(network, points), replay(fix.network, points)
    safe = prop.violation(points, before) < 0
    assert (before.argmax(axis=1) == after.argmax(axis=1))[safe].mean() > 0.99
