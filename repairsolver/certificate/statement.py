"""The queries that are made of a network and a property."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repairsolver.network.graph import Network
from repairsolver.network.operators import Softmax
from repairsolver.property.specification import Conjunction, Property
from repairsolver.results import Array


class InvalidError(Exception):
    """Why a certificate proves nothing."""


def logits(network: Network, prop: Property) -> Network:
    """The network without a final softmax, if all rows only compare two outputs: a (Y_i - Y_j) <= 0."""
    last = network.output
    if not isinstance(last.operator, Softmax):
        return network
    if last.size != last.shape[last.operator.axis]:
        raise InvalidError(f"The final softmax has several groups (shape {last.shape}): not supported.")
    for conjunction in (c for region in prop.regions for c in region.unsafe):
        used, others = conjunction.output != 0, conjunction.input.any(axis=1) | (conjunction.bound != 0)
        compares = (used.sum(axis=1) == 2) & (conjunction.output.sum(axis=1) == 0) & ~others
        if not (compares | ~used.any(axis=1)).all():
            raise InvalidError("Behind a softmax only rows of the form Y_i <= Y_j can be checked.")
    return replace(network, nodes=network.nodes[:-1])


def stacked(conjunctions: list[Conjunction], prop: Property) -> tuple[Array, Array, Array]:
    """C [q, r, m], D [q, r, n], d [q, r]; shorter conjunctions repeat their last row."""
    if any(len(c.bound) == 0 for c in conjunctions):
        raise InvalidError("A conjunction without half-spaces is violated by every input.")
    height = max((len(c.bound) for c in conjunctions), default=1)

    def padded(name: str, *shape: int) -> Array:
        arrays = [getattr(c, name) for c in conjunctions]
        chosen = [a[np.minimum(np.arange(height), len(a) - 1)] for a in arrays]
        return np.array(chosen, dtype=np.float64).reshape(-1, height, *shape)

    return padded("output", prop.output_size), padded("input", prop.input_size), padded("bound")
