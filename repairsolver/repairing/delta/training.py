r"""A change of hidden layers for many regions at once, found by training on bounds; the proof comes after.

Where dozens of balls are violated, changes that mend the counterexamples one by one are found slowly or not
at all: hidden neurons are dead at many of them, so that the affine models see nothing to change. Interval
bounds see every neuron that some input of the region may wake. With the box of a region propagated through
the changed network, \(\underline g(\delta)\) bounds the row of a conjunction that is furthest from holding
from below; minimised is, by gradient steps on the change \(\delta\) alone,

$$ \sum_q [m - \underline g_q(\delta)]_+ + \kappa \sum_k [\text{need}_k - \text{row}_k(\delta)]_+
   + \lambda\, \lVert \delta / \sigma \rVert^2, $$

with the points to keep and to repair in the second sum and the stored entries' sizes \(\sigma\). The boxes
grow from their middles to their full width. What comes out is no least change, and it proves nothing.

Source: Gowal et al., Scalable verified training for provably robust image classification, ICCV 2019.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense, Relu
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.requirements import Group, Requirements
from repairsolver.repairing.delta.unknowns import Parameter
from repairsolver.results import Array
from repairsolver.verification.engine import single_threaded
from repairsolver.verification.query import Queries, queries

GROWING, MOST_STEPS = 200, 2000
"""Steps until the boxes are whole, and in all."""

RATE = 3e-3
"""Of Adam, as a share of the root mean square of a tensor's entries."""

PULL = 1e-3
"""Lambda, over the mean of the squares."""

KEEP, SAMPLED = 3.0, 256
"""Kappa, over the mean of the points; and how many of them take part in a step."""


def trainable(network: Network, layer: object) -> bool:
    """Whether the network is a chain of dense layers and ReLUs, with hidden layers to change."""
    if not isinstance(layer, HiddenLayers) or layer.scores != network.output.name:
        return False
    names = [network.input_name, *(node.name for node in network.nodes)]
    sizes = [network.input_size, *(node.size for node in network.nodes)]
    chained = all(node.inputs == (before,) for node, before in zip(network.nodes, names, strict=False))
    fits = (
        isinstance(node.operator, Relu)
        or (isinstance(node.operator, Dense) and node.operator.weight.shape == (after, before))
        for node, (before, after) in zip(network.nodes, pairwise(sizes), strict=True)
    )
    return chained and all(fits)


def trained(
    network: Network,
    prop: Property,
    requirements: Requirements,
    *,
    margin: float,
    reach: Array,
    seconds: float,
    seed: int,
) -> Array | None:
    """The change whose bounds are right for the most queries, the smallest of those found.

    Args:
        margin: m, in the units of the property's rows.
        reach: the largest change of an entry, [unknowns] or one number.
        seconds: no step begins after this time.

    Returns:
        [unknowns]; None if the time did not suffice for the boxes to become whole.
    """
    layer = requirements.layer
    assert isinstance(layer, HiddenLayers)
    with single_threaded(), torch.inference_mode(False):
        search = _Training(network, prop, layer, row_points(requirements, margin), margin, reach, seed)
        return search.run(time.monotonic() + seconds)


@dataclass(frozen=True, slots=True, eq=False)
class RowPoints:
    """Rows at points: every row is to reach its need."""

    inputs: Tensor
    readout: Tensor
    shift: Tensor
    need: Tensor


def row_points(requirements: Requirements, margin: float) -> RowPoints | None:
    """The points of decisions: to repair with the margin, to keep with as much of it as they had."""
    groups = [group for group in requirements.groups.values() if group.every]
    if not groups:
        return None

    def stacked(parts: Iterator[Array]) -> Tensor:
        return torch.tensor(np.concatenate(list(parts)), dtype=torch.float32)

    def need(group: Group) -> Array:
        had = np.clip(group.slack.min(axis=1), group.floor, None)
        return np.full(len(had), margin) if group.strict else np.minimum(had, margin)

    readouts = (
        np.repeat(group.readout[None].astype(np.float64), len(group.slack), axis=0) for group in groups
    )
    return RowPoints(
        stacked(group.inputs for group in groups),
        stacked(readouts),
        stacked(group.shift for group in groups),
        stacked(need(group) for group in groups),
    )


class _Training:
    """The change as one tensor for each tensor of the file, and what it is trained on."""

    def __init__(
        self,
        network: Network,
        prop: Property,
        layer: HiddenLayers,
        points: RowPoints | None,
        margin: float,
        reach: Array,
        seed: int,
    ) -> None:
        self.network, self.layer, self.points, self.margin = network, layer, points, margin
        self.queries: Queries = queries(prop, "cpu", torch.float32)
        boxes = torch.cat([self.queries.lower, self.queries.upper], dim=1)
        distinct, self.box = torch.unique(boxes, dim=0, return_inverse=True)
        lower, upper = distinct.chunk(2, dim=1)
        self.middle, self.radius = (lower + upper) / 2, (upper - lower) / 2
        self.generator = torch.Generator().manual_seed(seed)
        self.stored = {p.source.tensor: p for p in layer.parameters}
        self.change = {
            name: torch.zeros(p.stored.shape, requires_grad=True) for name, p in self.stored.items()
        }
        self.size = {name: _size(p) for name, p in self.stored.items()}
        self.limit = self._limits(reach)

    def _limits(self, reach: Array) -> dict[str, Tensor]:
        """How far every entry may go: not at all if it is none of the unknowns."""
        wide = np.broadcast_to(np.asarray(reach, dtype=np.float64), (self.layer.size,))
        found = self.layer.spread(wide)
        return {name: torch.tensor(limit, dtype=torch.float32) for name, limit in found.items()}

    def run(self, until: float) -> Array | None:
        groups = [{"params": [d], "lr": RATE * self.size[name]} for name, d in self.change.items()]
        steps = torch.optim.Adam(groups)
        best, most, norm, end = None, -1, np.inf, MOST_STEPS
        for number in range(MOST_STEPS):
            if number >= end or time.monotonic() > until:
                break
            width = min(1.0, number / GROWING)
            bounds, points = self.bounds(width), self.lacking()
            right = int((bounds > 0).sum()) if width == 1.0 else -1
            pull = sum((d / self.size[name]).square().mean() for name, d in self.change.items())
            length = float(torch.as_tensor(pull).detach())
            if right > most or (right == most >= 0 and length < norm):
                best, most, norm = self.delta(), right, length
            if right == len(bounds) and end == MOST_STEPS:
                end = number + max(number, GROWING) // 2
            loss = torch.relu(self.margin - bounds).sum() / len(self.middle) + KEEP * points + PULL * pull
            steps.zero_grad()
            loss.backward()
            steps.step()
            self._clip()
        return best

    def _clip(self) -> None:
        with torch.no_grad():
            for name, change in self.change.items():
                change.clamp_(-self.limit[name], self.limit[name])

    def layers(self) -> Iterator[tuple[Tensor, Tensor] | None]:
        """Weights and biases of every dense layer after the change; None for a ReLU."""
        for node in self.network.nodes:
            if not isinstance(node.operator, Dense):
                yield None
                continue
            weight = torch.tensor(node.operator.weight, dtype=torch.float32)
            bias = torch.tensor(node.operator.bias, dtype=torch.float32)
            for block in self.layer.blocks:
                for p in block.parameters if block.node.name == node.name else ():
                    moved = p.source.factor * self.change[p.source.tensor]
                    if p.role == "bias":
                        bias = bias + moved.reshape(bias.shape)
                    else:
                        weight = weight + (moved.T if p.source.transposed else moved)
            yield weight, bias

    def bounds(self, width: float) -> Tensor:
        """A lower bound of the best row of every query, [q]: positive means never violated."""
        middle, radius = self.middle, width * self.radius
        *front, last = self.layers()
        for layer in front:
            if layer is None:
                low, high = torch.relu(middle - radius), torch.relu(middle + radius)
                middle, radius = (low + high) / 2, (high - low) / 2
            else:
                middle, radius = middle @ layer[0].T + layer[1], radius @ layer[0].abs().T
        if last is None:
            low, high = torch.relu(middle - radius), torch.relu(middle + radius)
            last, middle, radius = _identity(low), (low + high) / 2, (high - low) / 2
        rows = self.queries.output @ last[0]
        value = _times(rows, middle[self.box]) + self.queries.output @ last[1] - self.queries.bound
        value = value + _times(self.queries.input, self.middle[self.box])
        slack = _times(rows.abs(), radius[self.box])
        slack = slack + width * _times(self.queries.input.abs(), self.radius[self.box])
        return (value - slack).amax(dim=1)

    def lacking(self) -> Tensor:
        """By how much a sample of the points falls short, on average."""
        if self.points is None:
            return torch.zeros(())
        chosen = torch.randint(len(self.points.inputs), (SAMPLED,), generator=self.generator)
        values = self.points.inputs[chosen]
        for layer in self.layers():
            values = torch.relu(values) if layer is None else values @ layer[0].T + layer[1]
        rows = _times(self.points.readout[chosen], values) + self.points.shift[chosen]
        return torch.relu(self.points.need[chosen].unsqueeze(1) - rows).sum(dim=1).mean()

    def delta(self) -> Array:
        return self.layer.gathered({name: d.detach().numpy() for name, d in self.change.items()})


def _size(parameter: Parameter) -> float:
    return float(np.sqrt(np.square(parameter.stored.astype(np.float64)).mean())) or 1.0


def _identity(values: Tensor) -> tuple[Tensor, Tensor]:
    return torch.eye(values.shape[1]), torch.zeros(values.shape[1])


def _times(rows: Tensor, values: Tensor) -> Tensor:
    """[q, r, k] times [q, k]: [q, r]."""
    return (rows @ values.unsqueeze(2)).squeeze(2)
