"""Repaired models built and run layer by layer in their real framework."""

from __future__ import annotations

from benchmarks.architecture.calls import Call, real
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.model import Model


def runs(model: Model) -> str:
    """What goes wrong when each layer is called on real tensors of its input shapes; "" if nothing does.

    Layers that the framework no longer has are taken as they are; every shape must be the one of its rule.
    """
    shapes = diagnose_model(model).shapes
    for layer in model.layers:
        inputs = tuple(shapes[name] for name in layer.inputs)
        if layer.kind.startswith(("LocallyConnected", "ThresholdedReLU")):
            continue
        found = real(Call(model.framework, layer.kind, layer.args, inputs))
        if found != shapes[layer.name]:
            return f"{layer.name} ({layer.kind}) on {inputs}: {found} instead of {shapes[layer.name]}"
    return ""
