"""Factors that no weight can carry: a multiplication behind a tensor of the ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import helper, numpy_helper

from repairsolver.errors import EditError
from repairsolver.network.agreement import check_agreement
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.results import Array


def with_multiplications(network: Network, factors: Mapping[str, Array]) -> Network:
    """The network with every entry of some tensors multiplied by a constant, read back from its new file.

    Args:
        factors: one number for each entry, flat, by the tensor's name.

    Raises:
        EditError: the file has no such tensor.
    """
    model = parse(network.model, network.name)
    graph = model.graph
    for name, values in factors.items():
        place = next((i for i, node in enumerate(graph.node) if name in node.output), None)
        if place is None:
            raise EditError(
                f"{network.name}: the file has no tensor {name!r} to be multiplied: choose other layers"
            )
        node, plain = graph.node[place], f"{name}_before_factors"
        node.output[list(node.output).index(name)] = plain
        shape = network.by_name[name].shape
        constant = np.asarray(values, dtype=network.element).reshape(shape)
        graph.initializer.append(numpy_helper.from_array(constant, f"{name}_factors"))
        times = helper.make_node("Mul", [plain, f"{name}_factors"], [name], name=f"{name}_scaled")
        graph.node.insert(place + 1, times)
    data = serialise(model, network.name)
    changed = import_model(model, data, name=network.name, input_shape=network.input_shape)
    check_agreement(changed)
    return changed
