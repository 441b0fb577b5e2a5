"""The record of gates that a file carries in its metadata: what was put in, and how to take it out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from repairsolver.exact_json import loads
from repairsolver.network.gated.changes import NewGate, gate_from_json
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import GATES, parse, serialise

VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Gates that were put into a file at once.

    Args:
        original: SHA-256 of the file before.
        gates: what was put in.
        nodes: names of the nodes that were added.
        renamed: (new name, old name) of tensors, in order.
        monitor: the output that tells which gates are on; empty for none.
        opset: the version of the operators before, if it was raised.
        stored: the file before, compressed, where taking the nodes out does not give its bytes.
        asked: the property that the gates were put in for, as text, compressed; empty where none was given.
    """

    original: str
    gates: tuple[NewGate, ...]
    nodes: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    monitor: str = ""
    opset: int | None = None
    stored: str = ""
    asked: str = ""

    def to_json(self) -> dict[str, Any]:
        content = {
            "version": VERSION,
            "original": self.original,
            "gates": [gate.to_json() for gate in self.gates],
            "nodes": list(self.nodes),
            "renamed": [list(pair) for pair in self.renamed],
            "monitor": self.monitor,
            "opset": self.opset,
            "stored": self.stored,
        }
        return content | ({"asked": self.asked} if self.asked else {})


def record_from_json(content: dict[str, Any]) -> Record:
    """The record; KeyError, TypeError or ValueError for anything else."""
    if content["version"] != VERSION:
        raise ValueError(f"version {content['version']!r}")
    return Record(
        str(content["original"]),
        tuple(gate_from_json(gate) for gate in content["gates"]),
        tuple(map(str, content["nodes"])),
        tuple((str(new), str(old)) for new, old in content["renamed"]),
        str(content["monitor"]),
        None if content["opset"] is None else int(content["opset"]),
        str(content["stored"]),
        str(content.get("asked", "")),
    )


def records_of(network: Network) -> tuple[Record, ...]:
    """The records of a file, oldest first; none where it has none, or was changed after they were made."""
    model = parse(network.model, network.name)
    try:
        content = loads(metadata(model))
        if content["sha256"] != digest(model, network.name):
            return ()
        return tuple(record_from_json(record) for record in content["records"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def metadata(model: ModelProto) -> str:
    """What the file says of its gates; empty if nothing."""
    return next((entry.value for entry in model.metadata_props if entry.key == GATES), "")


def write_records(model: ModelProto, records: tuple[Record, ...], name: str) -> None:
    """Put the records into a model in place of those that it has."""
    kept = [entry for entry in model.metadata_props if entry.key != GATES]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if records:
        content = {"sha256": digest(model, name), "records": [record.to_json() for record in records]}
        model.metadata_props.add(key=GATES, value=json.dumps(content))


def digest(model: ModelProto, name: str) -> str:
    """Of everything but the records themselves."""
    bare = ModelProto()
    bare.CopyFrom(model)
    kept = [entry for entry in bare.metadata_props if entry.key != GATES]
    del bare.metadata_props[:]
    bare.metadata_props.extend(kept)
    return hashlib.sha256(serialise(bare, name)).hexdigest()
