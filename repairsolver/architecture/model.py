"""A layer graph: layers with arguments in a directed acyclic graph, with several inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from layerwise.shapes import RULES, Argument, Rule
from repairsolver.errors import ArchitectureError

Framework: TypeAlias = Literal["keras", "torch", "onnx"]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        name: unique in its model.
        kind: its type, as the framework names it.
        args: every argument that its rule reads, vectors as tuples.
        inputs: names of layers or of the model's inputs.
        weights: shapes of weights that are given, by name.
        stated: the arguments as the user wrote them.
    """

    name: str
    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    weights: Mapping[str, Shape] = field(default_factory=dict)
    stated: Mapping[str, Any] = field(default_factory=dict)

    def with_args(self, **changed: Any) -> Layer:
        """The same layer with other arguments."""
        return replace(self, args={**self.args, **changed})


@dataclass(frozen=True)
class Model:
    """A layer graph; its layers stand in an order in which inputs come first.

    Args:
        framework: whose layer types these are.
        inputs: input names with shapes, without the batch axis.
        layers: all layers.
        outputs: output names, with the shape that is demanded or None.
        declared: input shapes for which the model was built, where they are not those that it is fed.
        redeclare: whether demands on outputs are declarations, which an edit may change.
        opaque: inputs that stand for what an opaque layer gives.
        loss: the loss with which the model was compiled, by its name; "" where none is stated.
        demand: where the demand on the output comes from, in words.
        source: what the model was read from, for the way back.

    Raises:
        ArchitectureError: unknown layer types (all are listed), unknown inputs, a cycle.
    """

    framework: Framework
    inputs: Mapping[str, Shape]
    layers: tuple[Layer, ...]
    outputs: Mapping[str, Shape | None]
    declared: Mapping[str, Shape] = field(default_factory=dict)
    redeclare: bool = False
    opaque: frozenset[str] = frozenset()
    demand: str = ""
    loss: str = ""
    source: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def guarded(self) -> frozenset[str]:
        """Layers that keep several positions of a spatial axis, see `collapse.guarded`."""
        from repairsolver.architecture.collapse import guarded

        return guarded(self)

    def rule(self, layer: Layer) -> Rule:
        """The rule of a layer."""
        return RULES[self.framework][layer.kind]

    @cached_property
    def consumers(self) -> dict[str, int]:
        """How often each tensor is read, outputs included."""
        count = dict.fromkeys([*self.inputs, *(layer.name for layer in self.layers)], 0)
        for layer in self.layers:
            for name in layer.inputs:
                count[name] += 1
        for name in self.outputs:
            count[name] += 1
        return count


def build(
    framework: Framework,
    inputs: Mapping[str, Shape],
    layers: list[Layer],
    outputs: Mapping[str, Shape | None] | None = None,
    declared: Mapping[str, Shape] | None = None,
) -> Model:
    """Check and order a layer graph; without `outputs` they are all that nobody reads."""
    _check_kinds(framework, layers)
    _check_names(inputs, layers)
    ready = _ordered(inputs, [_completed(framework, layer) for layer in layers])
    read = {name for layer in ready for name in layer.inputs}
    ends = {layer.name: None for layer in ready if layer.name not in read}
    return Model(
        framework,
        dict(inputs),
        tuple(ready),
        dict(ends if outputs is None else outputs),
        dict(declared or {}),
    )


def with_input(model: Model, shape: Shape) -> Model:
    """The model with another shape of its one input; raises ArchitectureError where it has several."""
    if len(model.inputs) != 1:
        raise ArchitectureError(f"input_shape needs one input, the model has {', '.join(model.inputs)}")
    rebuilt = build(model.framework, dict.fromkeys(model.inputs, shape), list(model.layers), model.outputs)
    return replace(
        rebuilt, redeclare=model.redeclare, demand=model.demand, loss=model.loss, source=model.source
    )


def with_output(model: Model, shape: Shape) -> Model:
    """The model with a demand on its one output; raises ArchitectureError where it has several."""
    if len(model.outputs) != 1:
        raise ArchitectureError(f"output_shape needs one output, the model has {', '.join(model.outputs)}")
    return replace(model, outputs=dict.fromkeys(model.outputs, shape), redeclare=False)


def _check_kinds(framework: Framework, layers: list[Layer]) -> None:
    unknown = [layer for layer in layers if layer.kind not in RULES[framework]]
    if unknown:
        listed = ", ".join(f"{layer.name}: {layer.kind}" for layer in unknown)
        raise ArchitectureError(
            f"layer types without a rule in {framework}: {listed}; declare them opaque, remove them, or "
            "split the model there"
        )


def _check_names(inputs: Mapping[str, Shape], layers: list[Layer]) -> None:
    names = [*inputs, *(layer.name for layer in layers)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArchitectureError(f"names are used twice: {', '.join(twice)}; every layer needs its own name")
    missing = [
        f"{name} (read by {layer.name})" for layer in layers for name in layer.inputs if name not in names
    ]
    if missing:
        raise ArchitectureError(
            f"unknown inputs: {', '.join(missing)}; name a layer or an input of the model"
        )
    for name, shape in inputs.items():
        # A leading 0 stands for an unknown size, mostly a batch axis that was written down.
        if any(not isinstance(size, int) or size < (i > 0) for i, size in enumerate(shape)):
            raise ArchitectureError(
                f"input {name} has shape {shape}: sizes must be known and positive, but for the batch axis; "
                "state them with input_shape"
            )


def _ordered(inputs: Mapping[str, Shape], layers: list[Layer]) -> list[Layer]:
    """Depth first from each end, so that few tensors are alive at once."""
    by_name = {layer.name: layer for layer in layers}
    done: dict[str, Layer] = {}
    open_: dict[str, None] = {}
    for start in layers:
        stack = [start.name]
        while stack:
            name = stack[-1]
            waiting = [i for i in by_name[name].inputs if i in by_name and i not in done]
            if name in done or not waiting:
                done.setdefault(name, by_name[name])
                open_.pop(stack.pop(), None)
                continue
            open_[name] = None
            if waiting[0] in open_:
                raise ArchitectureError(
                    f"the layers form a cycle through {' -> '.join(open_)}; remove one edge"
                )
            stack.append(waiting[0])
    return list(done.values())


def _completed(framework: Framework, layer: Layer) -> Layer:
    """Defaults filled in, scalars spread over their axes."""
    rule, args = RULES[framework][layer.kind], dict(layer.args)
    missing = [a.name for a in rule.arguments if a.name not in args and a.default is None]
    if missing:
        raise ArchitectureError(f"{layer.name} ({layer.kind}) lacks {', '.join(missing)}: state it")
    full = {a.name: normal(layer, a, args.get(a.name, a.default)) for a in rule.arguments}
    return replace(layer, args=full, stated=layer.stated or dict(layer.args))


def normal(layer: Layer, argument: Argument, value: Any) -> Any:
    """An argument as its rule reads it: a number, a tuple, or a word; raises ArchitectureError."""
    where = f"{layer.name} ({layer.kind}): {argument.name}={value!r}"
    if argument.choices:
        if value not in argument.choices:
            raise ArchitectureError(f"{where} is none of {', '.join(map(repr, argument.choices))}")
        return value
    if argument.role == "flag":
        if argument.name == "axis" and isinstance(value, list) and len(value) == 1:
            return _number(value[0], where)
        return tuple(value) if isinstance(value, list) else value
    if argument.size == 0:
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        return _number(value, where)
    if value is None and argument.default is not None:
        value = argument.default
    entries = _flat(value)
    if argument.size > 0 and len(entries) != argument.size:
        entries = _spread(entries, argument, where)
    return tuple(s if s == "batch" else _number(s, where) for s in entries)


def _spread(entries: list[Any], argument: Argument, where: str) -> list[Any]:
    if len(entries) == 1:
        return entries * argument.size
    if 2 * len(entries) == argument.size and argument.role == "border":
        return [s for s in entries for _ in range(2)]
    raise ArchitectureError(f"{where} needs {argument.size} numbers, got {len(entries)}")


def _flat(value: Any) -> list[Any]:
    return [s for part in value for s in _flat(part)] if isinstance(value, list | tuple) else [value]


def _number(value: Any, where: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArchitectureError(f"{where} must be a whole number")
    return value
