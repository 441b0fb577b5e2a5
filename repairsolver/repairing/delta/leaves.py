r"""Boxes that tile the regions of a property, with everything about the layers before the edited one.

A repair of a layer with a linear tail leaves the neurons before it alone: their bounds on a box, once
computed, hold for every change. On a box the input h of the layer lies in the relaxation H (two lines for
each activation), and for a row r over the layer's input the backward linear bound is

$$ L(r) = \min_{(x, h) \in H} r\,h, \qquad (x^*, h^*) \in \arg\min, \qquad \nabla L(r) = h^*. $$

So another change costs one row a box, and tells the worst *pseudo-point* h* of the box: a vector that no
input may reach, at which the row must be right for the box to be proved.

Source: Zhang et al. 2018 (CROWN), theorem 3.2; Danskin's theorem for the gradient.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repairsolver.bounds.backward import Boxes, pull_back
from repairsolver.bounds.gradient import smear
from repairsolver.bounds.tensors import apply, tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.layer import EditableLayer
from repairsolver.results import Array
from repairsolver.verification.query import Queries, queries, strip_softmax

BATCH = 256
"""Boxes bounded at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Boxes [b, n] of queries [b], with bounds of the pre-activations before the layer, by position.

    Args:
        own: whether the bounds were computed for the box itself, not for the one it was made from, [b].
    """

    lower: Tensor
    upper: Tensor
    query: Tensor
    known: dict[int, tuple[Tensor, Tensor]]
    own: Tensor

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, index: slice | Tensor) -> Leaves:
        known = {k: (low[index], high[index]) for k, (low, high) in self.known.items()}
        return Leaves(self.lower[index], self.upper[index], self.query[index], known, self.own[index])

    def batches(self) -> Iterator[Leaves]:
        return (self[slice(k, k + BATCH)] for k in range(0, len(self), BATCH))


def united(parts: list[Leaves]) -> Leaves:
    """All boxes of several parts, in order."""
    known = {
        k: (torch.cat([p.known[k][0] for p in parts]), torch.cat([p.known[k][1] for p in parts]))
        for k in parts[0].known
    }
    names = ("lower", "upper", "query", "own")
    lower, upper, query, own = (torch.cat([getattr(part, name) for part in parts]) for name in names)
    return Leaves(lower, upper, query, known, own)


@dataclass(frozen=True, slots=True, eq=False)
class Worst:
    """What bounds say of boxes under a change, each with one row of its conjunction.

    Args:
        value: the row's bound, positive where the box is proved, [b].
        inputs, hidden: the pseudo-point x* [b, n] and h* [b, k] of that row.
    """

    value: Array
    inputs: Array
    hidden: Array


class Tiling:
    """How boxes of a property are bounded and split for changes of one layer."""

    def __init__(self, network: Network, prop: Property, layer: EditableLayer) -> None:
        core, stripped = strip_softmax(network, prop)
        self.layer = layer
        self.graph = tensor_graph(core, torch.float64)
        self.queries: Queries = queries(stripped, "cpu")
        names = [core.input_name, *(node.name for node in core.nodes)]
        self.position = names.index(layer.block.node.inputs[0])
        self._from = names.index(layer.block.node.name)
        size = self.graph.size(self.position)
        at = self.scores(np.concatenate([np.zeros((1, size)), np.eye(size)]))
        self._offset, self._matrix = at[0], at[1:] - at[0]

    def scores(self, hidden: Array) -> Array:
        """The original scores [b, m] where the layer's input is h [b, k]."""
        values = {self.position: torch.tensor(hidden)}
        for position in range(self._from, len(self.graph.nodes) + 1):
            node = self.graph.nodes[position - 1]
            arguments = [values[k] for k in node.inputs]
            values[position] = apply(node, arguments, self.graph.shape(node.inputs[0]))
        return values[len(self.graph.nodes)].numpy()

    def roots(self) -> Leaves:
        boxes = root_boxes(self.graph, self.queries.lower, self.queries.upper)
        known = {k: pair for k, pair in boxes.known.items() if k < self._from}
        count = len(self.queries)
        return Leaves(
            boxes.lower, boxes.upper, torch.arange(count), known, torch.zeros(count, dtype=torch.bool)
        )

    def bounded(self, leaves: Leaves) -> Leaves:
        """The same boxes, the neurons before the layer bounded anew."""
        fresh = root_boxes(self.graph, leaves.lower, leaves.upper).known
        known = {
            k: (torch.maximum(low, fresh[k][0]), torch.minimum(high, fresh[k][1]))
            for k, (low, high) in leaves.known.items()
        }
        boxes = Boxes(leaves.lower, leaves.upper, known)
        tighten(self.graph, boxes, only=set(known))
        return replace(leaves, known=boxes.known, own=torch.ones_like(leaves.own))

    def halves(self, leaves: Leaves) -> Leaves:
        """Both halves of every box, along the input on which its rows depend most."""
        boxes = Boxes(leaves.lower, leaves.upper, dict(leaves.known))
        score = smear(self.graph, boxes, self.queries.output[leaves.query])
        width = leaves.upper - leaves.lower
        axis = torch.where(score.amax(dim=1) > 0, score.argmax(dim=1), width.argmax(dim=1)).unsqueeze(1)
        middle = ((leaves.lower + leaves.upper) / 2).gather(1, axis)
        whole = replace(leaves, own=torch.zeros_like(leaves.own))
        first = replace(whole, upper=leaves.upper.scatter(1, axis, middle))
        return united([first, replace(whole, lower=leaves.lower.scatter(1, axis, middle))])

    def values(self, leaves: Leaves, delta: Array) -> Array:
        """Bounds of all rows under a change, [b, r]; a box is proved where one of them is positive."""
        matrix, offset = self._edited(delta)
        found = []
        for part in leaves.batches():
            output, inputs = self.queries.output[part.query], self.queries.input[part.query]
            constant = output @ offset - self.queries.bound[part.query]
            found.append(self._bound(part, output @ matrix.T, inputs) + constant)
        return torch.cat(found).numpy()

    def worst(self, leaves: Leaves, rows: NDArray[np.int64], delta: Array) -> Worst:
        """Bounds of one row [b] for each box under a change, with its pseudo-point."""
        matrix, offset = self._edited(delta)
        row, values, points = torch.tensor(rows), [], []
        for part, chosen in zip(leaves.batches(), row.split(BATCH), strict=True):
            output = self.queries.output[part.query, chosen]
            constant = output @ offset - self.queries.bound[part.query, chosen]
            with torch.enable_grad():
                hidden = (output @ matrix.T).unsqueeze(1).requires_grad_()
                given = self.queries.input[part.query, chosen].unsqueeze(1).requires_grad_()
                bound = self._bound(part, hidden, given)[:, 0]
                slopes = torch.autograd.grad(bound.sum(), (given, hidden))
            values.append((bound.detach() + constant).numpy())
            points.append([slope[:, 0].numpy() for slope in slopes])
        inputs, pseudo = (np.concatenate(column) for column in zip(*points, strict=True))
        return Worst(np.concatenate(values), inputs, pseudo)

    def _bound(self, part: Leaves, hidden: Tensor, inputs: Tensor) -> Tensor:
        """The least value of rows over the layer's input [b, r, k] and the input [b, r, n]: [b, r]."""
        boxes = Boxes(part.lower, part.upper, dict(part.known))
        # A layer that reads the network's input itself has both rows over the same tensor.
        rows = {self.position: hidden, 0: inputs} if self.position else {0: hidden + inputs}
        bound = pull_back(self.graph, boxes, rows, guide=True)
        return bound.minimum(part.lower, part.upper)

    def _edited(self, delta: Array) -> tuple[Tensor, Tensor]:
        """The scores as M' h + o under a change: M [k, m] and o [m]."""
        size = len(self._matrix)
        moved = self.layer.effect(np.concatenate([np.zeros((1, size)), np.eye(size)]), delta)
        offset, matrix = self._offset + moved[0], self._matrix + moved[1:] - moved[0]
        return torch.tensor(matrix), torch.tensor(offset)

    def refined(
        self, leaves: Leaves, delta: Array, until: float, most: int
    ) -> tuple[Leaves, NDArray[np.int64], float]:
        """Boxes on each of which bounds prove the property under a change, made from others by halving.

        Args:
            until: when `time.perf_counter()` has passed this, the rest stays as it is, not proved.
            most: boxes, from which on the rest stays, too.

        Returns:
            The boxes: first those that stay, in order; where each of the old ones stands, -1 if halved; and
            the share of the regions' volume that is proved, 1 for all.
        """
        right = torch.tensor((self.values(leaves, delta) > 0).any(axis=1))
        place = torch.where(right, torch.cumsum(right, 0) - 1, -1).numpy()
        parts, rest, stack = [leaves[right.nonzero()[:, 0]]], leaves[(~right).nonzero()[:, 0]], []
        if bool((~rest.own).any()):
            stack.append(rest[(~rest.own).nonzero()[:, 0]])
        if bool(rest.own.any()):
            stack.append(self.halves(rest[rest.own.nonzero()[:, 0]]))
        while stack:
            part = stack.pop()
            if len(part) > BATCH:
                stack.append(part[slice(BATCH, None)])
                part = part[slice(0, BATCH)]
            part = self.bounded(part)
            right = torch.tensor((self.values(part, delta) > 0).any(axis=1))
            parts.append(part[right.nonzero()[:, 0]])
            left = part[(~right).nonzero()[:, 0]]
            count = len(left) + sum(map(len, [*parts, *stack]))
            if time.perf_counter() > until or count > most:
                rest = united([left, *stack])
                return united([*parts, rest]), place, 1 - self._volume(rest)
            if len(left):
                stack.append(self.halves(left))
        return united(parts), place, 1.0

    def _volume(self, leaves: Leaves) -> float:
        """The share that boxes have of their regions' volume, where inputs may vary."""
        whole = (self.queries.upper - self.queries.lower)[leaves.query]
        sides = torch.where(whole > 0, (leaves.upper - leaves.lower) / whole, torch.ones_like(whole))
        return float(sides.prod(dim=1).sum()) / len(self.queries)
