"""Gates in ONNX files: they compute what they say, are recognised, and can be taken out bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from gated_networks import GRID, points_near, random_change, random_gate
from onnx import TensorProto, helper
from onnx_models import model, one_node
from random_networks import dense_network, random_network

import repairsolver as rs
from repairsolver.errors import EditError, NetworkError, UnsupportedOperatorError
from repairsolver.network import load_network, replay
from repairsolver.network.forward import activations
from repairsolver.network.gated import (
    Change,
    Correction,
    NewGate,
    Override,
    add_gates,
    gateable,
    guards,
    records_of,
    remove_gates,
)
from repairsolver.network.gates import gates_of


def gated(
    seed: int, count: int = 2, *, monitor: bool = False
) -> tuple[rs.Network, list[NewGate], rs.Network]:
    """A random network, gates for it, and both together."""
    rng = np.random.default_rng([seed, 3])
    network = random_network(seed)
    gates = [random_gate(rng, network) for _ in range(count)]
    return network, gates, add_gates(network, gates, monitor=monitor)


@pytest.mark.parametrize("seed", range(24))
def test_onnxruntime_computes_what_the_graph_of_operators_says(seed: int) -> None:
    network, gates, found = gated(seed)
    points = points_near(np.random.default_rng(seed), gates)
    expected = replay(found, points)
    values = activations(found, points)
    size = max(1.0, max(float(np.abs(value).max()) for value in values.values()))
    np.testing.assert_allclose(found(points), expected, atol=2e-5 * size)
    off = ~np.any([gate.fires(points) for gate in gates], axis=0)
    assert off.any()
    assert not off.all()
    np.testing.assert_array_equal(expected[off], replay(network, points)[off])


@pytest.mark.parametrize("seed", range(24))
def test_one_gate_changes_its_tensor_as_it_says(seed: int) -> None:
    network, (gate,), found = gated(seed, 1)
    points = points_near(np.random.default_rng(seed), [gate])
    before = activations(network, points)[gate.tensor]
    expected = np.where(gate.fires(points)[:, None], gate.change(before, points), before)
    np.testing.assert_allclose(activations(found, points)[gate.tensor], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_shifts_alone_need_no_choice_and_do_as_they_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = dense_network(seed, [3, 6, 5, 2])
    gate = random_gate(rng, network, boxes=1 + seed % 2)
    size = next(node.size for node in network.nodes if node.name == gate.tensor)
    index, none = np.arange(0, size, 2), np.full((size + 1) // 2, np.inf)
    shift = np.round(16 * rng.normal(size=len(index))) / 16
    gate = replace(gate, change=Override(index, np.ones(len(index)), shift, -none, none))
    found = add_gates(network, [gate])
    kinds = [node.op_type for node in onnx.load_from_string(found.model).graph.node]
    assert "Where" not in kinds
    points = points_near(rng, [gate])
    before = activations(network, points)[gate.tensor]
    expected = np.where(gate.fires(points)[:, None], gate.change(before, points), before)
    np.testing.assert_allclose(activations(found, points)[gate.tensor], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(replay(found, points), found(points), rtol=1e-4, atol=1e-4)
    off = ~gate.fires(points)
    np.testing.assert_array_equal(replay(found, points)[off], replay(network, points)[off])
    assert remove_gates(found).model == network.model


@pytest.mark.parametrize("seed", range(24))
def test_taken_out_the_file_is_the_old_one(seed: int) -> None:
    network, gates, found = gated(seed, monitor=seed % 2 == 0)
    whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(found.model))
    onnx.checker.check_model(whole, full_check=True)
    assert remove_gates(found).model == network.model
    rng = np.random.default_rng(seed)
    twice = add_gates(found, [random_gate(rng, found)])
    assert [record.original for record in records_of(twice)] == [network.sha256, found.sha256]
    assert remove_gates(twice).model == network.model
    assert [g.to_json() for g in records_of(twice)[0].gates] == [g.to_json() for g in gates]


def test_saved_and_loaded_the_gates_are_recognised(tmp_path) -> None:
    network, gates, found = gated(1, monitor=True)
    rs.save_network(found, tmp_path / "gated.onnx")
    again = load_network(tmp_path / "gated.onnx")
    assert again.model == found.model
    assert len(gates_of(again)) >= 1
    assert [g.to_json() for g in records_of(again)[0].gates] == [g.to_json() for g in gates]
    assert rs.remove_gates(again).sha256 == network.sha256


def old_model(opset: int) -> bytes:
    """A file of an old opset whose nodes a newer one writes differently."""
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["s"], axes=[0]),
        helper.make_node("MatMul", ["s", "w"], ["h"]),
        helper.make_node("Clip", ["h"], ["c"], min=-1.0, max=1.5),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return model(nodes, [1, 4], {"w": weight}, opset=opset).SerializeToString()


@pytest.mark.parametrize("opset", [8, 9, 11])
def test_old_files_are_raised_and_come_back(opset: int) -> None:
    data = old_model(opset) if opset < 11 else one_node("Relu", (1, 4), opset=11).SerializeToString()
    network = load_network(data)
    name = gateable(network)[-1].name
    low, high = np.full((1, 4), -0.5), np.full((1, 4), 0.5)
    change = Override(np.array([1]), np.ones(1), np.array([0.25]), np.array([-np.inf]), np.array([np.inf]))
    found = add_gates(network, [NewGate(name, name, low, high, change)])
    assert onnx.load_from_string(found.model).opset_import[0].version == 13
    assert remove_gates(found).model == data
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32).astype(float)
    off = (np.abs(x) > 0.5).any(axis=1)
    np.testing.assert_array_equal(replay(found, x)[off], replay(network, x)[off])


def test_bytes_that_another_writer_orders_differently_come_back() -> None:
    whole = onnx.load_from_string(dense_network(0, [2, 3, 1]).model)
    parts = onnx.ModelProto(), onnx.ModelProto()
    parts[0].graph.CopyFrom(whole.graph)
    parts[1].CopyFrom(whole)
    parts[1].ClearField("graph")
    data = parts[0].SerializeToString() + parts[1].SerializeToString()
    network = load_network(data)
    found = add_gates(network, [random_gate(np.random.default_rng(0), network)])
    assert records_of(found)[0].stored
    assert remove_gates(found).model == data


def test_the_monitor_tells_which_gates_are_on() -> None:
    network, gates, found = gated(4, 2, monitor=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(found.model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    points = points_near(np.random.default_rng(0), gates)
    told = [session.run(None, {entry: p.astype(np.float32).reshape(network.input_shape)})[1] for p in points]
    expected = np.array([gate.fires(points) for gate in gates]).T
    np.testing.assert_array_equal(np.array(told).reshape(len(points), -1), expected)
    assert (found(points) == add_gates(network, gates)(points)).all()


def test_rows_of_a_batch_are_gated_one_by_one() -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    network = load_network(model(nodes, ["N", 3], {"w": weight}).SerializeToString())
    gates = [random_gate(rng, network, boxes=k) for k in (1, 3)]
    found = add_gates(network, gates, monitor=True)
    points = points_near(rng, gates)
    one_by_one = np.concatenate([replay(found, p[None]) for p in points])
    np.testing.assert_array_equal(replay(found, points), one_by_one)


def test_an_edited_file_is_an_ordinary_network() -> None:
    _, gates, found = gated(2, 1)
    edited = onnx.load_from_string(found.model)
    edited.graph.node[0].doc_string = "touched"
    network = load_network(edited.SerializeToString())
    assert records_of(network) == ()
    assert gates_of(network)
    points = points_near(np.random.default_rng(0), gates)
    np.testing.assert_array_equal(network(points), found(points))
    with pytest.raises(EditError, match="no gates of repairsolver"):
        remove_gates(network)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"records": 3}', '{"sha256": "", "records": [{}]}'])
def test_a_broken_record_is_no_record(text: str) -> None:
    _, _, found = gated(2, 1)
    edited = onnx.load_from_string(found.model)
    (entry,) = [p for p in edited.metadata_props if p.key == "repairsolver.gates"]
    if text.startswith('{"sha256"'):
        text = json.dumps(json.loads(entry.value) | {"records": [{}]})
    entry.value = text
    assert records_of(load_network(edited.SerializeToString())) == ()


@pytest.mark.parametrize("seed", range(6))
def test_a_changed_comparison_is_the_one_thing_an_error_names(seed: int) -> None:
    """What combines truth values behind it is supported, and says nothing by itself."""
    proto = onnx.load_from_string(gated(seed)[2].model)
    changed = [node for node in proto.graph.node if node.op_type == "LessOrEqual"]
    for node in changed[:1]:
        node.op_type = "Less"
    with pytest.raises(UnsupportedOperatorError, match="1 node is not supported") as told:
        load_network(proto.SerializeToString())
    refused = [line for line in str(told.value).splitlines() if line.startswith("  ")]
    assert len(refused) == 1
    assert "Less" in refused[0]


def test_what_cannot_be_gated_is_refused() -> None:
    network = dense_network(0, [2, 3, 1])
    gate = random_gate(np.random.default_rng(0), network)
    with pytest.raises(EditError, match="no gates"):
        add_gates(network, [])
    wrong = NewGate("nothing", "nothing", gate.lower, gate.upper, gate.change)
    with pytest.raises(EditError, match="nothing"):
        add_gates(network, [wrong])


def test_two_outputs_are_refused_without_a_record() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    data = model(nodes, [1, 2], outputs=("y", "z")).SerializeToString()
    with pytest.raises(NetworkError, match="2 outputs"):
        load_network(data)


def test_float64_networks_are_gated_too() -> None:
    network = load_network(one_node("Tanh", (1, 3), element=TensorProto.DOUBLE).SerializeToString())
    gate = random_gate(np.random.default_rng(3), network)
    found = add_gates(network, [gate])
    points = points_near(np.random.default_rng(1), [gate])
    np.testing.assert_allclose(found(points), replay(found, points), rtol=1e-12, atol=1e-12)
    assert remove_gates(found).model == network.model


def many_entries(seed: int, *, kind: str) -> tuple[rs.Network, list[NewGate]]:
    """A network of 60 inputs, and gates of one tensor whose boxes lie apart: many ends of boxes."""
    rng = np.random.default_rng([seed, 7])
    network = dense_network(seed, [60, 8, 4])
    node = gateable(network)[-1]
    gates = []
    for number in range(4):
        count = int(rng.integers(2, 6))
        lower = np.round(GRID * rng.normal(size=(count, 60))) / GRID
        lower[:, 0] = 3.0 * number
        upper = lower + np.round(GRID * rng.uniform(0, 1.5, lower.shape)) / GRID
        free = rng.random(lower.shape) < 0.1
        free[:, 0] = False
        lower, upper = np.where(free, -np.inf, lower), np.where(free, np.inf, upper)
        if kind == "corrections":
            change: Change = Correction(
                np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]]),
                np.zeros((2, 60)),
                np.array([0.5, 0.25]) * (number + 1),
                np.array([[0.5, -0.5, 0, 0], [0, 0, 0.5, -0.5]]),
            )
        else:
            change = random_change(rng, node.size, 60)
        gates.append(NewGate(node.name, node.layer, lower, upper, change))
    return network, gates


@pytest.mark.parametrize("monitor", [False, True])
@pytest.mark.parametrize("kind", ["corrections", "others"])
@pytest.mark.parametrize("seed", range(6))
def test_many_entries_are_compared_behind_a_first_look(
    seed: int, kind: str, monitor: bool, monkeypatch
) -> None:
    monkeypatch.setattr(guards, "MANY", 100)
    network, gates = many_entries(seed, kind=kind)
    found = add_gates(network, gates, monitor=monitor)
    nodes = onnx.load_from_string(found.model).graph.node
    assert any(node.op_type == "If" for node in nodes)
    whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(found.model))
    onnx.checker.check_model(whole, full_check=True)
    # The first look is no gate of its own, and the boxes are those of the gates.
    kept = {tuple(box) for gate in gates for box in np.hstack([gate.lower, gate.upper])}
    read = [node.operator for node in gates_of(found)]
    assert {tuple(box) for gate in read for box in np.hstack([gate.lower, gate.upper])} == kept
    points = points_near(np.random.default_rng(seed), gates, 20)
    fires = np.array([gate.fires(points) for gate in gates])
    assert fires.any(axis=1).all()
    values = activations(network, points)[gates[0].tensor]
    for gate in gates:
        values = np.where(gate.fires(points)[:, None], gate.change(values, points), values)
    np.testing.assert_allclose(found(points), values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(replay(found, points), values, rtol=1e-4, atol=1e-4)
    off = ~fires.any(axis=0)
    np.testing.assert_array_equal(replay(found, points)[off], replay(network, points)[off])
    assert remove_gates(found).model == network.model
    assert [g.to_json() for g in records_of(found)[0].gates] == [g.to_json() for g in gates]


def test_rows_of_a_batch_pass_the_first_look_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr(guards, "MANY", 100)
    weight = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    network = load_network(model(nodes, ["N", 60], {"w": weight}).SerializeToString())
    gates = [replace(gate, tensor="y", layer="y") for gate in many_entries(3, kind="corrections")[1]]
    found = add_gates(network, gates, monitor=True)
    points = points_near(np.random.default_rng(1), gates, 5)
    one_by_one = np.concatenate([replay(found, p[None]) for p in points])
    np.testing.assert_allclose(replay(found, points), one_by_one, rtol=1e-6, atol=1e-6)
    session = onnxruntime.InferenceSession(found.model, providers=["CPUExecutionProvider"])
    fired = session.run(None, {"x": points.astype(np.float32)})[1]
    np.testing.assert_array_equal(fired, np.array([gate.fires(points) for gate in gates]).T)
    none = session.run(None, {"x": np.full((3, 60), 99, np.float32)})[1]
    np.testing.assert_array_equal(none, np.zeros((3, 4), dtype=bool))


def test_gates_behind_a_first_look_can_be_gated_again(monkeypatch) -> None:
    monkeypatch.setattr(guards, "MANY", 100)
    network, gates = many_entries(1, kind="corrections")
    found = add_gates(network, gates)
    again = add_gates(found, [replace(gates[0], lower=gates[0].lower - 1, upper=gates[0].upper + 1)])
    points = points_near(np.random.default_rng(1), gates, 20)
    np.testing.assert_allclose(replay(again, points), again(points), rtol=1e-4, atol=1e-4)
    assert remove_gates(again).model == network.model


def test_the_entries_that_tell_boxes_apart_are_looked_at() -> None:
    centre = np.random.default_rng(0).uniform(size=(20, 300))
    centre[:, 40:] = 0.0
    entries = guards.telling(centre - 0.05, centre + 0.05, 12)
    assert (entries < 40).all()
    assert len(set(entries.tolist())) == 12
    apart = np.abs(centre[:, None, entries] - centre[None, :, entries]) > 0.1
    assert (apart.sum(axis=-1)[~np.eye(20, dtype=bool)] >= 6).all()
    one = np.zeros((1, 300))
    one[0, [3, 250]] = 0.7
    assert {3, 250} <= set(guards.telling(one - 0.05, one + 0.05, 12).tolist())
