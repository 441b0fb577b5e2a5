"""Layer graphs in the shorter JSON of ExAIS: one input `shape`, layers in a row or with named inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from layerwise.shapes import RULES, RankMismatch
from repairsolver.architecture.exais import KINDS, arguments, check_words, literal, tensor_shape, weight_names
from repairsolver.architecture.model import Layer, Model, Shape, build
from repairsolver.errors import ArchitectureError

INPUT = "input"


def read_sequence(data: Mapping[str, Any]) -> Model:
    """The model.

    The first entry of `shape` is the batch, unless only the whole shape has a rank for the first layer.

    Raises:
        ArchitectureError: malformed, or layer types without a rule (all are listed).
    """
    entries = data["layers"]
    unknown = [f"{n}: {e['type']}" for n, e in enumerate(entries, 1) if e["type"].lower() not in KINDS]
    if unknown:
        raise ArchitectureError(f"layer types without a rule: {', '.join(unknown)}; remove these layers")
    check_words(entries)
    layers: list[Layer] = []
    for number, entry in enumerate(entries, start=1):
        before = layers[-1].name if layers else INPUT
        layers.append(_layer(entry, number, before))
    whole = literal(data["shape"])
    if not isinstance(whole, tuple) or not whole:
        raise ArchitectureError(f"shape {data['shape']!r} is no tuple of sizes")
    model = build("keras", {INPUT: whole}, layers)
    return build("keras", {INPUT: _without_batch(model, whole)}, layers)


def _layer(entry: Mapping[str, Any], number: int, before: str) -> Layer:
    kind = KINDS[entry["type"].lower()]
    weights = dict(_weights(kind, entry))
    args = dict(arguments(kind, _plain(kind, entry), weights))
    name = entry.get("name", f"{kind.lower()}_{number}")
    return Layer(name, kind, args, tuple(entry.get("inputs", [before])), weights)


def _plain(kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """`size` and `sizes` in the words of the longer form."""
    names = {"MaxPooling": "pool_size", "AveragePooling": "pool_size", "Reshape": "target_shape"}
    word = next((new for start, new in names.items() if kind.startswith(start)), "size")
    plain = {word if key == "size" else key: value for key, value in entry.items()}
    if "sizes" in plain and kind.startswith("ZeroPadding"):
        plain["padding"] = plain.pop("sizes")
    return plain


def _weights(kind: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    names = weight_names(kind)
    for old, new in names.items():
        if entry.get(old):
            yield new, tensor_shape(literal(entry[old]))
    if entry.get("weight_shape"):
        yield names["weights"], literal(entry["weight_shape"])


def _without_batch(model: Model, whole: Shape) -> Shape:
    """The shape of one sample."""
    first = next(layer for layer in model.layers if INPUT in layer.inputs)
    fits = [bool(shape) and _has_rank(first, shape) for shape in (whole[1:], whole)]
    return whole if fits == [False, True] else whole[1:]


def _has_rank(layer: Layer, shape: Shape) -> bool:
    try:
        RULES["keras"][layer.kind]([shape], layer.args)
    except RankMismatch:
        return False
    return True
