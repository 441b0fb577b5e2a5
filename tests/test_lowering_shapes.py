"""Shapes, windows and slices drawn at random, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from onnx import ModelProto
from onnx_models import one_node, random_points, run

from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network import load_network

FEW = settings(max_examples=30, deadline=None)
axes = st.integers(1, 3)
small = st.integers(1, 3)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def agrees(proto: ModelProto) -> None:
    """Our float64 pass and onnxruntime give the same outputs."""
    data = proto.SerializeToString()
    network = load_network(data)
    points = random_points(network.input_size, 3)
    expected = run(data, points, network.input_shape)
    np.testing.assert_allclose(network(points), expected, rtol=1e-4, atol=1e-4)


def refusal(proto: ModelProto) -> str:
    """Why a model is not represented; empty where it is, and agrees."""
    try:
        agrees(proto)
    except UnsupportedOperatorError as error:
        return str(error)
    return ""


@given(
    mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, max_side=3), st.booleans(), st.data()
)
@FEW
def test_arithmetic_broadcasts(shapes: Any, swapped: bool, data: st.DataObject) -> None:
    one, other = shapes.input_shapes
    operator = data.draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    constant = np.abs(floats(*other)) + np.float32(1)
    inputs = (constant, "x") if swapped and operator != "Div" else ("x", constant)
    agrees(one_node(operator, one, *inputs))


@given(
    st.lists(small, max_size=2), st.lists(st.just(1), max_size=2), small, small, st.booleans(), st.booleans()
)
@FEW
def test_products(lead: list[int], ones: list[int], k: int, r: int, left: bool, vector: bool) -> None:
    if left:
        shape = (k,) if vector else (*lead, k, 2)
        agrees(one_node("MatMul", shape, floats(*ones, r, k), "x"))
    else:
        shape = (k,) if vector else (*lead, 2, k)
        agrees(one_node("MatMul", shape, "x", floats(*ones, k, r)))


@given(st.data(), axes)
@FEW
def test_convolutions(data: st.DataObject, rank: int) -> None:
    groups, per_group, multiple = (data.draw(st.integers(1, 2)) for _ in range(3))
    kernel = [data.draw(small) for _ in range(rank)]
    sizes = [data.draw(st.integers(5, 8)) for _ in range(rank)]
    attributes = {
        "strides": [data.draw(small) for _ in range(rank)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(rank)],
        "group": groups,
        **padding(data, kernel, rank),
    }
    if attributes.get("auto_pad", "").startswith("SAME"):
        attributes["dilations"] = [1] * rank
    weight = floats(groups * multiple, per_group, *kernel)
    shape = (1, groups * per_group, *sizes)
    agrees(one_node("Conv", shape, "x", weight, floats(groups * multiple), **attributes))


@given(st.data(), axes, st.sampled_from(["MaxPool", "AveragePool"]))
@FEW
def test_pooling(data: st.DataObject, rank: int, operator: str) -> None:
    kernel = [data.draw(small) for _ in range(rank)]
    shape = (1, 2, *(data.draw(st.integers(5, 8)) for _ in range(rank)))
    attributes = {
        "kernel_shape": kernel,
        "strides": [data.draw(small) for _ in range(rank)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(rank)],
        **padding(data, kernel, rank),
    }
    if "auto_pad" not in attributes:
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    else:
        attributes |= {
            "dilations": [1] * rank,
            "strides": [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)],
        }
    if operator == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    refused = refusal(one_node(operator, shape, opset=22, **attributes))
    assert not refused or "lie in the padding alone" in refused


def padding(data: st.DataObject, kernel: list[int], rank: int) -> dict[str, Any]:
    """Pads smaller than the kernel, or a rule for them."""
    rule = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if rule != "NOTSET":
        return {"auto_pad": rule}
    return {"pads": [data.draw(st.integers(0, kernel[i % rank] - 1)) for i in range(2 * rank)]}


@given(st.data(), axes)
@FEW
def test_slices(data: st.DataObject, rank: int) -> None:
    shape = [data.draw(st.integers(1, 5)) for _ in range(rank)]
    chosen = data.draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    bound = st.one_of(st.integers(-7, 7), st.sampled_from([2**63 - 1, -(2**63) + 1]))
    starts, ends = ([data.draw(bound) for _ in chosen] for _ in range(2))
    steps = [data.draw(st.sampled_from([1, 2, -1, -2])) for _ in chosen]
    inputs = [np.array(values, np.int64) for values in (starts, ends, chosen, steps)]
    proto = one_node("Slice", shape, "x", *inputs)
    refused = refusal(proto)
    empty = not run(proto.SerializeToString(), np.zeros((1, int(np.prod(shape)))), shape).size
    assert empty == ("is empty" in refused)


@given(st.data(), st.integers(1, 4))
@FEW
def test_transposing_and_reshaping(data: st.DataObject, rank: int) -> None:
    shape = [data.draw(small) for _ in range(rank)]
    agrees(one_node("Transpose", shape, perm=data.draw(st.permutations(range(rank)))))
    target = list(data.draw(st.permutations(shape)))
    place = data.draw(st.integers(0, rank - 1))
    target[place] = -1
    agrees(one_node("Reshape", shape, "x", np.array(target)))


@given(st.data(), st.integers(1, 4), st.booleans(), st.sampled_from(["ReduceSum", "ReduceMean"]))
@FEW
def test_reductions(data: st.DataObject, rank: int, keep: bool, operator: str) -> None:
    shape = [data.draw(small) for _ in range(rank)]
    chosen = data.draw(st.lists(st.integers(0, rank - 1), max_size=rank, unique=True))
    negative = [a - rank if data.draw(st.booleans()) else a for a in chosen]
    agrees(one_node(operator, shape, "x", np.array(negative, np.int64), opset=18, keepdims=int(keep)))
