"""Arguments that no layer has are named in every form that names arguments; real ones are not."""

from __future__ import annotations

import inspect

import onnx
import pytest
from onnx import TensorProto, helper
from torch import nn

import repairsolver as rs
from layerwise.shapes import RULES
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.spelling import OTHERS, instead
from repairsolver.errors import ArchitectureError


def _listed(framework: str, kind: str, args: dict[str, object]) -> dict[str, object]:
    layers = [{"name": "c", "type": kind, "args": args}]
    return {"framework": framework, "input_shape": [8, 8, 1], "layers": layers}


def test_listed() -> None:
    with pytest.raises(ArchitectureError, match="'kernal_size', did you mean 'kernel_size'"):
        read_model(_listed("keras", "Conv2D", {"filters": 2, "kernal_size": 3}))
    with pytest.raises(ArchitectureError, match="'paddng', did you mean 'padding'"):
        read_model(
            _listed("torch", "Conv2d", {"in_channels": 8, "out_channels": 2, "kernel_size": 3, "paddng": 1})
        )
    with pytest.raises(ArchitectureError, match="'use_bais', did you mean 'use_bias'"):
        read_model(_listed("keras", "Dense", {"units": 2, "use_bais": True}))
    with pytest.raises(ArchitectureError, match="'colour', expected units"):
        read_model(_listed("keras", "Dense", {"units": 2, "colour": 3}))


def test_all_are_listed() -> None:
    layers = [{"name": name, "type": "Dense", "args": {"units": 2, "unit": 2}} for name in "ab"]
    with pytest.raises(ArchitectureError, match=r"a \(Dense\).*; b \(Dense\)"):
        read_model({"input_shape": [3], "layers": layers})


def test_keras() -> None:
    inner = {"class_name": "Dense", "config": {"name": "e", "unitss": 3, "units": 3, "trainable": True}}
    wrapper = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": inner}}
    first = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 5, 4]}}
    model = {"class_name": "Sequential", "config": {"layers": [first, wrapper]}}
    with pytest.raises(
        ArchitectureError, match=r"t \(TimeDistributed\(Dense\)\).*'unitss', did you mean 'units"
    ):
        read_model(model)
    del inner["config"]["unitss"]  # type: ignore[attr-defined]
    assert rs.diagnose(model).valid


def test_exais() -> None:
    layer = {
        "name": "d",
        "type": "dense",
        "nodes": "2",
        "inputs": ["[[1, 2]]"],
        "weigths": "[[1, 2], [3, 4]]",
    }
    with pytest.raises(ArchitectureError, match=r"d \(dense\).*'weigths', did you mean 'weights'"):
        read_model({"layers": [layer]})


def test_onnx() -> None:
    node = helper.make_node("Flatten", ["x"], ["y"], name="f", axes=1)
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 2, 3]), ("y", [1, 6]))
    ]
    proto = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    with pytest.raises(ArchitectureError, match=r"f: Flatten .no attribute 'axes', did you mean 'axis'"):
        rs.diagnose(proto)
    del proto.graph.node[0].attribute[:]
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("axis", 1))
    assert rs.diagnose(proto).valid


def test_every_argument_of_torch_is_known() -> None:
    for kind, rule in RULES["torch"].items():
        if hasattr(nn, kind):
            real = set(inspect.signature(getattr(nn, kind).__init__).parameters) - {"self", "args", "kwargs"}
            assert real <= {*rule.names, *OTHERS["torch"]}, kind


def test_nothing_near() -> None:
    assert instead("colour", ()) == "remove it"


def test_an_argument_is_changed_rather_than_a_layer_inserted() -> None:
    layers = [
        {"name": "c", "type": "Conv2d", "args": {"in_channels": 1, "out_channels": 2, "kernel_size": 3}},
        {"name": "s", "type": "Add", "inputs": ["c", "x"]},
    ]
    model = {"framework": "torch", "input_shape": {"x": [1, 8, 8]}, "layers": layers}
    for every in (0, 20):
        fix = rs.repair_architecture(model, every=every)
        ways = [fix.edits, *fix.equals]
        counts = [sum(edit.operation in ("insert", "remove") for edit in way) for way in ways]
        assert counts == sorted(counts), every
        assert [str(edit) for edit in fix.edits] == ["c: padding 0 → 1"]
