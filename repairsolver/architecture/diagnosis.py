"""All independent faults of a layer graph: where a rule fails on shapes that are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from layerwise.shapes import RankMismatch
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.results import counted


@dataclass(frozen=True)
class Fault:
    """One broken rule.

    Args:
        layer: name of the layer, or of the output.
        kind: its type; "output" for a demand on the output.
        rule: the rule's name.
        text: what it says, with the numbers.
        shapes: the input shapes, without batch.
        message: the framework's usual message.
    """

    layer: str
    kind: str
    rule: str
    text: str
    shapes: tuple[Shape, ...]
    message: str = ""

    def __str__(self) -> str:
        return f"{self.layer} ({self.kind}): {self.rule}: {self.text}"


@dataclass(frozen=True)
class Diagnosis:
    """The faults of a model, and the shapes of all tensors that could be computed."""

    faults: tuple[Fault, ...]
    shapes: Mapping[str, Shape]

    @property
    def valid(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def __repr__(self) -> str:
        head = "valid" if self.valid else counted(len(self.faults), "fault")
        return "\n  ".join([f"Diagnosis: {head}", *map(str, self.faults)])


def diagnose_model(model: Model) -> Diagnosis:
    """Check every layer whose input shapes are known; beyond a fault nothing is guessed.

    A fault that leaves the output shape defined (wrong in_features, say) does not hide later ones.
    """
    shapes: dict[str, Shape] = dict(model.inputs)
    faults = list(_input_faults(model))
    for layer in model.layers:
        if all(name in shapes for name in layer.inputs):
            found, shape = check_layer(model, layer, [shapes[name] for name in layer.inputs])
            faults += found
            if shape is not None:
                shapes[layer.name] = shape
    for name, wanted in model.outputs.items():
        if wanted is not None and name in shapes and shapes[name] != wanted:
            faults.append(_output_fault(model, name, shapes[name], wanted))
    return Diagnosis(tuple(faults), shapes)


def _input_faults(model: Model) -> Iterator[Fault]:
    for name, shape in model.inputs.items():
        if 0 in shape:
            text = f"the first size of {('None', *shape[1:])} is unknown: a batch axis is implied"
            yield Fault(name, "input", "known sizes", text, (shape,))
    for name, built in model.declared.items():
        text = f"the model was built for {built} and is fed {model.inputs[name]}"
        yield Fault(
            name, "input", "declared shape", text, (model.inputs[name],), "expected shape, found shape"
        )


def _output_fault(model: Model, name: str, shape: Shape, wanted: Shape) -> Fault:
    text = f"output is {shape}, demanded is {wanted}"
    if not model.demand:
        return Fault(name, "output", "output shape", text, (shape,))
    message = "Frameworks that broadcast do not report it: the loss would be that of other pairs"
    return Fault(name, "output", "labels", f"{text} by {model.demand}", (shape,), message)


def check_layer(model: Model, layer: Layer, inputs: Sequence[Shape]) -> tuple[list[Fault], Shape | None]:
    """The faults of one layer on known inputs, and its output shape if one is defined nevertheless."""
    rule, shapes = model.rule(layer), tuple(inputs)
    try:
        outcome = rule(inputs, layer.args)
    except RankMismatch as error:
        return [Fault(layer.name, layer.kind, "rank", str(error), shapes, rule.error)], None
    faults = [
        Fault(layer.name, layer.kind, need.rule, need.text, shapes, rule.error)
        for need in outcome.requirements
        if not need.holds
    ]
    for name, given in layer.weights.items():
        wanted = outcome.weights.get(name)
        if wanted is not None and tuple(given) != tuple(wanted):
            text = f"weight {name} has shape {tuple(given)}, the layer needs {tuple(wanted)}"
            message = f"Layer {layer.name} weight shape {tuple(wanted)} is not compatible with {tuple(given)}"
            faults.append(Fault(layer.name, layer.kind, "weight shape", text, shapes, message))
    usable = all(size >= 1 for size in outcome.shape)
    if not usable and not faults:
        text = f"{layer.kind}: the output would have the shape {tuple(outcome.shape)}"
        faults.append(Fault(layer.name, layer.kind, "positive sizes", text, shapes, rule.error))
    return faults, tuple(outcome.shape) if usable else None
