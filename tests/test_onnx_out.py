"""Saving, and replacing stored parameters."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_models import model, one_node, run

from repairsolver.errors import EditError
from repairsolver.network import load_network, replace_parameters, save_network

node = helper.make_node


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def example(constant_nodes: bool = False) -> ModelProto:
    nodes = [
        node("MatMul", ["x", "W1"], ["a"], name="first"),
        node("Sub", ["a", "b1"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Gemm", ["c", "W2", "b2"], ["y"], name="second", alpha=0.5),
    ]
    constants = {"W1": floats(3, 4), "b1": floats(1, 4), "W2": floats(4, 2), "b2": floats(2)}
    proto = model(nodes, ("N", 3), constants, opset=11, constant_nodes=constant_nodes)
    helper.set_model_props(proto, {"origin": "test"})
    proto.producer_name = "somebody else"
    proto.graph.doc_string = "a small network"
    return proto


def test_a_saved_file_is_the_model_byte_for_byte(tmp_path: Path) -> None:
    network = load_network(example().SerializeToString())
    path = tmp_path / "saved.onnx"
    save_network(network, path)
    assert path.read_bytes() == network.model
    assert load_network(path).sha256 == network.sha256
    assert os.listdir(tmp_path) == ["saved.onnx"]


def test_saving_replaces_a_file_and_leaves_it_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(example().SerializeToString())
    path = tmp_path / "saved.onnx"
    path.write_bytes(b"before")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            save_network(network, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["saved.onnx"]
    save_network(network, path)
    assert path.read_bytes() == network.model


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_network(load_network(example().SerializeToString()), tmp_path / "absent" / "net.onnx")


@pytest.mark.parametrize("constant_nodes", [False, True])
def test_only_the_named_tensors_change(constant_nodes: bool) -> None:
    network = load_network(example(constant_nodes).SerializeToString())
    new = floats(5)[:4] + 10
    changed = replace_parameters(network, {"b1": new})
    before, after = onnx.load_from_string(network.model), onnx.load_from_string(changed.model)
    for proto in (before, after):
        for tensor in proto.graph.initializer:
            if tensor.name == "b1":
                tensor.raw_data = b""
        for item in proto.graph.node:
            if list(item.output) == ["b1"]:
                item.attribute[0].t.raw_data = b""
    assert before == after
    np.testing.assert_array_equal(changed.nodes[0].operator.bias, -new)
    np.testing.assert_array_equal(changed.nodes[0].operator.weight, network.nodes[0].operator.weight)
    points = np.eye(3)
    np.testing.assert_allclose(changed(points), run(changed.model, points, (1, 3)), rtol=1e-5, atol=1e-5)
    assert network.sha256 != changed.sha256


def test_tensors_stored_as_numbers_instead_of_bytes() -> None:
    proto = one_node("Add", (1, 2), "x", np.zeros(2, np.float32))
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("c1", TensorProto.FLOAT, [2], [1.0, 2.0]))
    changed = replace_parameters(load_network(proto.SerializeToString()), {"c1": np.array([3.0, 4.0])})
    np.testing.assert_array_equal(changed(np.zeros(2)), [3.0, 4.0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_what_a_source_says_is_how_to_write_a_layer(seed: int) -> None:
    """stored = (array / factor), transposed where the source says so, in the shape of the file."""
    network = load_network(example().SerializeToString())
    random = np.random.default_rng(seed)
    for layer in network.affine_layers:
        weight = random.integers(-8, 8, layer.operator.weight.shape) / 4.0
        bias = random.integers(-8, 8, layer.operator.bias.shape) / 4.0
        changes = {}
        for array, source in (
            (weight, layer.operator.weight_source),
            (bias, layer.operator.bias_source),
        ):
            stored = array / source.factor
            changes[source.tensor] = stored.T if source.transposed else stored
        changed = replace_parameters(network, changes).by_name[layer.name].operator
        np.testing.assert_array_equal(changed.weight, weight)
        np.testing.assert_array_equal(changed.bias, bias)


def test_values_are_rounded_to_the_type_of_the_tensor() -> None:
    network = load_network(example().SerializeToString())
    values = np.full((1, 4), 0.1)
    bias = replace_parameters(network, {"b1": values}).nodes[0].operator.bias
    np.testing.assert_array_equal(bias, -np.float64(np.float32(values[0])))


def test_every_problem_is_named_at_once() -> None:
    network = load_network(example().SerializeToString(), name="net")
    changes = {"ghost": np.zeros(1), "W1": np.zeros((4, 3)), "b2": np.array([1e39, 0.0])}
    with pytest.raises(EditError) as error:
        replace_parameters(network, changes)
    text = str(error.value)
    assert "'ghost' is not stored" in text
    assert "'W1' has shape [3, 4], got [4, 3]" in text
    assert "'b2' are not finite in float32" in text


def test_integer_tensors_are_not_parameters() -> None:
    proto = one_node("Reshape", (1, 2), "x", np.array([2, 1]))
    with pytest.raises(EditError, match="INT64"):
        replace_parameters(load_network(proto.SerializeToString()), {"c1": np.array([1.0, 2.0])})


def test_float64_files_keep_float64() -> None:
    proto = one_node("Add", (1, 2), "x", np.zeros(2), element=TensorProto.DOUBLE)
    changed = replace_parameters(load_network(proto.SerializeToString()), {"c1": np.array([0.1, 1e-300])})
    stored = numpy_helper.to_array(onnx.load_from_string(changed.model).graph.initializer[0])
    np.testing.assert_array_equal(stored, [0.1, 1e-300])


def test_a_chosen_output_stays_chosen() -> None:
    nodes = [node("Add", ["x", "c"], ["y"]), node("Erf", ["y"], ["z"])]
    data = model(nodes, (1, 2), {"c": floats(2)}, outputs=("y", "z")).SerializeToString()
    changed = replace_parameters(load_network(data, output="y"), {"c": np.ones(2)})
    np.testing.assert_array_equal(changed(np.zeros(2)), [1.0, 1.0])
