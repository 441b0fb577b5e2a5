"""Trees whose leaves the checker does not accept everywhere: halved further until it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repairsolver.certificate.boxes import Boxes
from repairsolver.certificate.checker import Checker
from repairsolver.certificate.statement import InvalidError, logits
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Certificate

# Leaves that may be halved, as a share of a tree's nodes; with more, a new search is faster.
MOST = 0.5


class Growing(Checker):
    """A checker that halves a leaf which it cannot prove, where its bound depends most on one input.

    Only the tree grows: what is proved is proved as by any checker.
    """

    def __init__(self, network: Network, prop: Property, certificate: Certificate):
        super().__init__(logits(network, prop), prop, certificate)
        self.left = MOST * len(self.axis)

    def reject(self, leaves: Boxes) -> None:
        """Halve the leaves; raises InvalidError if there have been too many."""
        count, first = len(leaves), len(self.axis)
        self.left -= count
        if self.left < 0:
            super().reject(leaves)
        lower, upper = leaves.bounds[0]
        axis = (np.abs(leaves.slope) * (upper - lower)).argmax(axis=1)
        middle = (lower / 2 + upper / 2)[np.arange(count), axis]
        self.axis[leaves.node], self.value[leaves.node] = axis, middle
        self.child[leaves.node] = first + 2 * np.arange(count)
        self.axis = np.concatenate([self.axis, np.full(2 * count, -1)])
        self.value, self.child = (
            np.concatenate([x, np.zeros_like(x, shape=2 * count)]) for x in (self.value, self.child)
        )
        self.weights = np.concatenate([self.weights, self.weights[leaves.node].repeat(2, axis=0)])

    def tree(self, certificate: Certificate) -> Certificate:
        """The certificate with the tree as it is now, level by level."""
        order, level = [np.arange(0)], np.arange(len(self.lower))
        while level.size:
            order.append(level)
            first = self.child[level[self.axis[level] >= 0]]
            level = np.stack([first, first + 1], axis=1).ravel()
        nodes = np.concatenate(order)
        split = nodes[self.axis[nodes] >= 0]
        axis, weights = self.axis[nodes].astype(np.int16), self.weights[nodes].astype(np.uint8)
        return replace(certificate, axis=axis, value=self.value[split], weights=weights)


def grown(certificate: Certificate, network: Network, prop: Property, until: float) -> Certificate | None:
    """The certificate, its tree grown where necessary, proved by the checker; None if that fails."""
    try:
        checker = Growing(network, prop, certificate)
        with np.errstate(all="ignore"):
            checker.run(until, np.arange(len(checker.lower)))
    except InvalidError:
        return None
    return checker.tree(certificate)
