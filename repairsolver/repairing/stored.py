"""The parameters of a network as its ONNX file stores them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import parse
from repairsolver.network.onnx_out import editable


def stored_tensors(network: Network) -> dict[str, NDArray[np.floating]]:
    """Every stored tensor by name, in the file's layout and element type."""
    graph = parse(network.model, network.name).graph
    return {name: np.array(numpy_helper.to_array(tensor)) for name, tensor in editable(graph)}


def uses(network: Network) -> Counter[str]:
    """By how many node inputs and graph outputs each tensor of the file is used."""
    graph = parse(network.model, network.name).graph
    names = [name for node in graph.node for name in node.input]
    return Counter(names + [output.name for output in graph.output])
