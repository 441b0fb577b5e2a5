"""Repaired models built and run in their real framework: whole, or layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.architecture.calls import Call, keras_layer, real, torch_output
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.model import Model

GONE = ("LocallyConnected", "ThresholdedReLU")
"""Layers that Keras 3 no longer has."""


def runs(model: Model) -> str:
    """What goes wrong when the model is built and run on zeros, a batch of two; "" if nothing does.

    Models with layers that Keras 3 lacks are run layer by layer; the others are built whole.
    """
    if any(layer.kind.startswith(GONE) for layer in model.layers):
        return _layer_by_layer(model)
    try:
        return _compared(model, (_torch_outputs if model.framework == "torch" else _keras_outputs)(model))
    except Exception as error:  # whatever the framework raises is what is to be reported
        return f"{type(error).__name__}: {error}"


def _compared(model: Model, found: dict[str, tuple[int, ...]]) -> str:
    shapes = diagnose_model(model).shapes
    wrong = [
        f"{name}: {shape} instead of {shapes[name]}" for name, shape in found.items() if shape != shapes[name]
    ]
    return "; ".join(wrong)


def _keras_outputs(model: Model) -> dict[str, tuple[int, ...]]:
    """Output shapes of the whole model in Keras."""
    import keras

    tensors: dict[str, Any] = {name: keras.Input(shape) for name, shape in model.inputs.items()}
    for layer in model.layers:
        shapes = tuple(tuple(tensors[name].shape[1:]) for name in layer.inputs)
        read = [tensors[name] for name in layer.inputs]
        built = keras_layer(Call("keras", layer.kind, layer.args, shapes))
        tensors[layer.name] = built(read if len(read) > 1 else read[0])
    whole = keras.Model([tensors[n] for n in model.inputs], [tensors[n] for n in model.outputs])
    zeros = [keras.ops.zeros((2, *shape)) for shape in model.inputs.values()]
    out = whole(zeros if len(zeros) > 1 else zeros[0])
    return _shapes(model, out if isinstance(out, list | tuple) else [out])


def _torch_outputs(model: Model) -> dict[str, tuple[int, ...]]:
    """Output shapes of the whole model in torch."""
    import torch

    tensors: dict[str, Any] = {name: torch.zeros((2, *shape)) for name, shape in model.inputs.items()}
    with torch.no_grad():
        for layer in model.layers:
            read = [tensors[name] for name in layer.inputs]
            call = Call("torch", layer.kind, layer.args, tuple(tuple(t.shape[1:]) for t in read))
            tensors[layer.name] = torch_output(call, read)
    return _shapes(model, [tensors[name] for name in model.outputs])


def _shapes(model: Model, out: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape)[1:] for name, tensor in zip(model.outputs, out, strict=True)}


def _layer_by_layer(model: Model) -> str:
    shapes = diagnose_model(model).shapes
    for layer in model.layers:
        inputs = tuple(shapes[name] for name in layer.inputs)
        if layer.kind.startswith(GONE):
            continue
        found = real(Call(model.framework, layer.kind, layer.args, inputs))
        if found != shapes[layer.name]:
            return f"{layer.name} ({layer.kind}) on {inputs}: {found} instead of {shapes[layer.name]}"
    return ""
