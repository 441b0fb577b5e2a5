"""Half-spaces of scores enforced in the last hidden layer; and when hidden neurons are not tried at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from gated_networks import points_near, random_gate
from random_networks import dense_network
from test_gate_repair import LIMITS, require_repaired, violated_sometimes

import repairsolver as rs
from layerwise.clamp import clamp_on_grid
from layerwise.program import Program
from repairsolver.network import Network, Node, replay
from repairsolver.network.forward import activations
from repairsolver.network.gated import Correction, Override, add_gates, remove_gates
from repairsolver.network.gated.changes import NewGate
from repairsolver.network.operators import Relu
from repairsolver.repairing.gate import placement, relevance
from repairsolver.repairing.gate.behind import affine_behind, derivatives
from repairsolver.repairing.gate.hidden import correct_layer
from repairsolver.repairing.gate.inner import hidden_layers
from repairsolver.repairing.gate.placement import layer_of
from repairsolver.repairing.gate.regions import whole_regions
from repairsolver.repairing.gate.session import Session
from repairsolver.repairing.gate.shield import shield
from repairsolver.repairing.gate.task import begin
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.results import RepairStatus
from repairsolver.solvers import solve


def behind_of(network: Network, node: Node) -> tuple[Node, ...]:
    return layer_of(network, node, np.arange(0)).behind


def test_what_lies_behind_the_last_hidden_layer_is_affine() -> None:
    network = dense_network(3, [3, 6, 5, 4])
    last, first = (node for node in reversed(network.nodes) if isinstance(node.operator, Relu))
    found = affine_behind(network, last, behind_of(network, last))
    assert found is not None
    values = activations(network, np.random.default_rng(0).normal(size=(20, 3)))
    expected = values[last.name] @ found.matrix.T + found.constant
    np.testing.assert_allclose(expected, values[network.output.name], atol=1e-12)
    assert affine_behind(network, first, behind_of(network, first)) is None


def test_derivatives_are_those_of_differences() -> None:
    network = dense_network(3, [3, 6, 5, 4])
    node = next(node for node in network.nodes if isinstance(node.operator, Relu))
    values = activations(network, np.random.default_rng(1).normal(size=(4, 3)))
    found = derivatives(network, node, values)
    rest = network.nodes[network.nodes.index(node) + 1 :]
    weights = [(n.operator.weight, n.operator.bias) for n in rest if hasattr(n.operator, "weight")]
    for point, h in enumerate(values[node.name]):
        for entry in range(len(h)):
            moved = np.stack([h, h])
            moved[:, entry] += (-1e-6, 1e-6)
            (w, b), (v, c) = weights
            ends = np.maximum(moved @ w.T + b, 0) @ v.T + c
            np.testing.assert_allclose(found[point, :, entry], (ends[1] - ends[0]) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_whole_regions_are_proved_by_moving_hidden_neurons(seed: int) -> None:
    """Few neurons move, only where a half-space fails, and the property holds at samples on onnxruntime."""
    network, prop = violated_sometimes(seed)
    session = Session(network, prop, Gating("inner"), "max", LIMITS, 0, None, "highs")
    layers = hidden_layers(network)
    found = correct_layer(session, network, layers, whole_regions(prop))
    assert found is not None, session.reasons
    (gate,) = found.edit.gates
    assert gate.tensor == layers[0].name
    change = gate.change
    assert isinstance(change, Correction)
    assert (np.count_nonzero(change.direction, axis=1) <= change.count).all()
    rng, region = np.random.default_rng(seed), prop.regions[0]
    points = rng.uniform(region.lower, region.upper, (4000, 2)).astype(np.float32).astype(float)
    assert (prop.violation(points, replay(found.network, points)) < 0).all()
    hidden = activations(network, points)[gate.tensor]
    met = (hidden @ change.output.T >= change.bound + 1e-5).all(axis=1)
    before, after = replay(network, points), replay(found.network, points)
    np.testing.assert_array_equal(before[met], after[met])


def test_an_earlier_layer_is_moved_by_none() -> None:
    network, prop = violated_sometimes(0)
    session = Session(network, prop, Gating("inner"), "max", LIMITS, 0, None, "highs")
    earlier = [
        node
        for node in hidden_layers(network)
        if affine_behind(network, node, behind_of(network, node)) is None
    ]
    assert correct_layer(session, network, earlier, whole_regions(prop)) is None


def test_moved_neurons_keep_a_half_space_whatever_the_layer_holds() -> None:
    """The form is the proof: layers far outside of what inputs give are moved, too."""
    network, prop = violated_sometimes(2)
    (last, *_) = hidden_layers(network)
    through = affine_behind(network, last, behind_of(network, last))
    assert through is not None
    region = prop.regions[0]
    points = np.random.default_rng(0).uniform(region.lower, region.upper, (200, 2))
    change = shield(region, points, network(points), through)
    assert change is not None
    hidden = 50 * np.random.default_rng(1).normal(size=(500, last.size))
    moved = change(hidden, np.zeros((500, 2))) @ through.matrix.T + through.constant
    assert (region.violation(np.zeros((500, 2)), moved) < 0).all()
    gate = NewGate(last.name, last.layer, *whole(prop), change)
    text = rs.Gates((gate,), network.sha256).describe()
    assert "moved until" in text
    assert add_gates(network, [gate]).sha256 != network.sha256


def whole(prop: rs.Property) -> tuple[np.ndarray, np.ndarray]:
    (place, *_) = whole_regions(prop)
    return place.lower, place.upper


@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_neurons_are_not_tried_where_the_scores_lose_nothing(seed: int) -> None:
    network, prop = violated_sometimes(seed)
    fix = rs.repair(network, prop, method="gate", decision="max", limits=LIMITS, certificate=True)
    require_repaired(fix, network, prop)
    assert "hidden neurons were not tried" in fix.message
    alone = rs.repair(network, prop, method="gate", decision="max", place="output", limits=LIMITS)
    assert fix.network.model == alone.network.model


def test_overrides_that_no_search_can_prove_give_way_to_moved_neurons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from repairsolver.repairing.gate import inner

    network, prop = violated_sometimes(1)
    monkeypatch.setattr(inner, "_repair_layer", lambda *arguments: None)
    fix = rs.repair(network, prop, method="gate", place="inner", limits=LIMITS, certificate=True)
    assert fix.status is RepairStatus.REPAIRED
    require_repaired(fix, network, prop)
    assert "no override was proved" in fix.message


def test_a_program_of_a_large_layer_is_about_what_is_most_responsible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three neurons of ten, in an earlier layer, by derivatives."""
    network, prop = violated_sometimes(0)
    session = Session(network, prop, Gating("inner"), "max", LIMITS, 0, None, "highs")
    (place,) = whole_regions(prop)
    first = next(node for node in network.nodes if isinstance(node.operator, Relu))
    task = begin(session, place, False)
    monkeypatch.setattr(relevance, "SMALL", 4)
    monkeypatch.setattr(relevance, "MOST_NEURONS", 3)
    monkeypatch.setattr(placement, "MOST_ENCODED", 0)
    layer = relevance.candidates(network, first, [task])
    share = relevance.responsibility(network, first, task)
    chosen = [int(group[0]) for group in layer.groups]
    assert chosen == sorted(np.argsort(-share)[:3].tolist())
    assert not layer.exact(1)
    wanted = placement.Wanted(prop.regions[0].unsafe, task.violating[:2], 0.01, np.zeros((0, 2)))
    found = placement.place_gates(network, layer, wanted, most=None, solver="highs", seconds=20, seed=0)
    assert found is not None
    assert set(found.change.index.tolist()) <= set(chosen)


@pytest.mark.parametrize("seed", range(4))
def test_constants_and_affine_changes_need_no_choice_in_the_file(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = dense_network(seed, [3, 6, 5, 2])
    gate = random_gate(rng, network, boxes=1 + seed % 2)
    size = next(node.size for node in network.nodes if node.name == gate.tensor)
    index, fixed = np.arange(size), np.arange(size) % 2 == 0
    slope, shift = np.where(fixed, 1.0, 0.25), np.where(fixed, 0.0, 0.5)
    limits = np.where(fixed, 1.5, -np.inf), np.where(fixed, 1.5, np.inf)
    gate = replace(gate, change=Override(index, slope, shift, *limits))
    found = add_gates(network, [gate])
    assert "Where" not in [node.op_type for node in onnx.load_from_string(found.model).graph.node]
    points = points_near(rng, [gate])
    before = activations(network, points)[gate.tensor]
    expected = np.where(gate.fires(points)[:, None], gate.change(before, points), before)
    np.testing.assert_allclose(activations(found, points)[gate.tensor], expected, rtol=1e-6, atol=1e-6)
    off = ~gate.fires(points)
    np.testing.assert_array_equal(replay(found, points)[off], replay(network, points)[off])
    assert remove_gates(found).model == network.model


@pytest.mark.parametrize("seed", range(4))
def test_a_clamp_on_a_grid_is_a_clamp_at_one_of_its_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, grid = rng.normal(size=12), np.sort(rng.normal(size=4))
    program = Program()
    clamp = clamp_on_grid(program, values, grid)
    program.rows(clamp.chosen, 1.0, 1.0)
    target = int(rng.integers(4))
    program.rows(clamp.limit, grid[target], grid[target])
    program.minimise(clamp.cut.sum())
    found = solve(program)
    assert found.values is not None
    np.testing.assert_allclose(
        values - clamp.cut.value(found.values), np.minimum(values, grid[target]), atol=1e-7
    )
