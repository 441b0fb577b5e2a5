r"""One factor for each chosen neuron, and how it becomes ordinary weights.

A neuron's value is multiplied by s = 1 + r. For rectifiers (leaky or not) and s >= 0, \(s\,a(z) = a(s z)\):
its incoming weights and bias are scaled. Else, where only dense or convolution layers read the neuron, their
weights on it are scaled, which is exact for every activation and every s. Neurons of a layer without
activation are scaled in their own weights. What is left (tanh in a residual block, say) gets a multiplication
in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, apply
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Conv, Dense, LeakyRelu, Relu
from repairsolver.repairing.imitation.nodes import with_multiplications
from repairsolver.repairing.imitation.responsibility import NeuronLayer, neuron_count, per_entry
from repairsolver.repairing.imitation.writing import with_layers
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Neurons of one layer that get a factor.

    Args:
        index: [k].
        start: the place of the first one's factor among all factors.
    """

    layer: NeuronLayer
    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    start: int

    @property
    def place(self) -> slice:
        return slice(self.start, self.start + len(self.index))


def chosen_neurons(layers: tuple[NeuronLayer, ...], index: Mapping[str, np.ndarray]) -> tuple[Chosen, ...]:
    """The factors' places, layer by layer."""
    found: list[Chosen] = []
    for layer in layers:
        if layer.name in index:
            start = found[-1].place.stop if found else 0
            found.append(Chosen(layer, index[layer.name], start))
    return tuple(found)


def scaled_forward(graph: TensorGraph, chosen: tuple[Chosen, ...], points: Tensor, factors: Tensor) -> Tensor:
    """Outputs [b, m] with the chosen neurons multiplied by factors [k]; differentiable in both."""
    scale = {c.layer.tensor: _entries(c, factors) for c in chosen}
    values = [points]
    for node in graph.nodes:
        value = apply(node, [values[k] for k in node.inputs], graph.shape(node.inputs[0]))
        values.append(value * scale[node.name] if node.name in scale else value)
    return values[-1]


def _entries(chosen: Chosen, factors: Tensor) -> Tensor:
    """One factor for each entry of the layer's output."""
    affine = chosen.layer.affine
    place = np.full(neuron_count(affine), -1.0)
    place[chosen.index] = np.arange(chosen.start, chosen.place.stop)
    entries = torch.from_numpy(per_entry(affine, place).astype(np.int64))
    return torch.where(entries >= 0, factors[entries.clamp(min=0)], torch.ones((), dtype=factors.dtype))


def with_factors(network: Network, core: Network, chosen: tuple[Chosen, ...], factors: Array) -> Network:
    """The network with the factors in its weights, read back from its file.

    Raises:
        EditError: the weights are not in the file, or used by several nodes.
    """
    arrays: dict[str, tuple[Array, Array]] = {}
    multiplied: dict[str, Array] = {}

    def weights(node: Node) -> tuple[Array, Array]:
        assert isinstance(node.operator, Dense | Conv)
        return arrays.setdefault(node.name, (node.operator.weight.copy(), node.operator.bias.copy()))

    for c in chosen:
        own = factors[c.place]
        users = [node for node in core.nodes if c.layer.tensor in node.inputs]
        activation = core.by_name[c.layer.tensor].operator
        inside = c.layer.tensor == c.layer.affine.name or isinstance(activation, Relu | LeakyRelu)
        if c.layer.tensor == c.layer.affine.name or (inside and (own >= 0).all()):
            weight, bias = weights(c.layer.affine)
            weight[c.index] *= own.reshape(-1, *(1,) * (weight.ndim - 1))
            bias[c.index] *= own
        elif users and all(_reads(core, node, c) for node in users):
            for node in users:
                weights(node)[0][:, c.index] *= own.reshape(1, -1, *(1,) * (weights(node)[0].ndim - 2))
        else:
            place = np.ones(neuron_count(c.layer.affine))
            place[c.index] = own
            multiplied[c.layer.tensor] = per_entry(c.layer.affine, place)
    written = with_layers(network, arrays)
    return with_multiplications(written, multiplied) if multiplied else written


def _reads(core: Network, node: Node, chosen: Chosen) -> bool:
    """Whether a layer has one column of weights (or one channel) for each of the neurons."""
    affine, operator = chosen.layer.affine, node.operator
    if isinstance(operator, Dense):
        dense = isinstance(affine.operator, Dense) and affine.size == neuron_count(affine)
        return dense and operator.weight.shape[1] == affine.size
    if isinstance(operator, Conv):
        return isinstance(affine.operator, Conv) and operator.groups == 1
    return False
