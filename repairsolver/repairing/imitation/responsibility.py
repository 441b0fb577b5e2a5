r"""Which neurons behave differently where the network is wrong.

With h the values of a neuron (after its activation; of the last layer, its outputs; of a convolution, its
filter's values summed over all places), P positives and N negatives, the measures are

- difference: \(| \bar h_P - \bar h_N |\), the published one up to a factor that all neurons share
  (Source: Sun et al., BIRDNN, arXiv 2305.03365, section on fine-tuning: sums over sets of equal size);
- normalised: the same over the standard deviation of h on both sets, so that layers can be compared;
- gradient: \(\frac1N \sum_x | \partial g / \partial h\, (h(x) - \bar h_P) |\), with g the violation at
  negative x: how much of it would go, to first order, with the neuron at its mean on positives;
- bounds: \(\frac1N \sum_x | \partial g / \partial h |\, (u - l)\), with [l, u] the interval of h on the
  property's regions: how far the neuron could move the violation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.interval import interval_bounds
from repairsolver.bounds.tensors import TensorGraph, apply, tensor_graph
from repairsolver.display import table_html
from repairsolver.errors import EditError
from repairsolver.network.forward import activations
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Activation, Conv, Curve, Dense
from repairsolver.repairing.imitation.behaviour import Behaviours
from repairsolver.repairing.imitation.options import MEASURES
from repairsolver.results import Array
from repairsolver.verification.query import queries, slack

SLOPED = ("gradient", "bounds")
"""Measures that need the slopes of the whole network."""

POINTS = 2000
"""Negatives whose gradients are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class NeuronLayer:
    """A dense or convolution layer with its activation, and how responsible its neurons are.

    Args:
        name: of the layer, for people.
        affine: the node with the weights.
        tensor: whose values are the neurons' behaviour: the activation's, or the layer's own.
        responsibility: of every neuron (filter), [s].
    """

    name: str
    affine: Node
    tensor: str
    responsibility: Array


@dataclass(frozen=True, slots=True)
class Neuron:
    """One neuron or filter, and its responsibility."""

    layer: str
    index: int
    responsibility: float


@dataclass(frozen=True, slots=True, eq=False)
class Localisation:
    """Layers and neurons, ranked by responsibility.

    Args:
        measure: what responsibility means, one of `MEASURES`.
        layers: first to last.
        negatives, positives: how many points it rests on.
    """

    measure: str
    layers: tuple[NeuronLayer, ...]
    negatives: int
    positives: int

    def ranked(self, count: int | None = None) -> tuple[Neuron, ...]:
        """The most responsible neurons of all layers, the first most."""
        everyone = [
            Neuron(layer.name, index, float(value))
            for layer in self.layers
            for index, value in enumerate(layer.responsibility)
        ]
        return tuple(sorted(everyone, key=lambda n: -n.responsibility)[:count])

    def ranked_layers(self) -> tuple[tuple[str, float], ...]:
        """Layers by the mean responsibility of their neurons."""
        means = [(layer.name, float(layer.responsibility.mean())) for layer in self.layers]
        return tuple(sorted(means, key=lambda item: -item[1]))

    def chosen(self, count: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """The indices of the most responsible neurons by layer, of layers that have some."""
        found: dict[str, list[int]] = {}
        for neuron in self.ranked(count):
            found.setdefault(neuron.layer, []).append(neuron.index)
        return {name: np.array(sorted(index), dtype=np.int64) for name, index in found.items()}

    def __repr__(self) -> str:
        first = ", ".join(f"{n.layer}[{n.index}]" for n in self.ranked(3))
        return f"<Localisation by {self.measure}: {first} ...; {len(self.layers)} layers>"

    def _repr_html_(self) -> str:
        caption = f"The most responsible neurons, by {self.measure}"
        rows = [(n.layer, n.index, n.responsibility) for n in self.ranked(10)]
        return table_html(caption, ("layer", "neuron", "responsibility"), rows)


def responsibility(core: Network, behaviours: Behaviours, measure: str) -> Localisation:
    """Rank the neurons of a network without a final softmax.

    Raises:
        EditError: unknown measure, one by slopes for a network with gates, or no layer whose weights are in
            the file.
    """
    if measure not in MEASURES:
        raise EditError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    if measure in SLOPED and gates_of(core):
        raise EditError(
            f"{core.name}: it has gates, at which slopes end, so that {measure!r} cannot be measured: use "
            "'difference' or 'normalised', or take the gates out (`repairsolver gates --remove`)"
        )
    layers = neuron_layers(core)
    if not layers:
        raise EditError(f"{core.name}: no dense or convolution layer has its weights in the file")
    positive, negative = activations(core, behaviours.positives), activations(core, behaviours.negatives)
    slopes = _slopes(core, behaviours) if measure in SLOPED else {}
    reach = _reach(core, behaviours) if measure == "bounds" else {}
    found = []
    for affine, tensor in layers:
        p, n = _summed(affine, positive[tensor]), _summed(affine, negative[tensor])
        if measure == "gradient":
            mean = positive[tensor].mean(axis=0)
            moved = slopes[tensor] * (negative[tensor][: len(slopes[tensor])] - mean)
            value = np.abs(_summed(affine, moved)).mean(axis=0)
        elif measure == "bounds":
            value = np.abs(_summed(affine, np.abs(slopes[tensor]) * reach[tensor])).mean(axis=0)
        else:
            value = np.abs(p.mean(axis=0) - n.mean(axis=0))
        if measure == "normalised":
            spread = np.concatenate([p, n]).std(axis=0)
            value = np.where(spread > 0, value / np.where(spread > 0, spread, 1.0), 0.0)
        found.append(NeuronLayer(affine.layer or affine.name, affine, tensor, value))
    return Localisation(measure, tuple(found), len(behaviours.negatives), len(behaviours.positives))


def neuron_layers(core: Network) -> tuple[tuple[Node, str], ...]:
    """Every layer with weights of the file, and the tensor of its neurons' values."""
    found = []
    for node in core.affine_layers:
        users = [other for other in core.nodes if node.name in other.inputs]
        active = len(users) == 1 and isinstance(users[0].operator, Activation | Curve)
        found.append((node, users[0].name if active else node.name))
    return tuple(found)


def neuron_count(affine: Node) -> int:
    """Neurons of a dense layer, filters of a convolution."""
    assert isinstance(affine.operator, Dense | Conv)
    return int(affine.operator.weight.shape[0])


def per_entry(affine: Node, values: Array) -> Array:
    """One number for each neuron or filter as one for each entry of the layer's output, [s] to [size]."""
    if isinstance(affine.operator, Conv):
        return np.repeat(values, affine.size // len(values))
    return np.tile(values, affine.size // len(values))


def _summed(affine: Node, values: Array) -> Array:
    """Values of all entries [b, size] summed for each neuron or filter, [b, s]."""
    count = neuron_count(affine)
    if isinstance(affine.operator, Conv):
        return np.asarray(values.reshape(len(values), count, -1).sum(axis=2))
    return np.asarray(values.reshape(len(values), -1, count).sum(axis=1))


def _slopes(core: Network, behaviours: Behaviours) -> dict[str, Array]:
    """The gradient of the violation with respect to every tensor, at the first negatives."""
    graph = tensor_graph(core)
    with torch.inference_mode(False):
        points = torch.tensor(behaviours.negatives[:POINTS])
        values = _recorded(graph, points)
        names = [node.name for node in graph.nodes]
        violation = violations(behaviours, points, values[-1])
        slopes = torch.autograd.grad(violation.sum(), values, allow_unused=True)
    empty = {name: np.zeros(tuple(value.shape)) for name, value in zip(names, values, strict=True)}
    return empty | {n: s.numpy() for n, s in zip(names, slopes, strict=True) if s is not None}


def _recorded(graph: TensorGraph, points: Tensor) -> list[Tensor]:
    values = [points.requires_grad_(True)]
    for node in graph.nodes:
        values.append(apply(node, [values[k] for k in node.inputs], graph.shape(node.inputs[0])))
    return values[1:]


def violations(behaviours: Behaviours, points: Tensor, outputs: Tensor) -> Tensor:
    """By how much the first negatives are wrong, [b]; differentiable."""
    if behaviours.labels is not None:
        label = torch.from_numpy(behaviours.labels[: len(points)])[:, None]
        sign = -1.0 if behaviours.decision == "min" else 1.0
        others = sign * (outputs - outputs.gather(1, label))
        return others.scatter(1, label, -torch.inf).amax(dim=1)
    asked, values = queries(behaviours.prop, "cpu"), []
    for index in range(len(asked)):
        which = torch.full((len(points),), index)
        inside = ((points >= asked.lower[index]) & (points <= asked.upper[index])).all(dim=1)
        values.append(torch.where(inside, slack(asked, which, points, outputs), -torch.inf))
    return torch.stack(values).amax(dim=0)


def _reach(core: Network, behaviours: Behaviours) -> dict[str, Array]:
    """The width of every tensor's interval over the regions (over all points, where there are none)."""
    regions = behaviours.prop.regions
    points = np.concatenate([behaviours.negatives, behaviours.positives])
    lower = np.stack([r.lower for r in regions]) if regions else points.min(axis=0)[None]
    upper = np.stack([r.upper for r in regions]) if regions else points.max(axis=0)[None]
    bounds = interval_bounds(tensor_graph(core), torch.tensor(lower), torch.tensor(upper))
    widths = [(high - low).amax(dim=0).numpy() for low, high in bounds[1:]]
    return {node.name: width for node, width in zip(core.nodes, widths, strict=True)}
