"""ONNX layer graphs: the eighteen invalid graphs, repaired files in onnxruntime, kept weights, bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import repairsolver as rs
from benchmarks.architecture.graphs import BATCH, INVALID, drawn, graph
from benchmarks.architecture.onnx_calls import explained, predicted, real
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.onnx_graph.reading import read_onnx
from repairsolver.architecture.onnx_graph.refitting import refit
from repairsolver.architecture.onnx_graph.writing import write_onnx
from repairsolver.cli.main import app
from repairsolver.errors import ArchitectureError


def network(nodes, weights, shape=("N", 3, 8, 8), output=None):
    tensors = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    whole = helper.make_graph(nodes, "net", tensors, ends, stored)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def values(*shape):
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def wrong_widths():
    """A convolution for four channels that gets three, and a Gemm for 500 features that gets 512."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v", "u"], ["y"], name="fc", transB=1),
    ]
    weights = {"w": values(8, 4, 3, 3), "b": values(8), "v": values(10, 500), "u": values(10)}
    return network(nodes, weights, output=("N", 10))


def run(proto, shape):
    session = ort.InferenceSession(proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})[0]


@pytest.mark.parametrize("name", INVALID)
def test_every_invalid_graph_is_diagnosed_and_repaired(name):
    proto = INVALID[name]()
    assert not rs.diagnose(proto).valid
    fix = rs.repair_architecture(proto, seconds=2)
    assert fix.status == "repaired"
    repaired, _ = write_onnx(fix.given, fix.edits)
    assert rs.diagnose(repaired).valid
    batch = 5 if "LSTM" in name else BATCH
    inputs = {e.name: [d.dim_value for d in e.type.tensor_type.shape.dim] for e in repaired.graph.input}
    session = ort.InferenceSession(repaired.SerializeToString())
    out = session.run(None, {key: np.zeros(shape, np.float32) for key, shape in inputs.items()})[0]
    end = next(iter(fix.model.outputs))
    assert out.shape == (batch, *rs.diagnose(repaired).shapes[end])


def test_rules_agree_with_onnxruntime():
    import random

    stream = drawn(random.Random(11))
    for _ in range(250):
        kind, proto = next(stream)
        rule, found = predicted(proto), real(proto)
        assert rule == found or explained(kind, proto, rule, found), proto.graph.node[0]


def test_the_repaired_file_keeps_what_fits(tmp_path):
    source, target = tmp_path / "net.onnx", tmp_path / "fixed.onnx"
    onnx.save(wrong_widths(), source)
    fix = rs.repair_architecture(source)
    assert [str(e) for e in fix.edits] == [
        "conv: in_channels 4 → 3",
        "conv: weight W (8, 4, 3, 3) → (8, 3, 3, 3)",
        "fc: in_features 500 → 512",
        "fc: weight B (10, 500) → (10, 512)",
    ]
    notes = fix.save(target)
    assert notes[0].endswith("216 of 288 values kept, 0 new ones are zero")
    repaired = onnx.load(target)
    assert run(repaired, (2, 3, 8, 8)).shape == (2, 10)
    stored = {t.name: numpy_helper.to_array(t) for t in repaired.graph.initializer}
    np.testing.assert_array_equal(stored["w_repaired"], values(8, 4, 3, 3)[:, :3])
    np.testing.assert_array_equal(stored["v_repaired"][:, :500], values(10, 500))
    assert not stored["v_repaired"][:, 500:].any()
    np.testing.assert_array_equal(stored["b"], values(8))


def test_weights_in_another_order_are_transposed():
    new, how = refit(values(2, 3, 4), (4, 2, 3))
    np.testing.assert_array_equal(new, values(2, 3, 4).transpose(2, 0, 1))
    assert "all values kept" in how


def test_nodes_are_inserted_and_removed():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Gemm", ["c", "v"], ["y"], name="fc"),
    ]
    proto = network(nodes, {"w": values(2, 3, 3, 3), "v": values(72, 5)}, output=("N", 5))
    fix = rs.repair_architecture(proto)
    assert [str(e) for e in fix.edits] == ["insert Flatten() before fc"]
    repaired, refits = write_onnx(fix.given, fix.edits)
    assert refits == ()
    assert run(repaired, (2, 3, 8, 8)).shape == (2, 5)


def test_a_sum_is_rewired():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Conv", ["a", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["d"], name="second"),
        helper.make_node("Conv", ["d", "v"], ["e"], name="back"),
        helper.make_node("Add", ["e", "c"], ["y"], name="sum"),
    ]
    weights = {"w": values(2, 3, 1, 1), "v": values(3, 2, 1, 1)}
    proto = network(nodes, weights, output=("N", 3, 8, 8))
    fix = rs.repair_architecture(proto, costs=replace(Costs(weights=9), rewire=1))
    assert [e.operation for e in fix.edits] == ["rewire"]
    repaired, _ = write_onnx(fix.given, fix.edits)
    assert run(repaired, (2, 3, 8, 8)).shape == (2, 3, 8, 8)


def test_unknown_nodes_are_listed_and_may_be_opaque():
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"], name="first"),
        helper.make_node("Det", ["a"], ["b"], name="second"),
        helper.make_node("Gemm", ["b", "v"], ["y"], name="fc"),
    ]
    proto = network(nodes, {"v": values(4, 5)})
    with pytest.raises(ArchitectureError, match=r"first: NonZero \(no rule\), second: Det"):
        rs.diagnose(proto)
    found = rs.diagnose(proto, opaque={"NonZero": None, "second": (3,)})
    assert [(f.layer, f.rule) for f in found.faults] == [("fc", "in_features")]
    fix = rs.repair_architecture(proto, opaque={"first": None, "second": (3,)})
    assert all(edit.layer == "fc" for edit in fix.edits)
    with pytest.raises(ArchitectureError, match="no layer or layer type is called third"):
        rs.diagnose(proto, opaque={"NonZero": None, "Det": None, "third": None})


def test_open_sizes_are_named_and_can_be_stated():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    proto = network(nodes, {"w": values(2, 3, 3, 3)}, shape=("N", 3, "height", "width"))
    with pytest.raises(ArchitectureError, match=r"axis 2 \(height\), axis 3 \(width\)"):
        rs.diagnose(proto)
    assert rs.diagnose(proto, input_shape=(3, 8, 8)).valid


def test_a_wrong_declaration_is_declared_anew(tmp_path):
    fix = rs.repair_architecture(INVALID["declared output"]())
    assert [str(e) for e in fix.edits] == ["output relu: declared shape (4,) → (3,)"]
    stated = rs.repair_architecture(INVALID["declared output"](), output_shape=(4,))
    assert all(edit.operation != "output" for edit in stated.edits)
    assert rs.diagnose(stated.model).shapes[next(iter(stated.model.outputs))] == (4,)


def test_the_command_line_writes_onnx(tmp_path):
    source, target = tmp_path / "net.onnx", tmp_path / "fixed.onnx"
    onnx.save(wrong_widths(), source)
    result = CliRunner().invoke(app, ["architecture", str(source), "-o", str(target), "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["proved"] is True
    assert len(record["weights"]) == 2
    assert CliRunner().invoke(app, ["architecture", str(target)]).stdout.splitlines()[0] == "valid"


def test_no_onnx_file_is_an_error(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ArchitectureError, match="is no ONNX file"):
        read_onnx(path)


@pytest.mark.parametrize("content", [b"", onnx.ModelProto(ir_version=8).SerializeToString()])
def test_a_file_without_a_graph_is_not_called_valid(content, tmp_path):
    """Protobuf takes an empty file for a model."""
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    result = CliRunner().invoke(app, ["architecture", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no graph with an output" in result.stderr


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Tanh", ["x"], ["y"])],
            "defined before: y",
        ),
        ([helper.make_node("Relu", ["x"], ["y"], domain="foo")], "operator set 'foo'"),
        ([helper.make_node("Relu", ["x", "x"], ["y"])], "2 inputs, expected at most 1"),
        (
            [helper.make_node("Relu", ["x"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
            "defined before: c",
        ),
    ],
)
def test_graphs_that_no_runtime_loads_are_not_called_valid(nodes, said):
    with pytest.raises(ArchitectureError, match=said):
        read_onnx(network(nodes, {"c": np.zeros(3, np.float32)}, ("N", 3)))


def test_a_file_keeps_its_constants_apart():
    """A constant of full rank carries a batch axis of 1."""
    proto = graph("Add", [(2, 3, 4)], {"c": values(1, 3, 5)})
    assert [f.rule for f in rs.diagnose(proto).faults] == ["shapes broadcast"]
    fix = rs.repair_architecture(proto)
    assert [e.name for e in fix.edits] == ["constant", "constant"]
    repaired, refits = write_onnx(fix.given, fix.edits)
    assert run(repaired, (2, 3, 4)).shape == (2, 3, 4)
    assert "12 of 15 values kept" in str(refits[0])


def convolution(kernel, shape, op="Conv", **attributes):
    """One Conv whose kernel has another number of axes than its input."""
    weight = numpy_helper.from_array(kernel.astype(np.float32), "w")
    node = helper.make_node(op, ["x", "w"], ["y"], name="c", **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", *shape])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [out], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CHEAP_SIBLING = replace(
    Costs(weights=2, transpose=1), adapters=dict.fromkeys(Costs().adapters, 30), sibling=3, remove=30,
    input_layout=30,
)  # fmt: skip


def test_a_convolution_gets_another_number_of_axes(tmp_path):
    """The window of 1 goes; what the other axis computed stays as it was, checked against onnxruntime."""
    rng = np.random.default_rng(0)
    kernel, data = rng.normal(size=(4, 3, 5, 1)), rng.normal(size=(2, 3, 40)).astype(np.float32)
    fix = rs.repair_architecture(
        convolution(kernel, (3, 40), kernel_shape=[5, 1], strides=[2, 1], pads=[2, 0, 1, 0]),
        costs=CHEAP_SIBLING,
    )
    assert fix.proved
    assert str(fix.edits[0]).startswith("c: Conv2d → Conv1d(kernel_shape=(5,), strides=(2,), pads=(2, 1)")
    (note,) = fix.save(tmp_path / "fixed.onnx")
    assert "60 of 60 values kept" in note
    right = convolution(kernel[..., 0], (3, 40), kernel_shape=[5], strides=[2], pads=[2, 1])
    ours = ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, {"x": data})[0]
    theirs = ort.InferenceSession(right.SerializeToString()).run(None, {"x": data})[0]
    np.testing.assert_array_equal(ours, theirs)


def test_a_kernel_stands_in_the_middle_of_a_new_axis(tmp_path):
    kernel, data = np.arange(24.0).reshape(2, 4, 3) + 1, np.random.default_rng(1).normal(size=(2, 4, 9, 9))
    fix = rs.repair_architecture(convolution(kernel, (4, 9, 9)), costs=CHEAP_SIBLING)
    assert [edit.operation for edit in fix.edits] == ["swap", "weights"]
    (note,) = fix.save(tmp_path / "fixed.onnx")
    assert "24 of 24 values kept, at the middle of the others; 48 are zero" in note
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "fixed.onnx").graph.initializer}
    (weight,) = stored.values()
    np.testing.assert_array_equal(weight[..., 1], kernel)
    feed = {"x": data.astype(np.float32)}
    assert ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, feed)[0].shape == (2, 2, 7, 7)


def test_an_axis_of_a_kernel_is_left_out_at_its_middle():
    kernel = np.arange(2 * 3 * 3 * 3.0).reshape(2, 3, 3, 3)
    fitted, how = refit(kernel, (2, 3, 3))
    np.testing.assert_array_equal(fitted, kernel[..., 1])
    assert "18 of 54 values kept" in how


def test_pools_have_siblings_too(tmp_path):
    node = helper.make_node("MaxPool", ["x"], ["y"], name="m", kernel_shape=[3], strides=[2], pads=[1, 0])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 2, 9, 9])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [out])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    fix = rs.repair_architecture(proto, costs=CHEAP_SIBLING)
    assert [(edit.operation, edit.name) for edit in fix.edits] == [("swap", "MaxPool2d")]
    fix.save(tmp_path / "fixed.onnx")
    feed = {"x": np.zeros((2, 2, 9, 9), np.float32)}
    assert ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, feed)[0].shape == (2, 2, 4, 4)


TRANSPOSED = [
    ((3, 4, 5, 1), (3, 9), {"strides": [2, 1], "pads": [2, 0, 1, 0], "output_padding": [1, 0]},
     {"strides": [2], "pads": [2, 1], "output_padding": [1]}),
    ((3, 4, 1, 4), (3, 9), {"strides": [1, 3], "dilations": [1, 2]}, {"strides": [3], "dilations": [2]}),
    ((3, 4, 3, 1, 2), (3, 6, 7), {"strides": [2, 1, 1]}, {"strides": [2, 1]}),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "shape", "given", "wanted"), TRANSPOSED)
def test_a_transposed_convolution_gets_another_number_of_axes(kernel, shape, given, wanted, tmp_path):
    """Axes with a window of 1 go, and the repaired file computes what the layer without them computes."""
    rng = np.random.default_rng(2)
    values, data = rng.normal(size=kernel), rng.normal(size=(2, *shape)).astype(np.float32)
    proto = convolution(values, shape, "ConvTranspose", kernel_shape=kernel[2:], **given)
    fix = rs.repair_architecture(proto, costs=CHEAP_SIBLING)
    fewer = f"ConvTranspose{len(shape) - 1}d"
    assert [(e.operation, e.name) for e in fix.edits if e.cost] == [("swap", fewer), ("weights", "W")]
    (note,) = fix.save(tmp_path / "fixed.onnx")
    assert f"{values.size} of {values.size} values kept" in note
    bare = values.reshape([*kernel[:2], *(size for size in kernel[2:] if size > 1)])
    right = convolution(bare, shape, "ConvTranspose", **wanted)
    ours = ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, {"x": data})[0]
    theirs = ort.InferenceSession(right.SerializeToString()).run(None, {"x": data})[0]
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape[1:] == rs.diagnose(tmp_path / "fixed.onnx").shapes["c"]


def test_a_transposed_kernel_stands_in_the_middle_of_a_new_axis(tmp_path):
    """At the middle of the window along the new axis it does what it did along the old one."""
    kernel = np.arange(24.0).reshape(4, 2, 3) + 1
    data = np.random.default_rng(3).normal(size=(1, 4, 5, 6)).astype(np.float32)
    fix = rs.repair_architecture(convolution(kernel, (4, 5, 6), "ConvTranspose"), costs=CHEAP_SIBLING)
    assert [edit.operation for edit in fix.edits] == ["swap", "weights"]
    fix.save(tmp_path / "fixed.onnx")
    ours = ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, {"x": data})[0]
    assert ours.shape[1:] == rs.diagnose(tmp_path / "fixed.onnx").shapes["c"] == (2, 7, 8)
    line = convolution(kernel, (4, 5), "ConvTranspose")
    theirs = ort.InferenceSession(line.SerializeToString()).run(None, {"x": data[..., 2]})[0]
    np.testing.assert_allclose(ours[..., 3], theirs, rtol=1e-5)


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    ("shape", "kernel", "attributes", "same"),
    [
        ((2, 9), [3, 1], {"strides": [2, 1], "pads": [1, 0, 1, 0]}, {"strides": [2], "pads": [1, 1]}),
        ((2, 9), [1, 1, 4], {"strides": [1, 1, 3], "ceil_mode": 1}, {"strides": [3], "ceil_mode": 1}),
        ((2, 9, 8), [1, 3, 2], {"strides": [1, 2, 1]}, {"strides": [2, 1]}),
    ],
)
def test_pools_lose_axes_with_a_window_of_one(op, shape, kernel, attributes, same, tmp_path):
    def pool(window, **given):
        node = helper.make_node(op, ["x"], ["y"], name="p", kernel_shape=window, **given)
        return network([node], {}, shape=("N", *shape))

    fix = rs.repair_architecture(pool(kernel, **attributes), costs=CHEAP_SIBLING)
    assert [(edit.operation, edit.name) for edit in fix.edits] == [("swap", f"{op}{len(shape) - 1}d")]
    fix.save(tmp_path / "fixed.onnx")
    data = np.random.default_rng(4).normal(size=(2, *shape)).astype(np.float32)
    right = pool([size for size in kernel if size > 1], **same)
    ours = ort.InferenceSession(str(tmp_path / "fixed.onnx")).run(None, {"x": data})[0]
    theirs = ort.InferenceSession(right.SerializeToString()).run(None, {"x": data})[0]
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape[1:] == rs.diagnose(tmp_path / "fixed.onnx").shapes["p"]


@pytest.mark.parametrize(
    ("op", "inputs", "said"),
    [
        ("Tile", ["x", "n"], "no rule"),
        ("Expand", ["x", "n"], "no rule"),
        ("Gather", ["x", "n"], "the table is computed, not stored"),
        ("ReduceMax", ["x", "z"], "axis 0 is the batch"),
    ],
)
def test_operators_without_a_rule_say_so_and_may_be_opaque(op, inputs, said):
    stored = {"n": np.array([1, 2, 1, 1], np.int64), "z": np.array([0], np.int64), "v": values(8, 5)}
    nodes = [
        helper.make_node(op, inputs, ["a"], name="odd"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="fc"),
    ]
    with pytest.raises(ArchitectureError, match=f"odd: {op} .*{said}.*declare them opaque"):
        rs.diagnose(network(nodes, stored))
    found = rs.diagnose(network(nodes, stored), opaque={"odd": (3, 8, 7)})
    assert [(fault.layer, fault.rule) for fault in found.faults] == [("fc", "in_features")]
