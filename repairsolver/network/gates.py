"""Networks with gates as networks without: every gate decided, on or off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Gate, Select


def gates_of(network: Network) -> tuple[Node, ...]:
    """The gates, in topological order."""
    return tuple(node for node in network.nodes if isinstance(node.operator, Gate))


def decided(network: Network, pattern: Sequence[bool]) -> Network:
    """The network that is computed where each gate, in order, is on or off.

    It carries the same ONNX file, which computes the same only there.
    """
    choices = iter(pattern)
    nodes = []
    for node in network.nodes:
        if isinstance(node.operator, Gate):
            chosen = node.inputs[1 if next(choices) else 2]
            node = replace(node, operator=Select(np.arange(node.size), np.zeros(node.size)), inputs=(chosen,))
        nodes.append(node)
    return replace(network, nodes=needed(nodes))


def needed(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that the last one depends on, in order."""
    found = {nodes[-1].name}
    for node in reversed(nodes):
        if node.name in found:
            found.update(node.inputs)
    return tuple(node for node in nodes if node.name in found)
