"""Saving, and new weights in the original ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, numpy_helper

from repairsolver.errors import EditError
from repairsolver.network.agreement import check_agreement
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.signatures import typed
from repairsolver.targets import replacing


@typed
def save_network(network: Network, path: str | Path) -> None:
    """Write the ONNX file of a network; the target appears complete or not at all.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the path is a folder or a device.
    """
    with replacing(path) as stream:
        stream.write(network.model)


def replace_parameters(network: Network, changes: Mapping[str, NDArray[np.floating]]) -> Network:
    """The same network with new values for stored tensors; everything else in the file stays.

    Args:
        changes: by name of an initialiser (or of a Constant node's output), the new values in the
            file's own layout; they are rounded to the tensor's element type. A shape that differs
            only by axes of length 1 is accepted.

    Raises:
        EditError: lists names that are not stored in the file, shapes that do not fit, and values
            that are not finite in the tensor's element type.
    """
    model = parse(network.model, network.name)
    stored = dict(editable(model.graph))
    problems = [problem for name, new in changes.items() if (problem := misfit(name, stored.get(name), new))]
    if problems:
        raise EditError(f"{network.name}: cannot change parameters: {'; '.join(problems)}")
    for name, new in changes.items():
        write(stored[name], new)
    data = serialise(model, network.name)
    changed = import_model(model, data, name=network.name, input_shape=network.input_shape)
    check_agreement(changed)
    return changed


def editable(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Stored float tensors by the name that `Source.tensor` uses."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def misfit(name: str, tensor: TensorProto | None, new: NDArray[np.floating]) -> str | None:
    """Why an array cannot take the place of a stored tensor."""
    if tensor is None:
        return f"{name!r} is not stored in the file"
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return f"{name!r} is of type {TensorProto.DataType.Name(tensor.data_type)}, not FLOAT or DOUBLE"
    shape = np.shape(new)
    if [d for d in shape if d != 1] != [d for d in tensor.dims if d != 1]:
        return f"{name!r} has shape {list(tensor.dims)}, got {list(shape)}"
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(new).astype(element_of(tensor))).all()
    return None if finite else f"the new values of {name!r} are not finite in {element_of(tensor)}"


def element_of(tensor: TensorProto) -> np.dtype[np.float32] | np.dtype[np.float64]:
    return np.dtype(np.float32) if tensor.data_type == TensorProto.FLOAT else np.dtype(np.float64)


def write(tensor: TensorProto, new: NDArray[np.floating]) -> None:
    """Put values into a stored tensor; its name, shape, type and documentation stay."""
    values = np.asarray(new).astype(element_of(tensor)).reshape(tuple(tensor.dims))
    fresh = numpy_helper.from_array(values)
    for field in ("float_data", "double_data"):
        tensor.ClearField(field)
    tensor.raw_data = fresh.raw_data
