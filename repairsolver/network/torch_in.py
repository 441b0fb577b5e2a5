"""torch modules as ONNX models, by torch's own exporter."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from repairsolver.errors import NetworkError, SoundnessError
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay

OPSET = 17
POINTS = 8
RANKS: dict[type[torch.nn.Module], int] = {torch.nn.Conv1d: 3, torch.nn.Conv2d: 4, torch.nn.Conv3d: 5}


def onnx_from_module(module: torch.nn.Module, input_shape: Sequence[int] | None) -> bytes:
    """Export a module for inference.

    torch has two exporters. The newer one needs the package onnxscript and rewrites the graph. The
    TorchScript one needs nothing further and keeps the names of the parameters, so that a repaired
    tensor can be put back into the module; it is used here. What it cannot trace (control flow that
    depends on data) would be frozen; its warning of that is made an error.

    Args:
        module: with parameters in float32 or float64; it stays as it is.
        input_shape: the shape of one input, with or without a batch axis of 1.

    Raises:
        NetworkError: there is no input shape, or torch cannot export the module.
    """
    if not input_shape:
        raise NetworkError(
            f"{type(module).__name__}: load it with load_network(module, input_shape=(...)), "
            "the shape of one input"
        )
    entry = sample(module, tuple(input_shape))
    with inference(module), tempfile.TemporaryDirectory() as folder, recorded() as warned:
        path = Path(folder) / "module.onnx"
        try:
            torch.onnx.export(
                module,
                (entry,),
                path,
                opset_version=OPSET,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
                dynamo=False,
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise NetworkError(
                f"{type(module).__name__}: torch cannot export it for an input of shape "
                f"{tuple(entry.shape)}: {error}"
            ) from error
        data = path.read_bytes()
    frozen = [str(w.message) for w in warned if issubclass(w.category, TracerWarning)]
    if frozen:
        raise NetworkError(
            f"{type(module).__name__}: its computation depends on the data: {'; '.join(frozen)}"
        )
    return data


@contextlib.contextmanager
def recorded() -> Iterator[list[warnings.WarningMessage]]:
    """All warnings as a list; the exporter warns of its own age, and of what it freezes."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield warned


def sample(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """An input with a batch axis of 1: the one given, or a further one.

    Convolutions say how many axes they need (torch would take one less for an input without batch);
    where there are none, a leading 1 of a longer shape is the batch axis.
    """
    ranks = [RANKS[type(part)] for part in module.modules() if type(part) in RANKS]
    complete = len(shape) == ranks[0] if ranks else len(shape) > 1
    batched = shape if complete and shape[0] == 1 else (1, *shape)
    return torch.zeros(batched, dtype=element_of(module), device=device_of(module))


def check_module(network: Network, module: torch.nn.Module) -> None:
    """Compare the exported network with its module on random inputs, in the module's arithmetic.

    Raises:
        SoundnessError: they differ by more than 1e-4 of the largest output.
    """
    points = np.random.default_rng(0).standard_normal((POINTS, network.input_size)).astype(network.element)
    with inference(module), torch.no_grad():
        inputs = torch.from_numpy(points.reshape(POINTS, *network.input_shape)).to(device_of(module))
        expected = np.stack([module(x).double().cpu().numpy().reshape(-1) for x in inputs])
    found = replay(network, points.astype(np.float64))
    size = max(1.0, float(np.abs(expected).max(initial=0.0)))
    if found.shape != expected.shape or not np.abs(found - expected).max(initial=0.0) <= 1e-4 * size:
        raise SoundnessError(
            f"{network.name}: the exported ONNX model computes something else than the torch module; "
            "export it by hand with torch.onnx.export and load the file"
        )


@contextlib.contextmanager
def inference(module: torch.nn.Module) -> Iterator[None]:
    """Every part of the module in inference mode, and back as it was."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, flag in training.items():
            part.training = flag


def element_of(module: torch.nn.Module) -> torch.dtype:
    """The element type of the parameters; float32 where there are none."""
    found = {p.dtype for p in module.parameters()} or {torch.float32}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        raise NetworkError(
            f"{type(module).__name__}: its parameters must all be float32 or all float64, "
            f"got {sorted(map(str, found))}"
        )
    return found.pop()


def device_of(module: torch.nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))
