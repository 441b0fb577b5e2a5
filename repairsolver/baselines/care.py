r"""CARE: neurons of one layer with the largest average causal effect, and factors for them by particle swarm.

With g(x; v := b) the violation at x when neuron v is held at b, and b going through the neuron's range on the
points,

$$ ACE_v = \frac1B \sum_b \left| E_x[g(x; v := b)] - \frac1B \sum_{b'} E_x[g(x; v := b')] \right|. $$

Source: Sun et al., Causality-based neural network repair, ICSE 2022, arXiv 2204.09274; settings of the
released code for ACAS Xu: 27 neurons of one of the last hidden layers, factors in [-10, 10] that start at 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, apply, tensor_graph
from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.repairing.imitation.behaviour import Behaviours
from repairsolver.repairing.imitation.responsibility import NeuronLayer, neuron_layers, violations
from repairsolver.repairing.imitation.scaling import Chosen, with_factors
from repairsolver.repairing.imitation.swarm import Swarm, swarm_minimum
from repairsolver.repairing.imitation.tuning import swarm_cost
from repairsolver.results import Array
from repairsolver.verification.engine import single_threaded

VALUES, POINTS = 16, 1000
"""B, and the negatives that effects are averaged over."""

SWARM = Swarm(low=-10.0, high=10.0, start=1.0)


def care_repaired(
    network: Network,
    behaviours: Behaviours,
    *,
    neurons: int = 27,
    layer: int = -2,
    alpha: float = 0.2,
    seed: int = 0,
) -> Network:
    """The network after CARE.

    Args:
        layer: counted among the layers with weights; -2 is the last hidden one.

    Raises:
        EditError: there is no such layer, or its neurons' factors have no place in the weights.
    """
    layers = neuron_layers(network)
    if not -len(layers) <= layer < len(layers):
        raise EditError(f"{network.name}: layer {layer} of {len(layers)}")
    affine, tensor = layers[layer]
    with single_threaded(), torch.inference_mode(False):
        effects = causal_effects(network, behaviours, tensor)
        index = np.sort(effects.argsort(kind="stable")[::-1][:neurons])
        chosen = (Chosen(NeuronLayer(affine.layer or affine.name, affine, tensor, effects), index, 0),)
        cost = swarm_cost(tensor_graph(network, torch.float32), chosen, behaviours, alpha, base=0.0)
        factors, _, _ = swarm_minimum(cost, len(index), SWARM, seed)
    return with_factors(network, network, chosen, factors)


def causal_effects(network: Network, behaviours: Behaviours, tensor: str) -> Array:
    """ACE of every neuron of a dense layer, [s]."""
    graph = tensor_graph(network, torch.float32)
    position = 1 + [node.name for node in graph.nodes].index(tensor)
    points = torch.tensor(behaviours.negatives[:POINTS], dtype=torch.float32)
    with torch.no_grad():
        values = _values(graph, points)
        hidden = values[position]
        effects = []
        for neuron in range(hidden.shape[1]):
            low, high = float(hidden[:, neuron].min()), float(hidden[:, neuron].max())
            means = [
                _held(graph, values, position, neuron, b, behaviours, points)
                for b in np.linspace(low, high, VALUES)
            ]
            effects.append(np.abs(np.array(means) - np.mean(means)).mean())
    return np.array(effects)


def _values(graph: TensorGraph, points: Tensor) -> list[Tensor]:
    values = [points]
    for node in graph.nodes:
        values.append(apply(node, [values[k] for k in node.inputs], graph.shape(node.inputs[0])))
    return values


def _held(
    graph: TensorGraph,
    values: list[Tensor],
    position: int,
    neuron: int,
    value: float,
    behaviours: Behaviours,
    points: Tensor,
) -> float:
    """The mean violation with one neuron held at a value."""
    held = values[position].clone()
    held[:, neuron] = value
    after = [*values[:position], held]
    for node in graph.nodes[position:]:
        after.append(apply(node, [after[k] for k in node.inputs], graph.shape(node.inputs[0])))
    found = violations(behaviours, points.double(), after[-1].double())
    return float(found[torch.isfinite(found)].mean())
