"""The proof of a search over boxes, kept while it is found: how each box was split or closed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from repairsolver.network.graph import Network
from repairsolver.property import write_property
from repairsolver.property.specification import Property
from repairsolver.results import Certificate

# Weights of rows are kept as whole numbers up to this, and the search proves with these.
STEPS = 255


def whole_weights(weights: Tensor) -> Tensor:
    """Weights [b, r] rounded to whole numbers, the largest of each box being STEPS; uint8 [b, r]."""
    return (weights / weights.amax(dim=1, keepdim=True) * STEPS).round().to(torch.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Boxes that one batch split: their numbers [k], axes [k] and values [k]."""

    parent: Tensor
    axis: Tensor
    value: Tensor


def property_sha256(prop: Property) -> str:
    """Of its text; of the text that it would have if it was built in Python."""
    return hashlib.sha256((prop.text or write_property(prop)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a record was filled at some time: boxes, and entries of its two lists."""

    boxes: int = 0
    weights: int = 0
    splits: int = 0


@dataclass(slots=True, eq=False)
class Record:
    """Every box examined, by number; roots come first, children as they are made. It only ever grows."""

    boxes: int
    weights: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    splits: list[tuple[Splits, int]] = field(default_factory=list)

    def split(self, made: Splits) -> int:
        """Number the children of split boxes: `first + k` below the value, `first + count + k` above."""
        first = self.boxes
        self.splits.append((made, first))
        self.boxes += 2 * len(made.parent)
        return first

    def mark(self) -> Mark:
        return Mark(self.boxes, len(self.weights), len(self.splits))

    def certificate(self, network: Network, prop: Property, roots: int) -> Certificate:
        """The tree level by level; the network is the one that was asked about, softmax included."""
        axis = np.full(self.boxes, -1, dtype=np.int16)
        value = np.zeros(self.boxes)
        child = np.zeros((self.boxes, 2), dtype=np.int64)
        for made, first in self.splits:
            parent, count = made.parent.cpu().numpy(), len(made.parent)
            axis[parent] = made.axis.cpu().numpy()
            value[parent] = made.value.cpu().numpy()
            child[parent] = first + np.arange(count)[:, None] + [0, count]
        rows = self.weights[0][1].shape[1] if self.weights else 1
        weights = np.zeros((self.boxes, rows), dtype=np.uint8)
        for number, used in self.weights:
            weights[number.cpu().numpy()] = used.cpu().numpy()
        order, level = [np.arange(0)], np.arange(roots)
        while level.size:
            order.append(level)
            level = child[level[axis[level] >= 0]].ravel()
        nodes = np.concatenate(order)
        split = nodes[axis[nodes] >= 0]
        names = (network.name, prop.name)
        return Certificate(
            network.sha256,
            property_sha256(prop),
            axis[nodes],
            value[split],
            weights[nodes],
            names=names,
        )
