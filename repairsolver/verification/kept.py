r"""Proof trees that are kept for the next question: an edited network, or changed rows of the property.

A node keeps its box, the bounds of all neurons on it, and its *cut*: a half-space h(x) <= 0 outside of which
no violation lies. Bounds of neurons and the boxes below are derived from the cuts above alone, never from the
rows of the property. So they stay valid for another question if its violations satisfy the same cuts. For
that a node needs one row only: the weighted rows of the new question, pulled back through the bounds that
the node has, give g(x) <= 0 at every violation, and if

$$ \min_{x \in B,\ h_{above}(x) \le 0} \mu g(x) - h(x) \ge 0 \quad \text{for some } \mu > 0, $$

then h(x) <= 0 there, too. Cuts are kept with some slack, so that this holds for questions nearby. Bounds of
layers before the first edited one stay, those behind it are computed anew. A leaf is closed by g > 0, and
opened again otherwise; where a cut fails, the search goes on from its node.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.backward import HalfSpace
from repairsolver.network.graph import Network
from repairsolver.results import Arithmetic
from repairsolver.verification.frontier import Open, merge
from repairsolver.verification.query import Queries
from repairsolver.verification.record import Splits


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Examined boxes of a search.

    Args:
        boxes: as they were examined, with the bounds that were found; their cut is the parent's.
        weights: of the rows, whole numbers, [b, r].
        own: the cut that their children have.
        row: at most 0 at every violation: a bound of the weighted rows of the newest question.
        empty: no point satisfies the cuts above, as bounds of a neuron contradict each other, [b].
        axis, value: how they were halved; axis -1 for leaves, [b].
        child: the numbers of the halves, -1 for leaves, [b, 2].
    """

    boxes: Open
    weights: Tensor
    own: HalfSpace
    row: HalfSpace
    empty: Tensor
    axis: Tensor
    value: Tensor
    child: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: slice | Tensor) -> Nodes:
        own, row = (HalfSpace(x.slope[index], x.shift[index]) for x in (self.own, self.row))
        weights, empty, axis = self.weights[index], self.empty[index], self.axis[index]
        return Nodes(self.boxes[index], weights, own, row, empty, axis, self.value[index], self.child[index])

    @property
    def bytes(self) -> int:
        return self.boxes.bytes + 8 * len(self) * (2 * self.own.slope.shape[1] + 9)


def joined(parts: list[Nodes]) -> Nodes:
    """All nodes of several batches."""
    own, row = (
        HalfSpace(torch.cat([x.slope for x in column]), torch.cat([x.shift for x in column]))
        for column in ([p.own for p in parts], [p.row for p in parts])
    )
    weights, empty, axis, value, child = (
        torch.cat([getattr(p, name) for p in parts])
        for name in ("weights", "empty", "axis", "value", "child")
    )
    return Nodes(merge([p.boxes for p in parts]), weights, own, row, empty, axis, value, child)


@dataclass(slots=True, eq=False)
class Kept:
    """The newest proof tree, for `verify(..., kept=...)`: pass the same object with each question.

    A question with another graph of layers, other boxes or another number of rows starts anew.

    Args:
        share: of the distance to the nearest violation that was found: so much slack the cuts get. 0 makes
            the first proof shortest; towards 1 it grows, and more of it stays valid when the network
            changes.
        most: bytes that the tree may hold; what exceeds them is searched again.
        network, queries, arithmetic, nodes: of the last question, and the tree of its proof; set by `verify`.
    """

    share: float = 0.1
    most: float = 1e9
    network: Network | None = None
    queries: Queries | None = None
    arithmetic: Arithmetic = "real"
    nodes: Nodes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share must be at least 0 and below 1, got {self.share}")

    def put(self, network: Network, queries: Queries, arithmetic: Arithmetic, nodes: list[Nodes]) -> None:
        """Keep a tree in place of the one before."""
        self.network, self.queries, self.arithmetic = network, queries, arithmetic
        self.nodes = joined(nodes) if nodes else None

    def reusable(self, network: Network, queries: Queries, arithmetic: Arithmetic) -> Nodes | None:
        """The nodes, if they can serve a question: same graph, boxes, number of rows, and arithmetic."""
        old = self.queries
        if self.network is None or old is None or self.nodes is None or arithmetic != self.arithmetic:
            return None
        alike = old.output.shape == queries.output.shape and old.lower.device == queries.lower.device
        same = alike and bool((old.lower == queries.lower).all() and (old.upper == queries.upper).all())
        return self.nodes if same and first_edit(self.network, network) > 0 else None


def first_edit(before: Network, after: Network) -> int:
    """The position of the first layer that differs, one behind the last for none; 0 for different graphs."""
    if before.input_shape != after.input_shape or len(before.nodes) != len(after.nodes):
        return 0
    edited = len(before.nodes) + 1
    wired = zip(_wiring(before), _wiring(after), before.nodes, after.nodes, strict=True)
    for position, (here, there, old, new) in enumerate(wired, start=1):
        if here != there or old.shape != new.shape or type(old.operator) is not type(new.operator):
            return 0
        if not _equal(old.operator, new.operator):
            edited = min(edited, position)
    return edited


def _wiring(network: Network) -> list[tuple[int, ...]]:
    """Which layers each layer reads, by position; names are of no account."""
    positions = {network.input_name: 0} | {node.name: k for k, node in enumerate(network.nodes, start=1)}
    return [tuple(positions[name] for name in node.inputs) for node in network.nodes]


def _equal(old: object, new: object) -> bool:
    """Whether two operators of one kind have the same parameters, wherever a file keeps them."""
    names = [f.name for f in fields(old) if not f.name.endswith("source")]  # type: ignore[arg-type]
    return all(np.array_equal(getattr(old, name), getattr(new, name)) for name in names)


def leaves(boxes: Open, weights: Tensor, own: HalfSpace, row: HalfSpace, empty: Tensor | None) -> Nodes:
    """Nodes of boxes that are not halved."""
    none = torch.full_like(boxes.number, -1)
    if empty is None:
        empty = torch.zeros_like(none, dtype=torch.bool)
    value = torch.zeros_like(boxes.bound)
    return Nodes(boxes, weights, own, row, empty, none, value, torch.stack([none, none], dim=1))


def halved(nodes: Nodes, made: Splits, first: int) -> Nodes:
    """The nodes after some were halved; the numbers of the halves begin with `first`."""
    order = nodes.boxes.number.argsort()
    index = order[torch.searchsorted(nodes.boxes.number[order], made.parent)]
    count = torch.arange(len(index), device=index.device)
    child = torch.stack([first + count, first + len(index) + count], dim=1)
    return replace(
        nodes,
        axis=nodes.axis.index_copy(0, index, made.axis),
        value=nodes.value.index_copy(0, index, made.value),
        child=nodes.child.index_copy(0, index, child),
    )
