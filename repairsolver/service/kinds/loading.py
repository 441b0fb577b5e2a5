"""Uploaded networks and properties, under the names that people gave them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from repairsolver.network import Network, load_network
from repairsolver.property import Property, load_property
from repairsolver.service.kinds.kind import Task


def network_of(task: Task) -> Network:
    """The uploaded network."""
    name = Path(task.title("network")).name
    for ending in (".gz", ".onnx", ".nnet"):
        name = name.removesuffix(ending)
    return load_network(task.need("network"), name=name or "network")


def properties_of(task: Task, network: Network) -> list[Property]:
    """The uploaded properties."""
    pairs = zip(task.files["property"], task.names["property"], strict=True)
    return [replace(load_property(path, network=network), name=name) for path, name in pairs]
