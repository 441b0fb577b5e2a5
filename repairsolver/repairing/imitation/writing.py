"""New weights of layers, written into the ONNX file that they come from; and what changed in all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from repairsolver.errors import EditError
from repairsolver.network import replace_parameters
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Conv, Dense, Source
from repairsolver.repairing.delta.addressing import editable_nodes, sources
from repairsolver.repairing.result import Delta, TensorChange
from repairsolver.repairing.stored import stored_tensors, uses
from repairsolver.results import Array


def with_layers(network: Network, layers: Mapping[str, tuple[Array, Array]]) -> Network:
    """The network, read back from its changed file, with new weights and biases of some layers.

    Args:
        layers: weight and bias, as the operator has them, by the node's name.

    Raises:
        EditError: the file holds no bias where one changed, or a tensor is shared by several nodes.
    """
    tensors, used = stored_tensors(network), uses(network)
    changes: dict[str, NDArray[np.floating]] = {}
    for name, arrays in layers.items():
        node = network.by_name[name]
        for role, array in zip(("weight", "bias"), arrays, strict=True):
            if np.array_equal(array, getattr(node.operator, role)):
                continue
            source = getattr(node.operator, f"{role}_source")
            if source is None or used[source.tensor] != 1:
                raise EditError(
                    f"{network.name}: the {role} of layer {node.layer or node.name!r} cannot change: the "
                    f"file {'holds none' if source is None else 'uses its tensor in several nodes'}"
                )
            changes[source.tensor] = as_stored(array, source, tensors[source.tensor])
    return replace_parameters(network, changes) if changes else network


def as_stored(array: Array, source: Source, stored: NDArray[np.floating]) -> NDArray[np.floating]:
    """An operator's array in the file's layout and element type; what did not change stays bit by bit."""
    turned = np.swapaxes(array, -1, -2) if source.transposed and array.ndim > 1 else array
    new = (turned / source.factor).reshape(stored.shape)
    kept = source.factor * stored.astype(np.float64) == turned.reshape(stored.shape)
    return np.where(kept, stored, new.astype(stored.dtype))


def writable(network: Network, node: Node) -> bool:
    """Whether weight and bias of a layer are in the file, and used by nothing else."""
    if not isinstance(node.operator, Dense | Conv):
        return False
    used, found = uses(network), sources(node)
    return len(found) == 2 and all(used[source.tensor] == 1 for _, source in found)


def change_between(original: Network, repaired: Network) -> Delta | None:
    """What changed in the file's tensors, with the names of their layers; None if the graph changed, too."""
    before, after = stored_tensors(original), stored_tensors(repaired)
    if before.keys() != after.keys():
        return None
    changes = []
    for node in editable_nodes(original):
        for role, source in sources(node):
            old, new = before[source.tensor], after[source.tensor]
            if not np.array_equal(old, new):
                name = node.layer or node.name
                changes.append(TensorChange(source.tensor, name, role, old, new, source.transposed))
    return Delta(tuple(changes), original.sha256)
