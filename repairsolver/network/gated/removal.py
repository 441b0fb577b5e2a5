"""Gates taken out of a file again: the file as it was before, bit for bit."""

from __future__ import annotations

import base64
import hashlib
import zlib

from onnx import ModelProto

from repairsolver.errors import EditError, SoundnessError
from repairsolver.network.gated.record import Record, records_of, write_records
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.signatures import typed


@typed
def remove_gates(network: Network) -> Network:
    """The network before any gates were put in, with the bytes of its file.

    Raises:
        EditError: its gates are not known to have been put in by `add_gates`, or the file was changed since.
        SoundnessError: what is left is not the file that the record names.
    """
    records = require_records(network)
    while records:
        network = without_newest(network, records)
        records = records_of(network)
    return network


def asked_of(network: Network) -> str:
    """Text of the property that the newest gates of a file were put in for; empty where none is known.

    Raises:
        EditError: the file's record of it cannot be read.
    """
    records = records_of(network)
    asked = records[-1].asked if records else ""
    try:
        return base64_unpacked(asked).decode() if asked else ""
    except (ValueError, zlib.error) as error:
        raise EditError(
            f"{network.name}: the property that its gates were put in for cannot be read: {error}; take the "
            "gates out with `repairsolver gates FILE --remove`"
        ) from error


def without_newest(network: Network, records: tuple[Record, ...]) -> Network:
    """The network before the newest gates."""
    record, model = records[-1], parse(network.model, network.name)
    data = base64_unpacked(record.stored) if record.stored else undone(model, records, network.name)
    if hashlib.sha256(data).hexdigest() != record.original:
        raise SoundnessError(
            f"{network.name}: without its gates the file has another SHA-256 than the record says "
            f"({record.original[:16]}...): take the original file"
        )
    return import_model(parse(data, network.name), data, name=network.name, input_shape=network.input_shape)


def require_records(network: Network) -> tuple[Record, ...]:
    """The records of a file.

    Raises:
        EditError: there are none.
    """
    records = records_of(network)
    if not records:
        raise EditError(
            f"{network.name}: no gates of repairsolver are recognised in the file: it has none, or another "
            "tool changed it afterwards; it is verified as an ordinary network, and the gates that it has "
            "cannot be removed"
        )
    return records


def undone(model: ModelProto, records: tuple[Record, ...], name: str) -> bytes:
    """The bytes of a model after its newest nodes are taken out and its tensors have their names back."""
    record, added = records[-1], set(records[-1].nodes)
    restored = ModelProto()
    restored.CopyFrom(model)
    kept = [node for node in restored.graph.node if node.name not in added]
    for new, old in reversed(record.renamed):
        for node in kept:
            node.output[:] = [old if tensor == new else tensor for tensor in node.output]
    del restored.graph.node[:]
    restored.graph.node.extend(kept)
    outputs = [value for value in model.graph.output if not record.monitor or value.name != record.monitor]
    del restored.graph.output[:]
    restored.graph.output.extend(outputs)
    if record.opset is not None:
        for entry in restored.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = record.opset
    write_records(restored, records[:-1], name)
    return serialise(restored, name)


def base64_unpacked(text: str) -> bytes:
    """The bytes of a stored file."""
    return zlib.decompress(base64.b64decode(text))


def base64_packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")
