"""Networks as torch tensors against numpy and onnxruntime; linear operators against their adjoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx_models import one_node
from random_networks import random_box, random_network, sample

from repairsolver.bounds.tensors import TensorGraph, TensorNode, adjoint, apply, apply_linear, tensor_graph
from repairsolver.network import load_network, replay
from repairsolver.network import operators as ops

SEEDS = range(60)


@pytest.fixture(scope="module")
def graphs() -> list[TensorGraph]:
    return [tensor_graph(random_network(seed)) for seed in SEEDS]


@pytest.mark.parametrize("softmax", [False, True])
def test_torch_numpy_and_onnxruntime_agree(softmax: bool) -> None:
    rng = np.random.default_rng(1)
    for seed in SEEDS:
        network = random_network(seed, softmax=softmax)
        points = sample(rng, *random_box(rng, network), 7)
        points = points.astype(np.float32).astype(np.float64)
        found = tensor_graph(network).forward(torch.tensor(points)).numpy()
        np.testing.assert_allclose(found, network(points), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found, replay(network, points), rtol=1e-3, atol=1e-3)
        single = tensor_graph(network, torch.float32).forward(torch.tensor(points, dtype=torch.float32))
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), found, rtol=1e-3, atol=1e-3)


def test_filters_of_length_one_that_were_turned_round_are_taken_by_torch() -> None:
    """numpy calls them contiguous, with a stride below 0."""
    filters = np.random.default_rng(0).normal(size=(1, 2, 1, 1)).astype(np.float32)
    proto = one_node("ConvTranspose", (1, 1, 2, 2), "x", filters, strides=[2, 1])
    network = load_network(proto.SerializeToString())
    points = np.random.default_rng(1).normal(size=(5, 4))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        found = tensor_graph(network, dtype).forward(torch.tensor(points, dtype=dtype)).numpy()
        np.testing.assert_allclose(found, network(points), rtol=tolerance, atol=1e-6)


def linear_nodes(graphs: list[TensorGraph]) -> list[tuple[TensorGraph, TensorNode]]:
    return [(g, node) for g in graphs for node in g.nodes if isinstance(node.operator, ops.Linear)]


def test_the_random_networks_use_every_operator(graphs: list[TensorGraph]) -> None:
    used = {type(node.operator) for graph in graphs for node in graph.nodes}
    expected = {
        ops.Dense, ops.Conv, ops.Scale, ops.Select, ops.Sum, ops.Concat, ops.Relu, ops.LeakyRelu, ops.Clip,
        ops.Sigmoid, ops.Tanh, ops.MaxPool,
    }  # fmt: skip
    assert used == expected
    convolutions = [n.operator for g in graphs for n in g.nodes if isinstance(n.operator, ops.Conv)]
    assert {len(c.strides) for c in convolutions} == {1, 2}
    assert any(c.groups > 1 for c in convolutions)
    assert any(max(c.strides) > 1 for c in convolutions)
    assert any(max(c.dilations) > 1 for c in convolutions)
    assert any(before != after for c in convolutions for before, after in c.pads)
    fills = [n.operator for g in graphs for n in g.nodes if isinstance(n.operator, ops.Select)]
    assert any((s.index < 0).any() and s.fill.any() for s in fills)


def test_adjoint_is_the_adjoint(graphs: list[TensorGraph]) -> None:
    """<R, M x + c> = <R M, x> + R c, for every linear node."""
    generator = torch.Generator().manual_seed(0)
    for graph, node in linear_nodes(graphs):
        shapes = [graph.shape(k) for k in node.inputs]
        x = [torch.randn(3, graph.size(k), generator=generator, dtype=torch.float64) for k in node.inputs]
        rows = torch.randn(3, 4, node.size, generator=generator, dtype=torch.float64)
        pulled, constant = adjoint(node, rows, shapes)
        right = torch.zeros(3, 4, dtype=torch.float64) if constant is None else constant
        for part, argument in zip(pulled, x, strict=True):
            assert part.shape == (3, 4, argument.shape[1])
            right = right + (part @ argument.unsqueeze(2)).squeeze(2)
        left = (rows @ apply(node, x, shapes[0]).unsqueeze(2)).squeeze(2)
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_parts_of_a_linear_node(graphs: list[TensorGraph]) -> None:
    """Without its constant it is additive; its magnitude is the matrix of absolute values."""
    for graph, node in linear_nodes(graphs):
        shape = graph.shape(node.inputs[0])
        units = [torch.eye(graph.size(k), dtype=torch.float64) for k in node.inputs]
        zeros = [torch.zeros(1, graph.size(k), dtype=torch.float64) for k in node.inputs]
        constant = apply_linear(node, zeros, shape)
        for k, unit in enumerate(units):
            arguments = [z.expand(len(unit), -1) if j != k else unit for j, z in enumerate(zeros)]
            linear = apply_linear(node, arguments, shape, "linear")
            torch.testing.assert_close(linear, apply_linear(node, arguments, shape) - constant)
            torch.testing.assert_close(apply_linear(node, arguments, shape, "magnitude"), linear.abs())


def test_operators_of_the_wrong_kind_are_refused(graphs: list[TensorGraph]) -> None:
    nodes = [node for graph in graphs for node in graph.nodes]
    relu = next(node for node in nodes if isinstance(node.operator, ops.Relu))
    with pytest.raises(TypeError, match="Relu is not linear"):
        apply_linear(relu, [torch.zeros(1, relu.size)], relu.shape)
    with pytest.raises(TypeError, match="Relu is not linear"):
        adjoint(relu, torch.zeros(1, 1, relu.size), [relu.shape])
