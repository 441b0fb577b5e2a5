"""The gates of a network in words, and as a JSON object."""

from __future__ import annotations

from typing import Any

import numpy as np

from repairsolver.network.gated import records_of
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.network.operators import Gate
from repairsolver.repairing.gate.edit import gate_lines
from repairsolver.results import Array, counted

UNKNOWN = (
    "These gates were not put in by repairsolver, or the file was edited by another tool since: they are "
    "verified like every other part of the network, but what they do is not known, and they cannot be "
    "removed."
)


def listed(network: Network, points: Array | None = None) -> tuple[list[str], dict[str, Any]]:
    """Lines for people, the first one a word, and the same as plain data.

    Args:
        points: inputs [b, n]; how often each gate is on among them is told.
    """
    records = records_of(network)
    if records:
        return _recorded(network, points)
    found = gates_of(network)
    if not found:
        return ["none", "The network has no gates."], {"result": "none", "gates": []}
    lines, entries = ["unrecognised", UNKNOWN], []
    for node in found:
        assert isinstance(node.operator, Gate)
        share = None if points is None else float(node.operator.fires(points).mean())
        boxes = counted(len(node.operator.lower), "box", "boxes")
        lines.append(f"{node.layer}: chosen in {boxes}{_often(share, points)}")
        entries.append({"layer": node.layer, "boxes": len(node.operator.lower), "on": share})
    return lines, {"result": "unrecognised", "gates": entries}


def _recorded(network: Network, points: Array | None) -> tuple[list[str], dict[str, Any]]:
    records = records_of(network)
    gates = [gate for record in records for gate in record.gates]
    original = records[0].original
    lines, entries = ["gates"], []
    for gate in gates:
        share = None if points is None else float(np.mean(gate.fires(points)))
        lines += gate_lines(gate, _often(share, points))
        entries.append(gate.to_json() | {"on": share})
    monitors = [record.monitor for record in records if record.monitor]
    lines += [f"The output {name!r} tells which gates are on." for name in monitors]
    lines.append(f"Without its gates the file has SHA-256 {original}.")
    return lines, {"result": "gates", "original_sha256": original, "monitors": monitors, "gates": entries}


def _often(share: float | None, points: Array | None) -> str:
    return "" if share is None or points is None else f"; on for {share:.3%} of {len(points)} inputs"
