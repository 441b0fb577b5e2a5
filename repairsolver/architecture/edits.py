"""Edits of a layer graph: what they say to a person, and what they make of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from repairsolver.architecture.model import Layer, Model, Shape, build

Operation: TypeAlias = Literal[
    "set", "insert", "remove", "swap", "rewire", "weights", "layout", "input", "output"
]


@dataclass(frozen=True)
class Edit:
    """One edit.

    Args:
        operation: set an argument, insert a layer before an input of `layer`, remove `layer`, swap it for
            its sibling of another number of spatial axes, take one of its inputs from elsewhere, refit its
            weights, switch the data format of all layers, change the shape of an input, or declare another
            shape of an output.
        layer: the layer (or the input, or the output behind which a layer is inserted).
        name: the argument, the weight, or the type of the inserted layer.
        value: the new value, or the inserted layer's arguments.
        cost: its price.
        size: relative size of a numeric change; breaks ties.
        slot: which input of the layer an insertion is for; -1: behind the output.
        before: the old value.
    """

    operation: Operation
    layer: str
    name: str = ""
    value: Any = None
    cost: int = 0
    size: float = 0.0
    slot: int = 0
    before: Any = None

    def __str__(self) -> str:
        if self.operation == "set":
            scalar = isinstance(self.value, tuple) and not isinstance(self.before, tuple | list)
            value = self.value[0] if scalar and len(set(self.value)) == 1 else self.value
            return f"{self.layer}: {self.name} {_said(self.before)} → {_said(value)}"
        if self.operation == "insert":
            given = ", ".join(f"{key}={_said(v)}" for key, v in self.value.items())
            place = f"after {self.layer}" if self.slot < 0 else f"before {self.layer}"
            which = f" (input {self.slot + 1})" if self.slot > 0 else ""
            return f"insert {self.name}({given}) {place}{which}"
        if self.operation == "remove":
            return f"remove {self.layer} ({self.name})"
        if self.operation == "swap":
            given = ", ".join(f"{key}={_said(v)}" for key, v in self.value.items())
            return f"{self.layer}: {self.before} → {self.name}({given})"
        if self.operation == "rewire":
            return f"{self.layer}: input {self.slot + 1} from {self.before} → {self.value}"
        if self.operation == "weights":
            return f"{self.layer}: weight {self.name} {_said(self.before)} → {_said(self.value)}"
        if self.operation == "input":
            return f"input {self.layer}: {self.name} {_said(self.before)} → {_said(self.value)}"
        if self.operation == "output":
            return f"output {self.layer}: {self.name} {_said(self.before)} → {_said(self.value)}"
        return f"all layers: data_format → {_said(self.value)}"


def _said(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 1 and not isinstance(value[0], str):
        return f"({value[0]},)"
    return repr(value)


@dataclass
class _Draft:
    """A model under change: an alias says which tensor stands for which."""

    layers: dict[str, Layer]
    inputs: dict[str, Shape]
    declared: dict[str, Shape]
    inserted: list[Layer] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Shape | None] = field(default_factory=dict)


def apply_edits(model: Model, edits: Iterable[Edit]) -> Model:
    """The edited model; insertions for one input follow each other in the given order."""
    draft = _Draft({layer.name: layer for layer in model.layers}, dict(model.inputs), dict(model.declared))
    draft.outputs |= model.outputs
    for edit in edits:
        _APPLY[edit.operation](draft, edit)
    outputs: Mapping[str, Shape | None] = {draft.ends.get(n, n): s for n, s in draft.outputs.items()}
    layers = [*draft.layers.values(), *draft.inserted]
    edited = build(model.framework, draft.inputs, layers, outputs, draft.declared)
    return replace(
        edited, redeclare=model.redeclare, opaque=model.opaque, demand=model.demand, source=model.source
    )


def _set(draft: _Draft, edit: Edit) -> None:
    layer = draft.layers[edit.layer]
    stated = {**layer.stated, edit.name: edit.value}
    draft.layers[edit.layer] = replace(layer.with_args(**{edit.name: edit.value}), stated=stated)


def _insert(draft: _Draft, edit: Edit) -> None:
    name = f"repair_{edit.name.lower()}_{len(draft.inserted) + 1}"
    if edit.slot < 0:
        source = draft.ends.get(edit.layer, edit.layer)
        draft.ends[edit.layer] = name
    else:
        layer = draft.layers[edit.layer]
        source = layer.inputs[edit.slot]
        inputs = tuple(name if i == edit.slot else s for i, s in enumerate(layer.inputs))
        draft.layers[edit.layer] = replace(layer, inputs=inputs)
    draft.inserted.append(Layer(name, edit.name, edit.value, (source,)))


def _remove(draft: _Draft, edit: Edit) -> None:
    gone = draft.layers.pop(edit.layer)
    for name, layer in draft.layers.items():
        inputs = tuple(gone.inputs[0] if s == gone.name else s for s in layer.inputs)
        draft.layers[name] = replace(layer, inputs=inputs)
    draft.inserted = [
        replace(layer, inputs=tuple(gone.inputs[0] if s == gone.name else s for s in layer.inputs))
        for layer in draft.inserted
    ]
    draft.ends = {end: gone.inputs[0] if s == gone.name else s for end, s in draft.ends.items()}
    draft.ends.setdefault(gone.name, gone.inputs[0])


def swapped(layer: Layer, edit: Edit) -> Layer:
    """The layer as its sibling."""
    stated = {**layer.stated, **{name: v for name, v in edit.value.items() if name in layer.stated}}
    return replace(layer, kind=edit.name, args={**layer.args, **edit.value}, stated=stated)


def _swap(draft: _Draft, edit: Edit) -> None:
    draft.layers[edit.layer] = swapped(draft.layers[edit.layer], edit)


def _rewire(draft: _Draft, edit: Edit) -> None:
    layer = draft.layers[edit.layer]
    inputs = tuple(edit.value if i == edit.slot else s for i, s in enumerate(layer.inputs))
    draft.layers[edit.layer] = replace(layer, inputs=inputs)


def _weights(draft: _Draft, edit: Edit) -> None:
    layer = draft.layers[edit.layer]
    draft.layers[edit.layer] = replace(layer, weights={**layer.weights, edit.name: edit.value})


def _layout(draft: _Draft, edit: Edit) -> None:
    for name, layer in draft.layers.items():
        if "data_format" in layer.args:
            stated = {**layer.stated, "data_format": edit.value}
            draft.layers[name] = replace(layer.with_args(data_format=edit.value), stated=stated)


def _input(draft: _Draft, edit: Edit) -> None:
    if edit.name == "shape":
        draft.inputs[edit.layer] = edit.value
    draft.declared.pop(edit.layer, None)


def _output(draft: _Draft, edit: Edit) -> None:
    draft.outputs[edit.layer] = edit.value


_APPLY = {
    "set": _set,
    "insert": _insert,
    "remove": _remove,
    "swap": _swap,
    "rewire": _rewire,
    "weights": _weights,
    "layout": _layout,
    "input": _input,
    "output": _output,
}
