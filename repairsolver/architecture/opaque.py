"""Layers that the user declares opaque: no rule is applied, the output shape is stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from repairsolver.architecture.model import Layer, Shape
from repairsolver.errors import ArchitectureError

Opaque: TypeAlias = Mapping[str, Shape | None]
"""Layer name or layer type to its output shape; None: that of its one input."""

OPAQUE = "Opaque"
"""The kind of such a layer."""


def is_opaque(name: str, kind: str, opaque: Opaque) -> bool:
    """Whether the user declared the layer, or its type, opaque."""
    return name in opaque or kind in opaque


def made_opaque(layers: list[Layer], inputs: dict[str, Shape], opaque: Opaque) -> list[Layer]:
    """Replace the declared layers; one with a stated shape becomes an input of that shape, which is added.

    Raises:
        ArchitectureError: names that the model does not have; several inputs without a stated shape.
    """
    known = {layer.name for layer in layers} | {_kind(layer) for layer in layers}
    missing = sorted(set(opaque) - known)
    if missing:
        raise ArchitectureError(f"opaque: no layer or layer type is called {', '.join(missing)}")
    kept = []
    for layer in layers:
        if not is_opaque(layer.name, _kind(layer), opaque):
            kept.append(layer)
            continue
        shape = opaque.get(layer.name, opaque.get(_kind(layer)))
        if shape is not None:
            inputs[layer.name] = tuple(shape)
        elif len(layer.inputs) == 1:
            kept.append(replace(layer, kind=OPAQUE, args={"kind": _kind(layer)}, weights={}))
        else:
            raise ArchitectureError(f"{layer.name} has {len(layer.inputs)} inputs: state its output shape")
    return kept


def _kind(layer: Layer) -> str:
    return str(layer.args.get("kind", layer.kind)) if layer.kind == OPAQUE else layer.kind
