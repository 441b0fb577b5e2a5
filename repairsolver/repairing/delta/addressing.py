"""Which numbers of a network may change: layers by name, weights or biases, neurons, single entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from repairsolver.errors import EditError
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Conv, Dense, Source
from repairsolver.repairing.delta.unknowns import Block, Parameter
from repairsolver.repairing.stored import stored_tensors, uses

ROLES = {"both": ("weight", "bias"), "weights": ("weight",), "biases": ("bias",)}


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What may change.

    Args:
        layers: "last", "all", "auto" (see `localise`), or names of layers: of the ONNX node, of its output,
            or of a stored tensor of the layer; several with commas between them, or as a tuple.
        parameters: "weights", "biases" or "both".
        neurons: output neurons of a dense layer, filters of a convolution: indices, or a boolean mask.
        mask: single entries, by the name of the stored tensor: a boolean array of the tensor's shape, or
            a list of index tuples. Tensors that are not named do not change.
    """

    layers: str | Sequence[str] = "last"
    parameters: str = "both"
    neurons: ArrayLike | None = None
    mask: Mapping[str, Any] | None = None


def find_blocks(network: Network, choice: Choice) -> tuple[Block, ...]:
    """The unknowns of the chosen layers, first to last.

    Raises:
        EditError: no such layer (those that exist are listed), nothing is left to change, an index is out
            of range, or a tensor is shared by several nodes.
    """
    if choice.parameters not in ROLES:
        raise EditError(f"unknown parameters {choice.parameters!r}: choose one of {', '.join(ROLES)}")
    nodes = find_nodes(network, choice.layers)
    if choice.neurons is not None and len(nodes) > 1:
        raise EditError(
            f"{network.name}: neurons are chosen in one layer, but layers={choice.layers!r} names "
            f"{len(nodes)}: name one, or choose entries with a mask"
        )
    tensors = stored_tensors(network)
    _check_mask(network, nodes, choice)
    blocks = [_block(network, node, choice, tensors) for node in nodes]
    found = tuple(block for block in blocks if block is not None)
    if not found:
        raise EditError(
            f"{network.name}: nothing may change: parameters={choice.parameters!r} with this choice of "
            f"neurons and entries leaves no number of {', '.join(map(label, nodes))}"
        )
    return found


def editable_nodes(network: Network) -> tuple[Node, ...]:
    """The dense and convolution layers with parameters of the file, first to last.

    Raises:
        EditError: there is none.
    """
    found = tuple(node for node in network.affine_layers if sources(node))
    if not found:
        raise EditError(
            f"{network.name}: no dense or convolution layer has its weights in the file: nothing to edit"
        )
    return found


def find_nodes(network: Network, layers: str | Sequence[str]) -> tuple[Node, ...]:
    """The layers of these names, first to last.

    Raises:
        EditError: no such layer.
    """
    nodes = editable_nodes(network)
    wanted = [name.strip() for name in layers.split(",")] if isinstance(layers, str) else list(layers)
    if wanted == ["all"]:
        return nodes
    chosen = {nodes[-1].name} if "last" in wanted else set()
    missing = []
    for name in (name for name in wanted if name != "last"):
        own = [node.name for node in nodes if name in names(node)]
        chosen.update(own)
        missing += [] if own else [name]
    if missing or not chosen:
        what = ", ".join(map(repr, missing)) or "without a name"
        raise EditError(
            f"{network.name}: layers={layers!r}: there is no layer {what} with weights in the file; there "
            f"are {', '.join(map(label, nodes))}: pass one of them, 'last', 'all' or 'auto'"
        )
    return tuple(node for node in nodes if node.name in chosen)


def sources(node: Node) -> list[tuple[str, Source]]:
    """Weight and bias of a layer, as far as they are stored in the file."""
    operator = node.operator
    assert isinstance(operator, Dense | Conv)
    both = (("weight", operator.weight_source), ("bias", operator.bias_source))
    return [(role, source) for role, source in both if source is not None]


def names(node: Node) -> set[str]:
    """All names that mean a layer."""
    return {node.name, node.layer, *(source.tensor for _, source in sources(node))} - {""}


def label(node: Node) -> str:
    """The name that people know a layer by."""
    return repr(node.layer or node.name)


def _block(
    network: Network, node: Node, choice: Choice, tensors: Mapping[str, NDArray[np.floating]]
) -> Block | None:
    """The unknowns of one layer, or None if the choice leaves none."""
    wanted = [(role, source) for role, source in sources(node) if role in ROLES[choice.parameters]]
    if choice.mask is not None:
        wanted = [(role, source) for role, source in wanted if source.tensor in choice.mask]
    parameters: list[Parameter] = []
    for role, source in wanted:
        start = parameters[-1].place.stop if parameters else 0
        parameters.append(Parameter(source, role, tensors[source.tensor], start))
    _check_unshared(network, node, parameters)
    _check_layout(network, node, parameters)
    kept = [_kept(network, node, parameter, choice) for parameter in parameters]
    chosen = np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *kept]))
    if not len(chosen):
        return None
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    return Block(node, tuple(parameters), chosen.astype(np.int64), shapes[node.inputs[0]])


def _kept(network: Network, node: Node, parameter: Parameter, choice: Choice) -> NDArray[np.bool_]:
    """Which entries of a tensor may change, flat."""
    kept = np.ones(parameter.stored.shape, dtype=bool)
    if choice.mask is not None:
        kept &= _entries(parameter.stored, parameter.source.tensor, choice.mask[parameter.source.tensor])
    if choice.neurons is not None:
        operator = node.operator
        assert isinstance(operator, Dense | Conv)
        mine = _neurons(network, node, choice.neurons, operator.weight.shape[0])
        if parameter.role == "bias":
            kept &= mine.reshape(kept.shape)
        elif parameter.source.transposed:
            kept &= mine[None, :] if kept.ndim == 2 else mine.reshape((*(1,) * (kept.ndim - 1), -1))
        else:
            kept &= mine.reshape((-1, *(1,) * (kept.ndim - 1)))
    return kept.ravel()


def _neurons(network: Network, node: Node, neurons: ArrayLike, count: int) -> NDArray[np.bool_]:
    kind = "filters" if isinstance(node.operator, Conv) else "neurons"
    given = np.atleast_1d(np.asarray(neurons))
    if given.dtype == bool:
        if given.shape != (count,):
            raise EditError(
                f"{network.name}: the mask of {kind} has shape {given.shape}, but layer {label(node)} has "
                f"{count} {kind}"
            )
        mask = given
    else:
        if given.size and not np.issubdtype(given.dtype, np.integer):
            raise EditError(f"{network.name}: {kind} are chosen by whole numbers or a mask, got {neurons!r}")
        wrong = given[(given < 0) | (given >= count)]
        if wrong.size:
            raise EditError(
                f"{network.name}: layer {label(node)} has {kind} 0 to {count - 1}, "
                f"got {', '.join(map(str, wrong[:10]))}"
            )
        mask = np.isin(np.arange(count), given)
    if not mask.any():
        raise EditError(f"{network.name}: no {kind} of layer {label(node)} are chosen: choose at least one")
    return mask


def _entries(stored: NDArray[np.floating], tensor: str, wanted: object) -> NDArray[np.bool_]:
    """A boolean array of the tensor's shape, from one, or from a list of index tuples."""
    given = np.asarray(wanted)
    if given.dtype == bool:
        if given.shape != stored.shape:
            raise EditError(f"the mask of tensor {tensor!r} has shape {given.shape}, expected {stored.shape}")
        return given
    index = given[:, None] if stored.ndim == given.ndim == 1 else given
    whole = index.size == 0 or np.issubdtype(given.dtype, np.integer)
    fits = whole and index.ndim == 2 and index.shape[1] == stored.ndim
    if not fits or (index < 0).any() or (index >= np.array(stored.shape)).any():
        raise EditError(
            f"entries of tensor {tensor!r} are index tuples below its shape {stored.shape}, got {wanted!r}"
        )
    mask = np.zeros(stored.shape, dtype=bool)
    mask[tuple(index.astype(np.int64).T)] = True
    return mask


def _check_mask(network: Network, nodes: Sequence[Node], choice: Choice) -> None:
    if choice.mask is None:
        return
    known = [s.tensor for node in nodes for role, s in sources(node) if role in ROLES[choice.parameters]]
    missing = [name for name in choice.mask if name not in known]
    if missing:
        raise EditError(
            f"{network.name}: the mask names {', '.join(map(repr, missing))}, but the chosen parameters of "
            f"{', '.join(map(label, nodes))} are the tensors {', '.join(map(repr, known)) or 'none'}"
        )


def _check_unshared(network: Network, node: Node, parameters: Sequence[Parameter]) -> None:
    used = uses(network)
    shared = [p.source.tensor for p in parameters if used[p.source.tensor] != 1]
    if shared:
        raise EditError(
            f"{network.name}: {', '.join(shared)} of layer {label(node)} "
            "is used by several nodes: changing it would change other layers too; give the layer its own copy"
        )


def _check_layout(network: Network, node: Node, parameters: Sequence[Parameter]) -> None:
    """The stored tensors, read as the sources say, are the layer's arrays."""
    for parameter in parameters:
        array = getattr(node.operator, parameter.role)
        stored = parameter.source.factor * parameter.stored.astype(np.float64)
        if stored.ndim > 1 and parameter.source.transposed:
            stored = np.swapaxes(stored, -1, -2)
        if stored.size != array.size or not np.array_equal(stored.ravel(), array.ravel()):
            raise EditError(
                f"{network.name}: {parameter.source.tensor} holds {parameter.stored.shape} values that are "
                f"not the {parameter.role} {array.shape} of layer {label(node)}: it cannot be "
                "edited in place"
            )
