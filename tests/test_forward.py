"""The float64 forward pass on operators built by hand, against loops and formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repairsolver.errors import NetworkError
from repairsolver.network.forward import activations, forward
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import (
    Clip,
    Concat,
    Conv,
    Dense,
    LeakyRelu,
    MaxPool,
    Operator,
    Relu,
    Scale,
    Select,
    Sigmoid,
    Softmax,
    Sum,
    Tanh,
)

random = np.random.default_rng(2)
FREE = np.array([1, 0, 1])
WEIGHT = np.array([[0.0, 1, 2], [3, 4, 5]])


def network(*nodes: Node, shape: tuple[int, ...]) -> Network:
    return Network(nodes, "x", shape, np.dtype(np.float64), b"")


def single(operator: Operator, shape: tuple[int, ...], result: tuple[int, ...]) -> Network:
    return network(Node("y", operator, ("x",), result), shape=shape)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (Relu(), lambda x: np.where(x > 0, x, 0)),
        (LeakyRelu(np.array([0.1, 0.5, 2.0])), lambda x: np.where(x > 0, x, x * [0.1, 0.5, 2.0])),
        (Clip(-0.5, 0.25), lambda x: np.minimum(np.maximum(x, -0.5), 0.25)),
        (Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (Tanh(), lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)),
        (Scale(np.array([1.0, -2, 3]), np.array([0.0, 1, 2])), lambda x: x * [1, -2, 3] + [0, 1, 2]),
        (Select(np.array([2, -1, 0]), np.array([0, 7.0, 0])), lambda x: x[:, [2, 0, 0]] * FREE + [0, 7, 0]),
        (Dense(WEIGHT, np.array([1.0, 2])), lambda x: x @ WEIGHT.T + [1, 2]),
        (MaxPool(np.array([[0, 1], [2, -1]])), lambda x: np.stack([x[:, :2].max(1), x[:, 2]], 1)),
        (Softmax(-1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) else "",
)  # fmt: skip
def test_an_operator_is_its_formula(operator: Operator, expected: object) -> None:
    points = random.standard_normal((20, 3))
    values = expected(points)  # type: ignore[operator]
    found = forward(single(operator, (1, 3), (1, values.shape[1])), points)
    np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12)


def test_dense_acts_on_the_last_axis() -> None:
    weight = random.standard_normal((4, 3))
    points = random.standard_normal((5, 6))
    found = forward(single(Dense(weight, np.ones(4)), (2, 3), (2, 4)), points)
    expected = points.reshape(5, 2, 3) @ weight.T + 1
    np.testing.assert_allclose(found, expected.reshape(5, 8))


def test_branches_meet() -> None:
    nodes = (
        Node("a", Relu(), ("x",), (1, 2)),
        Node("b", Sum((1.0, -2.0)), ("x", "a"), (1, 2)),
        Node("y", Concat(), ("b", "a"), (1, 4)),
    )
    values = activations(network(*nodes, shape=(1, 2)), np.array([[3.0, -1.0]]))
    np.testing.assert_array_equal(values["y"], [[-3.0, -1.0, 3.0, 0.0]])
    assert set(values) == {"x", "a", "b", "y"}


def convolve_by_loops(conv: Conv, x: np.ndarray) -> np.ndarray:
    """Each output entry as the sum of its products: the definition."""
    padded = np.pad(x, ((0, 0), *conv.pads))
    kernel = conv.weight.shape[2:]
    sizes = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(padded.shape[1:], kernel, conv.dilations, conv.strides, strict=True)
    ]
    outputs, per_group = conv.weight.shape[:2]
    result = np.zeros((outputs, *sizes))
    for o, *place in itertools.product(range(outputs), *map(range, sizes)):
        first = o // (outputs // conv.groups) * per_group
        total = conv.bias[o]
        for c, *tap in itertools.product(range(per_group), *map(range, kernel)):
            at = [p * s + t * d for p, s, t, d in zip(place, conv.strides, tap, conv.dilations, strict=True)]
            total += conv.weight[(o, c, *tap)] * padded[(first + c, *at)]
        result[(o, *place)] = total
    return result


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Conv, tuple[int, ...]]:
    """A convolution and the shape [1, c, *s] of an input that it fits."""
    axes = draw(st.integers(1, 3))
    small = st.integers(1, 2)
    groups, per_group, multiple = draw(small), draw(small), draw(small)
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    strides = tuple(draw(small) for _ in range(axes))
    dilations = tuple(draw(small) for _ in range(axes))
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes))
    sizes = tuple((k - 1) * d + draw(st.integers(1, 3)) for k, d in zip(kernel, dilations, strict=True))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = generator.standard_normal((groups * multiple, per_group, *kernel))
    bias = generator.standard_normal(groups * multiple)
    return Conv(weight, bias, strides, pads, dilations, groups), (1, groups * per_group, *sizes)


@given(convolutions())
@settings(max_examples=60, deadline=None)
def test_convolution_is_its_definition(drawn: tuple[Conv, tuple[int, ...]]) -> None:
    conv, shape = drawn
    points = np.random.default_rng(0).standard_normal((2, int(np.prod(shape))))
    expected = np.stack([convolve_by_loops(conv, point.reshape(shape[1:])) for point in points])
    found = forward(single(conv, shape, (1, *expected.shape[1:])), points)
    np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-10, atol=1e-10)


def test_one_point_and_several() -> None:
    net = single(Relu(), (1, 3), (1, 3))
    assert net(np.zeros(3)).shape == (3,)
    assert net(np.zeros((4, 3))).shape == (4, 3)
    assert net(np.zeros((0, 3))).shape == (0, 3)
    assert net(np.zeros((2, 3), np.float32)).dtype == np.float64


@pytest.mark.parametrize("shape", [(2,), (1, 2), (1, 1, 3)])
def test_points_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(NetworkError, match="expected points with 3 entries"):
        forward(single(Relu(), (1, 3), (1, 3)), np.zeros(shape))


def test_arrays_of_operators_are_read_only() -> None:
    dense = Dense(np.ones((2, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        dense.weight[0, 0] = 5.0


@pytest.mark.parametrize("seed", range(12))
def test_no_points_have_no_values(seed: int) -> None:
    from random_networks import random_network

    net = random_network(seed, softmax=seed % 4 == 3)
    values = activations(net, np.zeros((0, net.input_size)))
    assert forward(net, np.zeros((0, net.input_size))).shape == (0, net.output_size)
    assert all(values[node.name].shape == (0, node.size) for node in net.nodes)
