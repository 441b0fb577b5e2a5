"""Bounds of pre-activations: valid, never looser than what was known, in blocks as well as at once."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from bounding import assert_inside, boxes, values
from random_networks import dense_network, random_network

from repairsolver.bounds import tighten as bounds_tighten
from repairsolver.bounds.backward import Boxes, HalfSpace
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.bounds.tighten import pre_activations, root_boxes, tighten
from repairsolver.network import operators as ops


def test_pre_activations_are_what_nonlinear_nodes_read() -> None:
    for seed in range(20):
        network = random_network(seed, softmax=seed % 2 == 0)
        graph = tensor_graph(network)
        expected = [
            (k, graph.nodes[k - 1].inputs[0])
            for k in range(1, len(graph.nodes) + 1)
            if isinstance(network.nodes[k - 1].operator, ops.Activation | ops.MaxPool)
        ]
        assert pre_activations(graph) == expected


@pytest.mark.parametrize("width", [0.01, 1.0, 10.0])
def test_no_value_escapes_and_nothing_becomes_looser(width: float) -> None:
    rng = np.random.default_rng(int(100 * width))
    tighter = 0
    for seed in range(60):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(rng, network, 4, width)
        found = root_boxes(graph, lower, upper)
        before = dict(found.known)
        tighten(graph, found)
        taken = values(rng, network, lower, upper, 100)
        for source, (low, high) in found.known.items():
            assert (low <= high).all()
            assert (low >= before[source][0]).all()
            assert (high <= before[source][1] + 1e-12 * (1 + high.abs())).all()
            tighter += int(((high - low) < 0.9 * (before[source][1] - before[source][0])).sum())
            for b in range(len(lower)):
                assert_inside(taken[b][source], low[b], high[b], (seed, source))
    assert tighter > 20


def test_children_inherit_and_improve() -> None:
    """Bounds inherited from the whole box are valid on its half, and tightened further."""
    rng = np.random.default_rng(8)
    for seed in range(30):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(rng, network, 1, 2.0)
        parent = root_boxes(graph, lower, upper)
        tighten(graph, parent)
        axis = int((upper - lower).argmax())
        half = upper.clone()
        half[0, axis] = (lower + upper)[0, axis] / 2
        child = Boxes(lower, half, dict(parent.known))
        tighten(graph, child)
        taken = values(rng, network, lower, half, 100)[0]
        for source, (low, high) in child.known.items():
            assert (low >= parent.known[source][0]).all()
            assert_inside(taken[source], low[0], high[0], (seed, source))


def test_small_blocks_give_the_same_bounds() -> None:
    network = dense_network(1, (3, 12, 9, 2))
    graph = tensor_graph(network)
    lower, upper = boxes(np.random.default_rng(2), network, 5, 1.0)
    whole, blocks = root_boxes(graph, lower, upper), root_boxes(graph, lower, upper)
    tighten(graph, whole)
    tighten(graph, blocks, memory=1.0)
    for source, (low, high) in whole.known.items():
        torch.testing.assert_close(blocks.known[source][0], low, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(blocks.known[source][1], high, rtol=1e-9, atol=1e-9)


def test_a_batch_is_at_least_as_tight_as_its_boxes() -> None:
    """Boxes with fewer loose neurons than others have some more bounded again, which may help them."""
    for seed in range(20):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(np.random.default_rng(seed), network, 4, 1.0)
        whole = root_boxes(graph, lower, upper)
        tighten(graph, whole)
        for b in range(4):
            part = root_boxes(graph, lower[b : b + 1], upper[b : b + 1])
            tighten(graph, part)
            for source, (low, high) in part.known.items():
                assert (whole.known[source][0][b] >= low[0] - 1e-9 * (1 + low[0].abs())).all()
                assert (whole.known[source][1][b] <= high[0] + 1e-9 * (1 + high[0].abs())).all()


def test_first_layer_is_exact() -> None:
    """What reads a dense layer of the input is bounded by its corners."""
    network = dense_network(5, (3, 8, 2))
    graph = tensor_graph(network)
    lower, upper = boxes(np.random.default_rng(3), network, 3)
    found = root_boxes(graph, lower, upper)
    tighten(graph, found)
    corners = np.array(np.meshgrid(*[[0, 1]] * 3)).reshape(3, -1).T
    for b in range(3):
        points = lower[b].numpy() + corners * (upper[b] - lower[b]).numpy()
        weight, bias = network.nodes[0].operator.weight, network.nodes[0].operator.bias
        reached = points @ weight.T + bias
        low, high = found.known[1]
        np.testing.assert_allclose(low[b].numpy(), reached.min(axis=0), atol=1e-9)
        np.testing.assert_allclose(high[b].numpy(), reached.max(axis=0), atol=1e-9)


def with_cut(lower: torch.Tensor, upper: torch.Tensor, cut: HalfSpace, seed: int) -> Boxes:
    """Bounds of a random network's neurons, tightened twice within a cut, as a search does."""
    graph = tensor_graph(dense_network(seed, (2, 8, 8, 2)))
    found = Boxes(lower, upper, root_boxes(graph, lower, upper).known, cut)
    tighten(graph, found)
    again = Boxes(lower, upper, dict(found.known), cut)
    tighten(graph, again)
    return Boxes(lower, upper, again.known, cut, empty=found.empty | again.empty)


def test_a_box_with_a_point_within_the_cut_is_never_called_empty() -> None:
    rng = np.random.default_rng(4)
    for seed in range(30):
        low = torch.tensor(rng.normal(size=(16, 2)))
        high = low + torch.tensor(rng.uniform(0.01, 2.0, size=(16, 2)))
        inside = low + (high - low) * torch.tensor(rng.random((16, 2)))
        slope = torch.tensor(rng.normal(size=(16, 2)))
        # The point lies on the half-space's face: nothing but it and what is beyond it matters.
        found = with_cut(low, high, HalfSpace(slope, -(slope * inside).sum(dim=1)), seed)
        assert not found.empty.any(), seed


def test_bounds_that_contradict_each_other_tell_of_an_empty_box() -> None:
    low, high = -torch.ones(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    slope = torch.tensor([[1.0, 0.5]] * 4, dtype=torch.float64)
    # Within the box, x + y / 2 is at least -1.5.
    shift = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    for seed in range(5):
        assert with_cut(low, high, HalfSpace(slope, shift), seed).empty.tolist() == [False, False, True, True]


@pytest.mark.parametrize("memory", [2.5e8, 1.0], ids=["one block", "blocks"])
def test_rows_in_a_list_give_the_bounds_of_packed_ones(memory: float) -> None:
    """Whatever the layers: every loose entry gets the same bounds, and the same boxes are empty."""
    chance = torch.Generator().manual_seed(0)
    listed, packed, loosest = 0, 0, 0
    for seed in range(30):
        network = random_network(seed)
        graph = tensor_graph(network)
        lower, upper = boxes(np.random.default_rng(seed), network, 5, 1.0)
        # Boxes of different sizes have different numbers of loose neurons; cuts empty some of them.
        upper = lower + (upper - lower) * torch.logspace(-3, 0, 5, dtype=lower.dtype).unsqueeze(1)
        cut = HalfSpace(torch.ones_like(lower), -(lower + 0.4 * (upper - lower)).sum(dim=1))
        start = root_boxes(graph, lower, upper).known
        some = {k: torch.rand(low.shape, generator=chance) < 0.2 for k, (low, _) in start.items()}
        found = []
        for padded in (0.0, math.inf):
            part = Boxes(lower, upper, dict(start), cut, recorded=True)
            with patch.object(bounds_tighten, "PADDED", padded):
                tighten(graph, part, memory=memory, further=some)
            found.append(part)
        one, other = found
        for k, (low, high) in one.known.items():
            # Packed rows are filled up with stable entries, which are bounded besides.
            loose = (low < 0) & (high > 0) | some[k]
            loosest += int(loose.sum())
            for mine, theirs in ((low, other.known[k][0]), (high, other.known[k][1])):
                torch.testing.assert_close(mine[loose], theirs[loose], rtol=1e-9, atol=1e-9)
        if one.empty is not None and other.empty is not None:
            assert (one.empty == other.empty).all()
        listed, packed = listed + (one.empty is not None), packed + (other.empty is not None)
    assert loosest > 500
    assert listed == packed > 20
