"""An ONNX file as a checked ModelProto: parsed, complete, one input, one output, known opset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, inliner

from repairsolver.errors import NetworkError, told
from repairsolver.exact_json import loads

OLDEST_OPSET = 7
GATES = "repairsolver.gates"
"""The metadata in which a file says what gates were put into it, see `network.gated.record`."""


def parse(data: bytes, name: str) -> ModelProto:
    """A model from its bytes.

    Raises:
        NetworkError: the bytes are empty, cut off, or not an ONNX model.
    """
    if not data:
        raise NetworkError(f"{name}: the file is empty; expected an ONNX model: export or copy it again")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise NetworkError(
            f"{name}: not an ONNX model, or cut off ({error}); export or copy it again"
        ) from error
    if not model.HasField("graph") or not model.graph.output:
        raise NetworkError(f"{name}: not an ONNX model: it has no graph with an output")
    return model


def serialise(model: ModelProto, name: str) -> bytes:
    """The bytes of a model, the same every time."""
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:
        raise NetworkError(f"{name}: the model cannot be written as one ONNX file ({error})") from error


def opset_of(model: ModelProto, name: str) -> int:
    """The version of the standard operators.

    Raises:
        NetworkError: it is older than 7 or newer than the installed onnx knows.
    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        raise NetworkError(f"{name}: the model imports no standard operator set; expected opset 7 or newer")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= max(versions) <= newest:
        raise NetworkError(
            f"{name}: the model uses opset {max(versions)}; supported are {OLDEST_OPSET} to {newest}. "
            "Convert it with onnx.version_converter, or export it again"
        )
    return int(max(versions))


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor that the file stores: initialisers and values of Constant nodes, in branches, too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            if attribute.type == AttributeProto.GRAPH:
                yield from tensors_of(attribute.g)


def embed_external(model: ModelProto, folder: Path | None, name: str) -> bool:
    """Read tensors that live in files beside the model into the model; True where there were any.

    Raises:
        NetworkError: a tensor points out of the model's folder, or its file is missing or too short.
    """
    external = [t for t in tensors_of(model.graph) if t.data_location == TensorProto.EXTERNAL]
    places = [(tensor, location(tensor, folder)) for tensor in external]
    outside = [tensor.name for tensor, path in places if path is None]
    if outside:
        raise NetworkError(
            f"{name}: tensors {outside} are stored outside the folder of the model, which is not read; "
            "put the data file beside the model and name it by a relative path"
        )
    for tensor, path in ((tensor, path) for tensor, path in places if path is not None):
        tensor.raw_data = read_external(tensor, path, name)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return bool(external)


def location(tensor: TensorProto, folder: Path | None) -> Path | None:
    """The data file of a tensor if it lies in the folder, links resolved; else None."""
    relative = entries(tensor).get("location", "")
    if folder is None or not relative or os.path.isabs(relative) or "\\" in relative:
        return None
    path = (folder / relative).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def read_external(tensor: TensorProto, path: Path, name: str) -> bytes:
    """The bytes of a tensor in a data file."""
    given = entries(tensor)
    try:
        offset, length = int(given.get("offset", 0)), int(given.get("length", -1))
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{name}: the data of tensor {tensor.name!r} cannot be read from {path}: {told(error)}"
        ) from error
    if len(data) < length:
        raise NetworkError(
            f"{name}: tensor {tensor.name!r} needs {length} bytes from {path.name}, got {len(data)} there"
        )
    return data


def keep_output(model: ModelProto, output: str | None, name: str) -> bool:
    """Restrict a model to one output; True where that changed the file.

    Raises:
        NetworkError: the model has several outputs and none is chosen, or not the chosen one.
    """
    names = [value.name for value in model.graph.output]
    if output is not None and output not in names:
        raise NetworkError(f"{name}: there is no output {output!r}; the outputs are {names}")
    if output is None and len(names) > 1 and not set(names[1:]) <= monitors(model):
        raise NetworkError(
            f"{name}: the model has {len(names)} outputs, {names}; choose one in Python with "
            f"load_network(..., output={names[0]!r}), and save that with save_network"
        )
    if len(names) == 1 or (output in (None, names[0]) and set(names[1:]) <= monitors(model)):
        return False
    kept = [value for value in model.graph.output if value.name == output]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return True


def monitors(model: ModelProto) -> set[str]:
    """Outputs that only tell which gates are on; they are no part of what the network computes."""
    text = next((entry.value for entry in model.metadata_props if entry.key == GATES), "")
    try:
        return {str(record["monitor"]) for record in loads(text)["records"]} - {""}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


def inlined(model: ModelProto) -> ModelProto:
    """The model with its local functions written out."""
    return inliner.inline_local_functions(model) if model.functions else model
