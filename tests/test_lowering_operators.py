"""Every ONNX operator, in every opset that changed it, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto
from onnx_models import one_node, random_points, run

from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network import load_network
from repairsolver.network.lowering import LOWERINGS

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 23, 25, 28)
random = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


X, W = "x", floats(3, 4)
Case = tuple[str, Callable[[int], ModelProto], tuple[int, int]]


def case(
    operator: str, shape: tuple[int, ...], *inputs: Any, since: int = 7, until: int = 99, **attributes: Any
) -> Case:
    """One operator in the opsets that write it this way."""
    given = inputs or (X,)
    text = ", ".join(
        [*(f"{k}={v}" for k, v in attributes.items()), *(str(np.shape(i)) for i in given if i is not X)]
    )

    def build(opset: int) -> ModelProto:
        return one_node(operator, shape, *given, opset=opset, **attributes)

    return f"{operator} {list(shape)} {text}", build, (since, until)


ARITHMETIC = [
    case("Add", (1, 3), X, floats(3)),
    case("Add", (1, 3), floats(2, 1), X),
    case("Add", (1, 3), X, X),
    case("Sub", (1, 3), X, floats(1, 3)),
    case("Sub", (1, 3), floats(3), X),
    case("Sub", (2, 3), X, X),
    case("Mul", (1, 2, 3), X, floats(2, 1)),
    case("Mul", (1, 3), number(2.5), X),
    case("Div", (1, 3), X, floats(3)),
    case("Neg", (2, 3)),
    case("Max", (1, 3), X, floats(3), since=8),
    case("Max", (1, 3), X),
    case("Max", (2, 3), X, floats(2, 1), X, number(0.25), since=8),
    case("Max", (1, 3), X, np.array([0.5, -3.4028235e38, -3.4028235e38], np.float32), since=8),
    case("Min", (2, 3), number(0.5), X, since=8),
    case("Min", (1, 3), X, X, floats(3), since=8),
    case("Where", (2, 3), np.array([[True, False, True]]), X, floats(2, 3), since=9),
    case("Where", (1, 3), np.array([False, True, True]), X, X, since=9),
    case("Sum", (1, 3), X, floats(2, 3), X, since=8),
    case("Sum", (1, 3), X),
    case("Mean", (1, 3), X, floats(2, 3), X, since=8),
    case("Mean", (1, 3), X),
    case(
        "BatchNormalization", (1, 3, 2, 2), X, floats(3), floats(3), floats(3), floats(3) ** 2, epsilon=0.01
    ),
    case("BatchNormalization", (1, 3), X, floats(3), floats(3), floats(3), floats(3) ** 2),
]
PRODUCTS = [
    case("Gemm", (1, 3), X, W, floats(4)),
    case("Gemm", (1, 4), X, W, floats(3), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", (3, 2), X, W, floats(2, 4), transA=1),
    case("Gemm", (2, 3), X, W, number(1.5)),
    case("Gemm", (4, 2), W, X, floats(3, 1)),
    case("Gemm", (2, 4), W, X, floats(3, 2), transB=1, alpha=3.0),
    case("Gemm", (3, 2), W, X, floats(2), transA=1),
    case("Gemm", (1, 3), X, W, floats(4), beta=0.0),
    case("Gemm", (1, 3), X, W, since=11),
    case("MatMul", (1, 3), X, W),
    case("MatMul", (2, 5, 3), X, W),
    case("MatMul", (3,), X, W),
    case("MatMul", (3,), X, floats(3)),
    case("MatMul", (2, 3), X, floats(3)),
    case("MatMul", (4,), W, X),
    case("MatMul", (4, 1), W, X),
    case("MatMul", (2, 4, 5), W, X),
    case("MatMul", (4, 5), floats(4), X),
    case("MatMul", (2, 3), X, floats(1, 3, 4)),
    case("MatMul", (4, 2), floats(1, 3, 4), X),
    case("MatMul", (3,), X, floats(1, 3, 4)),
]
FUNCTIONS = [
    case("Relu", (2, 3)),
    case("Abs", (2, 3)),
    case("Sigmoid", (2, 3)),
    case("Tanh", (2, 3)),
    case("Elu", (2, 3)),
    case("Elu", (1, 3), alpha=0.4),
    case("Selu", (2, 3)),
    case("Selu", (1, 3), alpha=0.4, gamma=1.5),
    case("Celu", (2, 3), since=12),
    case("Celu", (1, 3), alpha=0.4, since=12),
    case("Gelu", (2, 3), since=20),
    case("Gelu", (1, 3), approximate="tanh", since=20),
    case("LeakyRelu", (1, 3)),
    case("LeakyRelu", (1, 3), alpha=0.3),
    case("PRelu", (1, 3, 2), X, floats(3, 1)),
    case("PRelu", (1, 3), X, floats(3)),
    case("HardSigmoid", (1, 5)),
    case("HardSigmoid", (1, 5), alpha=0.7, beta=-0.2),
    case("Clip", (1, 5), min=-1.0, max=0.5, until=10),
    case("Clip", (1, 5), max=0.5, until=10),
    case("Clip", (1, 5), until=10),
    case("Clip", (1, 5), X, number(-1), number(0.5), since=11),
    case("Clip", (1, 5), X, "", number(0.5), since=11),
    case("Clip", (1, 5), X, number(0), since=11),
    case("Clip", (1, 5), X, number(-np.inf), number(1), since=11),
    case("Softmax", (1, 5)),
    case("Softmax", (2, 3, 4), axis=1),
    case("Softmax", (2, 3, 1), axis=1),
    case("Softmax", (2, 3, 4), axis=-1, since=13),
    case("Softmax", (2, 3, 4), axis=0, since=13),
    case("Identity", (2, 3)),
    case("Dropout", (2, 3), ratio=0.3, until=11),
    case("Dropout", (2, 3), X, number(0.3), np.array(False), since=12),
    case("Cast", (2, 3), to=TensorProto.FLOAT),
]
ARRANGEMENTS = [
    case("Flatten", (2, 3, 4)),
    case("Flatten", (2, 3, 4), axis=0),
    case("Flatten", (2, 3, 4), axis=2),
    case("Flatten", (2, 3, 4), axis=-1, since=11),
    case("Reshape", (2, 3, 4), X, ints(4, 6)),
    case("Reshape", (2, 3, 4), X, ints(0, -1)),
    case("Reshape", (2, 3, 4), X, ints(3, 0 + 2, -1)),
    case("Reshape", (2, 3, 4), X, ints(-1), allowzero=1, since=14),
    case("Squeeze", (1, 2, 1, 3)),
    case("Squeeze", (1, 2, 1, 3), axes=[2], until=12),
    case("Squeeze", (1, 2, 1, 3), X, ints(0, -2), since=13),
    case("Squeeze", (1, 2, 1, 3), X, ints(), since=13),
    case("Unsqueeze", (2, 3), axes=[0, 3], until=12),
    case("Unsqueeze", (2, 3), X, ints(0, -1), since=13),
    case("Transpose", (2, 3, 4)),
    case("Transpose", (2, 3, 4), perm=[1, 0, 2]),
    case("Concat", (2, 3), X, X, axis=1),
    case("Concat", (2, 3), X, X, axis=0),
    case("Concat", (2, 3), floats(2, 1), X, floats(2, 2), X, axis=1),
    case("Concat", (2, 3), X, floats(1, 3), axis=-2, since=11),
    case("Split", (2, 6), axis=1, results=2, until=17),
    case("Split", (2, 6), axis=1, split=[1, 5], results=2, until=12),
    case("Split", (2, 6), X, ints(4, 2), axis=-1, results=2, since=13),
    case("Split", (2, 7), axis=1, num_outputs=3, results=3, since=18),
    case("Slice", (4, 5), starts=[1, 0], ends=[3, 100], until=9),
    case("Slice", (4, 5), starts=[-2], ends=[-1], axes=[1], until=9),
    case("Slice", (4, 5), X, ints(1), ints(4), ints(1), ints(2), since=10),
    case("Slice", (4, 5), X, ints(-1, 3), ints(-100, 0), ints(1, 0), ints(-1, -2), since=10),
    case("Slice", (4, 5), X, ints(3), ints(np.iinfo(np.int64).max), ints(-1), since=10),
    case("Slice", (4, 5), X, ints(1, 1), ints(3, 9), since=10),
    case("Pad", (1, 1, 2, 3), pads=[0, 0, 1, 0, 0, 0, 2, 1], until=10),
    case("Pad", (1, 1, 2, 3), pads=[0, 0, 1, 0, 0, 0, 2, 1], value=1.5, until=10),
    case("Pad", (2, 3), X, ints(1, 0, 0, 2), number(-2.0), since=11),
    case("Pad", (2, 3), X, ints(0, -1, 1, 0), since=11),
    case("Pad", (2, 4), X, ints(2, 1), number(0.5), ints(-1), since=18),
    case("Pad", (1, 1, 3, 3), X, ints(0, 0, 1, 2, 0, 0, 1, 0), mode="reflect", since=11),
    case("Pad", (1, 1, 3, 3), X, ints(0, 0, 1, 2, 0, 0, 1, 0), mode="edge", since=11),
]
ARRANGEMENTS += [
    case("Pad", (2, 3), X, ints(1, 2, 0, 1), mode="wrap", since=19),
    case("Pad", (1, 1, 2, 3), X, ints(0, 0, 5, 1, 0, 0, 2, 4), mode="wrap", since=19),
]
GATHERED = [
    case("Gather", (3, 4), X, ints(2, 0, 0)),
    case("Gather", (3, 4), X, np.array(1, np.int64), axis=1),
    case("Gather", (2, 3, 4), X, np.array([[0, -1], [1, 2]], np.int32), axis=-2, since=11),
    case("GatherElements", (3, 4), X, np.array([[0, 1], [-1, 3]], np.int64), axis=1, since=11),
    case("GatherElements", (3, 4), X, np.array([[2, 1, 0, 0]], np.int64), since=11),
    case("GatherND", (2, 3, 4), X, np.array([[0, 1], [-1, 2]], np.int64), since=11),
    case("GatherND", (2, 3), X, np.array([[[1, 1]], [[0, -1]]], np.int64), since=11),
    case("Tile", (2, 3), X, ints(2, 3)),
    case("Tile", (1, 2, 3), X, ints(1, 1, 2)),
    case("Expand", (2, 1), X, ints(3, 1, 4), since=8),
    case("Expand", (2, 3), X, ints(1, 1), since=8),
    case("DepthToSpace", (1, 8, 2, 3), blocksize=2),
    case("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="DCR", since=11),
    case("DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD", since=11),
    case("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
]
WINDOWS = [
    case("Conv", (1, 2, 5), X, floats(3, 2, 3), floats(3)),
    case("Conv", (1, 2, 5, 6), X, floats(4, 2, 3, 2)),
    case(
        "Conv",
        (1, 2, 4, 3, 5),
        X,
        floats(2, 2, 2, 1, 3),
        floats(2),
        strides=[1, 2, 2],
        pads=[1, 0, 0, 0, 1, 2],
    ),
    case("Conv", (1, 4, 7, 7), X, floats(6, 2, 3, 3), floats(6), group=2, strides=[2, 1], dilations=[1, 2]),
    case("Conv", (1, 3, 5, 5), X, floats(3, 1, 3, 3), group=3, pads=[1, 1, 1, 1]),
    case("Conv", (1, 1, 5, 6), X, floats(1, 1, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", (1, 1, 5, 6), X, floats(1, 1, 2, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    case("Conv", (1, 1, 5, 6), X, floats(1, 1, 2, 3), auto_pad="VALID", strides=[2, 2]),
    case("ConvTranspose", (1, 2, 5), X, floats(2, 3, 3), floats(3)),
    case("ConvTranspose", (1, 2, 3, 4), X, floats(2, 3, 3, 2), strides=[2, 3], pads=[1, 0, 0, 1]),
    case("ConvTranspose", (1, 4, 3, 4), X, floats(4, 3, 3, 3), floats(6), group=2, strides=[2, 2]),
    case(
        "ConvTranspose",
        (1, 2, 3, 4),
        X,
        floats(2, 1, 2, 3),
        strides=[2, 1],
        dilations=[2, 1],
        output_padding=[1, 0],
    ),
    case("ConvTranspose", (1, 2, 2, 3, 2), X, floats(2, 2, 2, 2, 2), floats(2), strides=[2, 2, 2]),
    case("ConvTranspose", (1, 1, 3, 4), X, floats(1, 2, 4, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    case("ConvTranspose", (1, 1, 3, 4), X, floats(1, 2, 4, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
    case("ConvTranspose", (1, 1, 3, 4), X, floats(1, 2, 4, 3), strides=[2, 2], auto_pad="VALID"),
    case("ConvTranspose", (1, 1, 4), X, floats(1, 1, 4), strides=[3], output_shape=[10]),
    case("MaxPool", (1, 2, 6), kernel_shape=[3], strides=[2]),
    case("MaxPool", (2, 2, 5, 6), kernel_shape=[2, 3], pads=[1, 1, 0, 1]),
    case("MaxPool", (1, 1, 5, 6), kernel_shape=[2, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("MaxPool", (1, 1, 5, 6), kernel_shape=[3, 2], auto_pad="SAME_LOWER", strides=[2, 2]),
    case("MaxPool", (1, 1, 5, 5), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, since=10),
    case("MaxPool", (1, 1, 7, 7), kernel_shape=[3, 2], dilations=[2, 3], since=10),
    case("MaxPool", (1, 1, 3, 4, 3), kernel_shape=[2, 2, 2]),
    case("AveragePool", (1, 2, 6), kernel_shape=[3], strides=[2]),
    case("AveragePool", (2, 2, 5, 6), kernel_shape=[2, 3], pads=[1, 1, 0, 1]),
    case("AveragePool", (1, 2, 5, 6), kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1),
    case("AveragePool", (1, 1, 5, 6), kernel_shape=[2, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("AveragePool", (1, 1, 5, 6), kernel_shape=[3, 2], auto_pad="SAME_LOWER", count_include_pad=1),
    case("AveragePool", (1, 1, 5, 5), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, since=10),
    case(
        "AveragePool",
        (1, 1, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        since=19,
    ),
    case(
        "AveragePool",
        (1, 1, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=1,
        since=19,
    ),
    case("AveragePool", (1, 1, 7, 7), kernel_shape=[2, 2], dilations=[2, 3], since=19),
    case("GlobalAveragePool", (2, 3, 4, 5)),
    case("GlobalMaxPool", (2, 3, 4)),
]
RESIZED = [
    case("Upsample", (1, 2, 3), scales=[1.0, 1.0, 2.0], until=8),
    case("Upsample", (1, 2, 3, 2), X, np.float32([1, 1, 2, 1.5]), since=9, until=9),
    case("Upsample", (1, 2, 3, 2), X, np.float32([1, 1, 2, 2]), mode="linear", since=9, until=9),
    case("Resize", (1, 2, 3, 2), X, np.float32([1, 1, 2, 1.5]), since=10, until=10),
    case("Resize", (1, 2, 3, 2), X, np.float32([1, 1, 2, 2]), mode="linear", since=10, until=10),
    case("Resize", (1, 2, 3, 2), X, np.float32([]), np.float32([1, 1, 2, 1.5]), since=11),
    case("Resize", (1, 2, 3, 5), X, np.float32([]), np.float32([1, 1, 1, 0.5]), since=11),
    case("Resize", (1, 2, 3, 4), X, "", "", ints(1, 2, 5, 7), since=13),
    case("Resize", (1, 2, 3, 4), X, "", "", ints(1, 2, 7, 3), mode="linear", since=13),
    case("Resize", (1, 2, 3, 4), X, "", "", ints(5, 6), axes=[2, 3], since=18),
    case("Resize", (1, 2, 3, 4), X, "", np.float32([2, 2]), axes=[-2, -1], mode="linear", since=18),
    # Factors that make no axis longer move nothing; beside an axis that grows they do.
    case("Upsample", (1, 2, 3, 4), scales=[1.0, 1.0, 1.2, 1.2], mode="linear", until=8),
    case("Upsample", (1, 2, 4), X, np.float32([1, 1, 1.2]), since=9, until=9),
    case("Resize", (1, 2, 4), X, np.float32([1, 1, 1.2]), mode="linear", since=10, until=10),
    case("Resize", (1, 2, 3, 4), X, "", np.float32([1, 1, 1.2, 1.2]), since=13),
    case("Resize", (1, 2, 3, 4), X, "", np.float32([1, 1, 1.2, 1.2]), mode="linear", since=13),
    case("Resize", (1, 2, 3, 4), X, "", np.float32([1, 1, 1.2, 2]), since=13),
    case("Resize", (1, 2, 3, 4), X, "", np.float32([1, 1, 1.2, 2]), mode="linear", since=13),
]
CUMULATIVE = [
    case("CumSum", (2, 3), X, np.array(1, np.int32), since=11),
    case("CumSum", (2, 3, 4), X, np.array(-2, np.int64), exclusive=1, since=11),
    case("CumSum", (4,), X, np.array(0, np.int64), exclusive=1, reverse=1, since=11),
]
CHANGED = [("ReduceSum", 13), ("ReduceMean", 18), ("ReduceL1", 18), ("ReduceMax", 18), ("ReduceMin", 18)]
REDUCTIONS = [
    case(operator, (2, 3, 4), *inputs, since=since, until=until, **attributes)
    for operator, change in CHANGED
    for inputs, since, until, attributes in [
        ((), 7, 99, {}),
        ((), 7, 99, {"keepdims": 0}),
        ((), 7, change - 1, {"axes": [1]}),
        ((), 11, change - 1, {"axes": [-1, 0], "keepdims": 0}),
        ((X, ints(1)), change, 99, {}),
        ((X, ints(-1, 0)), change, 99, {"keepdims": 0}),
        ((X, ints()), change, 99, {"noop_with_empty_axes": 1}),
    ]
]
CASES = [*ARITHMETIC, *PRODUCTS, *FUNCTIONS, *ARRANGEMENTS, *GATHERED, *WINDOWS, *RESIZED, *CUMULATIVE]
CASES += REDUCTIONS


def in_opsets() -> Iterator[Any]:
    """Each case in the first and last opset that writes it so, and in one between."""
    for title, build, (since, until) in CASES:
        fitting = [o for o in OPSETS if since <= o <= until]
        for opset in sorted({fitting[0], fitting[len(fitting) // 2], fitting[-1]}):
            yield pytest.param(build, opset, id=f"{title} opset {opset}")


@pytest.mark.parametrize(("build", "opset"), list(in_opsets()))
def test_an_operator_computes_what_onnxruntime_computes(
    build: Callable[[int], ModelProto], opset: int
) -> None:
    model = build(opset)
    for output in [value.name for value in model.graph.output]:
        network = load_network(model.SerializeToString(), output=output)
        points = random_points(network.input_size)
        expected = run(model.SerializeToString(), points, network.input_shape, output)
        assert network(points).shape == expected.shape
        np.testing.assert_allclose(network(points), expected, rtol=1e-5, atol=1e-5)


def test_every_supported_operator_has_a_case() -> None:
    tested = {title.split()[0] for title, _, _ in CASES}
    others = {"Shape", "GreaterOrEqual", "LessOrEqual"}
    assert set(LOWERINGS) - tested == others, "these have tests of their own, they are no float functions"


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_constants_beyond_float32_limit_entries_in_float64(operator: str) -> None:
    limit = np.array(-1e39 if operator == "Max" else 1e39)
    network = load_network(
        one_node(operator, (1, 3), X, limit, element=TensorProto.DOUBLE).SerializeToString()
    )
    points = np.array([[-1e40, 0, 1e40], [-1e38, -2e39, 2e39]])
    np.testing.assert_array_equal(network(points), run(network.model, points, (1, 3)))
    np.testing.assert_array_equal(network(points), getattr(np, operator.lower() + "imum")(points, limit))


def test_float64_files_agree_to_float64_rounding() -> None:
    weight = np.random.default_rng(3).standard_normal((3, 4))
    model = one_node("MatMul", (1, 3), X, weight, element=TensorProto.DOUBLE)
    network = load_network(model.SerializeToString())
    points = np.random.default_rng(4).standard_normal((5, 3))
    assert network.element == np.float64
    np.testing.assert_allclose(network(points), run(network.model, points, (1, 3)), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (one_node("Mul", (1, 3), X, X), "product of two tensors"),
        (one_node("MatMul", (3, 3), X, X), "product of two tensors"),
        (one_node("Div", (1, 3), floats(3), X), "divisor depends"),
        (one_node("Div", (1, 3), X, np.array([1, 0, 1], np.float32)), "divisor has a zero"),
        (one_node("Gather", (3, 2), X, ints(3)), "do not fit"),
        (one_node("GatherND", (3, 2), X, np.array([[0, 2]], np.int64)), "do not fit"),
        (one_node("GatherND", (3, 2), X, np.array([[0], [1], [0]], np.int64), batch_dims=1), "batch_dims"),
        (one_node("GatherElements", (3, 2), X, ints(0, 1)), "rank 1"),
        (one_node("Tile", (3, 2), X, ints(2)), "repeats"),
        (one_node("Tile", (3, 2), X, ints(2**20, 2**20)), "more than"),
        (one_node("Expand", (3, 2), X, ints(2, 2)), "do not fit"),
        (one_node("Expand", (3, 1), X, ints(2**30, 1, 2)), "more than"),
        (one_node("SpaceToDepth", (1, 2, 3, 4), blocksize=2), "no multiple"),
        (one_node("DepthToSpace", (1, 6, 3, 4), blocksize=2), "no multiple"),
        (one_node("Erf", (1, 3)), "not supported"),
        (one_node("Cast", (1, 3), to=TensorProto.INT64), "type other than"),
        (one_node("Clip", (1, 3), X, number(1), number(0)), "above its upper end"),
        (one_node("Dropout", (1, 3), X, number(0.5), np.array(True)), "training mode"),
        (one_node("Conv", (2, 1, 4), X, floats(1, 1, 2)), "fixed batch of 2"),
        (one_node("Conv", (1, 3, 4), X, floats(2, 2, 2)), "channels"),
        (one_node("MatMul", (2, 4, 3), X, floats(2, 3, 5)), "stack of matrices"),
        (one_node("Pad", (2, 3), X, ints(0, 1, 0, 1), mode="mirror", opset=19), "mode 'mirror'"),
        (one_node("ConvTranspose", (2, 1, 4), X, floats(1, 1, 2)), "fixed batch of 2"),
        (one_node("ConvTranspose", (1, 3, 4), X, floats(2, 2, 2)), "3 channels"),
        (one_node("ConvTranspose", (1, 1, 4), X, floats(1, 1, 2), output_shape=[7]), "reach"),
        (one_node("ConvTranspose", (1, 1, 2), X, floats(1, 1, 2), pads=[2, 1]), "leave nothing"),
        (one_node("Resize", (1, 1, 4), X, "", np.float32([1, 1, 2]), mode="cubic"), "mode 'cubic'"),
        (one_node("Resize", (1, 1, 4), X, "", "", ints(1, 1, 0)), "sizes"),
        (one_node("Resize", (1, 1, 4), X, "", np.float32([1, 2])), "scales"),
        (one_node("Resize", (1, 1, 4), X, "", np.float32([1, 1, 2]), exclude_outside=1), "exclude_outside"),
        (one_node("Upsample", (1, 1, 4), X, np.float32([1, 1, 0.5]), opset=9), "shorter"),
        (one_node("Celu", (1, 3), alpha=-1.0), "alpha"),
        (one_node("Pad", (2, 3), pads=[0, 1, 0, 1], value=-np.inf, opset=9), "pads with"),
        (one_node("Reshape", (2, 3), X, ints(4, 2)), "another size"),
        (one_node("Squeeze", (2, 3), X, ints(1)), "another size"),
        (one_node("Unsqueeze", (2, 3), X, ints(0, 0)), "twice"),
        (one_node("Unsqueeze", (2, 3), X, ints(1, -3)), "twice"),
        (one_node("Transpose", (2, 3), perm=[0, 0]), "do not fit"),
        (one_node("MaxPool", (1, 1, 3), kernel_shape=[5]), "does not fit"),
        (one_node("MaxPool", (1, 1, 3), kernel_shape=[2, 2]), "do not fit 1 spatial"),
        (one_node("MatMul", (1, 3), X, ints(*range(12)).reshape(3, 4)), "int64"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.graph.node[0].op_type,
)
def test_what_cannot_be_represented_is_refused_with_its_reason(model: ModelProto, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=reason) as error:
        load_network(model.SerializeToString())
    assert "'node'" in str(error.value)


@pytest.mark.parametrize("constant_nodes", [False, True])
def test_constants_may_be_initialisers_or_constant_nodes(constant_nodes: bool) -> None:
    model = one_node("Gemm", (1, 3), X, W, floats(4), constant_nodes=constant_nodes)
    layer = load_network(model.SerializeToString()).nodes[0]
    assert layer.operator.weight_source.tensor == "c1"
    np.testing.assert_array_equal(layer.operator.weight, W.T)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "Conv"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_windows_of_every_geometry_are_read_as_onnxruntime_runs_them_or_refused(
    operator: str, auto_pad: str
) -> None:
    """One axis of 5 or 6 entries: kernels, strides, dilations and both roundings."""
    read, refused = 0, list[tuple[int, ...]]()
    for n, k, s, d, ceil in product((5, 6), (1, 2, 3), (1, 2, 3), (1, 2, 3), (0, 1)):
        shared: dict[str, Any] = {"strides": [s], "dilations": [d], "auto_pad": auto_pad, "opset": 19}
        if operator == "Conv" and ceil:
            continue
        if operator == "Conv":
            model = one_node(
                "Conv", (1, 1, n), X, np.arange(1, k + 1, dtype=np.float32)[None, None], **shared
            )
        else:
            model = one_node(operator, (1, 1, n), X, kernel_shape=[k], ceil_mode=ceil, **shared)
        try:
            network = load_network(model.SerializeToString())
        except UnsupportedOperatorError:
            refused.append((n, k, s, d))
            continue
        read += 1
        points = np.vstack([np.arange(1.0, n + 1), random_points(n, 3)])
        np.testing.assert_allclose(network(points), run(network.model, points, (1, 1, n)), rtol=1e-5)
    # What does not fit, what onnxruntime does not run, and strides that leave entries out.
    assert all(d * (k - 1) >= n - 2 or (operator == "Conv" and d > 1) or s > k for n, k, s, d in refused)
    assert read >= (18 if operator == "Conv" else 60)


def test_transposed_convolutions_of_every_geometry_are_read_as_onnxruntime_runs_them_or_refused() -> None:
    """One axis: kernels, strides, dilations, output padding, and every way to give the pads."""
    ways = [{"pads": [0, 0]}, {"pads": [1, 0]}, {"pads": [0, 2]}, {"output_shape": [7]}]
    ways += [{"auto_pad": auto} for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    ways += [{"auto_pad": "SAME_UPPER", "output_shape": [6]}]
    read = 0
    for n, k, s, d, r, way in product((1, 3), (1, 2, 3), (1, 2, 3), (1, 2), (0, 1), ways):
        weight = np.arange(1, 2 * k + 1, dtype=np.float32).reshape(1, 2, k)
        model = one_node(
            "ConvTranspose", (1, 1, n), X, weight, strides=[s], dilations=[d], output_padding=[r], **way
        )
        try:
            network = load_network(model.SerializeToString())
        except UnsupportedOperatorError:
            continue
        read += 1
        points = np.vstack([np.arange(1.0, n + 1), random_points(n, 3)])
        np.testing.assert_allclose(network(points), run(network.model, points, (1, 1, n)), rtol=1e-5)
    assert read > 200


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("rule", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
def test_resizing_takes_the_entries_that_onnxruntime_takes(mode: str, rule: str) -> None:
    """One axis to every length, by sizes and by factors, with every way to round."""
    rounding = (
        ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else ("floor",)
    )
    for n, m, nearest in product((1, 2, 3, 5, 10), (1, 2, 3, 4, 5, 7, 9, 10, 30), rounding):
        shared: dict[str, Any] = {
            "mode": mode,
            "nearest_mode": nearest,
            "coordinate_transformation_mode": rule,
        }
        factor = np.float32([1, 1, 1, m / n])
        for inputs in ((X, "", "", ints(1, 1, 1, m)), (X, "", factor)):
            if len(inputs) == 3 and int(np.float32(n) * factor[3]) < 1:
                continue
            model = one_node("Resize", (1, 1, 1, n), *inputs, opset=19, **shared)
            network = load_network(model.SerializeToString())
            points = np.vstack([np.arange(1.0, n + 1), random_points(n, 2)])
            expected = run(network.model, points, (1, 1, 1, n))
            np.testing.assert_allclose(
                network(points), expected, rtol=1e-4, atol=1e-5, err_msg=f"{n} {m} {shared}"
            )
