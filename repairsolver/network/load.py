"""Networks from files, bytes and torch modules."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repairsolver.errors import NetworkError, told
from repairsolver.network.agreement import check_agreement
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import embed_external, keep_output, parse, serialise
from repairsolver.network.onnx_in import import_model

if TYPE_CHECKING:
    import torch

LARGEST_FILE = 2**31


def load_network(
    source: str | Path | bytes | torch.nn.Module,
    *,
    input_shape: Sequence[int] | None = None,
    output: str | None = None,
    normalise: bool = True,
    name: str | None = None,
) -> Network:
    """Read a network and check it against onnxruntime on random inputs.

    Args:
        source: the path of an .onnx, .onnx.gz or .nnet file, the bytes of an ONNX model, or a torch
            module (which is exported for inference).
        input_shape: the shape of the input; needed for a torch module (with or without a batch axis
            of 1), for ONNX only to give axes without a value another length than 1.
        output: which output to keep of a model with several.
        normalise: for .nnet, include the file's scaling of inputs and outputs, so that the network
            maps physical units to physical units; False gives the bare layers, as the usual ONNX
            versions of these networks have it.
        name: what messages call the network; default: the file's stem.

    Raises:
        UnsupportedOperatorError: lists every node that cannot be represented, and why.
        NetworkError: the file is missing, malformed, or not what is said above.
        SoundnessError: onnxruntime computes something else from the file.
    """
    path: Path | None = None
    if isinstance(source, bytes):
        data, title = source, name or "network"
    elif isinstance(source, str | Path):
        path = Path(source)
        title = name or path.name.split(".onnx")[0].removesuffix(".nnet")
        data = read_file(path, normalise)
    else:
        data, title = from_module(source, input_shape), name or type(source).__name__
        input_shape = None
    network = from_bytes(data, title, path, input_shape, output)
    check_agreement(network)
    if not isinstance(source, bytes | str | Path):
        from repairsolver.network.torch_in import check_module

        check_module(network, source)
    return network


def read_file(path: Path, normalise: bool) -> bytes:
    """The ONNX bytes of a file of any kind that is understood."""
    kind = path.name.lower()
    if not kind.endswith((".onnx", ".onnx.gz", ".nnet")):
        raise NetworkError(f"{path}: expected a file that ends in .onnx, .onnx.gz or .nnet")
    try:
        if kind.endswith(".gz"):
            with gzip.open(path) as file:
                data = file.read(LARGEST_FILE + 1)
        else:
            data = path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise NetworkError(f"{path}: cannot be read: {told(error)}") from error
    if len(data) > LARGEST_FILE:
        raise NetworkError(f"{path}: unpacks to more than {LARGEST_FILE} bytes")
    if kind.endswith(".nnet"):
        from repairsolver.network.nnet import onnx_from_nnet

        return onnx_from_nnet(data, path.name, normalise=normalise)
    return data


def from_module(source: object, input_shape: Sequence[int] | None) -> bytes:
    """The ONNX bytes of a torch module."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.nn.Module):
        raise NetworkError(
            f"cannot read a network from {type(source).__name__}; expected a path, bytes or a torch.nn.Module"
        )
    from repairsolver.network.torch_in import onnx_from_module

    return onnx_from_module(source, input_shape)


def from_bytes(
    data: bytes, name: str, path: Path | None, input_shape: Sequence[int] | None, output: str | None
) -> Network:
    """A network from ONNX bytes (of the file at `path`), not yet compared with onnxruntime."""
    model = parse(data, name if path is None else str(path))
    folder = None if path is None else path.parent
    changed = [embed_external(model, folder, name), keep_output(model, output, name)]
    if any(changed):
        data = serialise(model, name)
    return import_model(model, data, name=name, input_shape=input_shape)
