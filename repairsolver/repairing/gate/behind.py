"""What lies behind a layer, as matrices: exact where it is affine, else the derivative at each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from layerwise.program import Expr
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Indices, Linear
from repairsolver.repairing.delta.derivatives import pull
from repairsolver.results import Array

CHUNK = 8
"""Points whose derivatives are held at once."""


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


def linear_scores(
    network: Network, node: Node, values: Mapping[str, Array], entries: Indices, moved: Expr, *, affine: bool
) -> Expr:
    """The scores at all points, [k * m]: as they were, plus the derivative times what a layer moves by.

    Exact where the network behind the layer is affine; else as far as its activations stay as they are.

    Args:
        values: every tensor at the points, [k, size] each.
        entries: of the layer, those that move, [e].
        moved: by how much, at all points, [k * e].
        affine: one derivative for all points.
    """
    count = len(values[node.name])
    parts = [slice(0, 1)] if affine else [slice(i, i + CHUNK) for i in range(0, count, CHUNK)]
    blocks: list[Array] = []
    for part in parts:
        some = {name: value[part] for name, value in values.items()}
        blocks += list(derivatives(network, node, some)[:, :, entries])
    matrix: sparse.csr_array = sparse.csr_array(sparse.block_diag(blocks * count if affine else blocks))
    return matrix @ moved + values[network.output.name].ravel()
