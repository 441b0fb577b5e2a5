"""What lies behind a layer, as matrices: exact where it is affine, else the derivative at each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repairsolver.network.forward import activations
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Linear
from repairsolver.repairing.delta.derivatives import pull
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = J h + c for the scores y and a layer h.

    Args:
        matrix: J, [m, e].
        constant: c, [m].
    """

    matrix: Array
    constant: Array


def affine_behind(network: Network, node: Node, behind: Sequence[Node]) -> Affine | None:
    """The scores as an affine map of a layer alone; None where they are none, or read other tensors, too.

    Args:
        behind: the nodes that depend on the layer, in order.
    """
    inside = {node.name, *(other.name for other in behind)}
    for other in behind:
        if not isinstance(other.operator, Linear) or not inside.issuperset(other.inputs):
            return None
    values = activations(network, np.zeros((1, network.input_size)))
    (matrix,) = derivatives(network, node, values)
    return Affine(matrix, values[network.output.name][0] - matrix @ values[node.name][0])


def derivatives(network: Network, node: Node, values: Mapping[str, Array]) -> Array:
    """How the scores depend on a layer at points, [b, m, e]; `values` holds every tensor there."""
    name = network.output.name
    found = pull(network, values, np.eye(network.output_size), name, {node.name})
    return found.get(node.name, np.zeros((len(values[name]), network.output_size, node.size)))
