"""Layer graphs from JSON: Keras's own (Sequential and functional), plain layer lists, and that of ExAIS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from repairsolver.architecture import exais
from repairsolver.architecture.exais_sequence import read_sequence
from repairsolver.architecture.json_forms import entries, mapping, names, sizes, text
from repairsolver.architecture.labels import compiled_loss, with_labels
from repairsolver.architecture.model import Framework, Layer, Model, Shape, build, with_input
from repairsolver.architecture.opaque import Opaque, made_opaque
from repairsolver.architecture.spelling import check_arguments
from repairsolver.errors import ArchitectureError

HELP = (
    "expected Keras JSON (class_name, config), a layer list (framework, input_shape, layers), or ExAIS JSON"
)

LISTED = ("name", "type", "args", "inputs")
"""What a layer of a plain list has."""

WRAPPERS: Mapping[str, tuple[str, ...]] = {"TimeDistributed": (), "Bidirectional": ("merge_mode",)}
"""Layers around a layer, with arguments of their own."""


def load_architecture(
    source: Any, *, input_shape: Sequence[int] | None = None, opaque: Opaque | None = None
) -> Model:
    """A layer graph from an ONNX or JSON file, from a mapping of the JSON's form, or from a torch module.

    Args:
        source: a path, a mapping, an `onnx.ModelProto` or a `torch.nn.Module`.
        input_shape: shape of its one input; a torch module needs it (a mapping where it has several inputs).
        opaque: layers, or layer types, that are taken to keep the shape (None) or to give a stated one.

    Raises:
        ArchitectureError: a file that cannot be read, malformed JSON (with its position), unknown layer types
            (all are listed), a module that cannot be traced, sizes that are not known.
    """
    if isinstance(source, Mapping):
        return read_model(source, opaque, input_shape)
    if not isinstance(source, str | Path):
        return _from_object(source, input_shape, opaque)
    if str(source).endswith(".onnx"):
        from repairsolver.architecture.onnx_graph.reading import read_onnx

        return read_onnx(source, input_shape=input_shape, opaque=opaque)
    return _from_json(source, opaque, input_shape)


def _from_object(source: Any, input_shape: Any, opaque: Opaque | None) -> Model:
    import onnx
    import torch

    if isinstance(source, onnx.ModelProto):
        from repairsolver.architecture.onnx_graph.reading import read_onnx

        return read_onnx(source, input_shape=input_shape, opaque=opaque)
    if isinstance(source, torch.nn.Module):
        from repairsolver.architecture.torch_module.reading import read_module

        if input_shape is None:
            raise ArchitectureError(
                "a torch module states no input shape: give input_shape without the batch axis"
            )
        return read_module(source, input_shape, opaque=opaque)
    raise ArchitectureError(
        f"got a {type(source).__name__}: expected a path, parsed JSON, an ONNX model or a torch module"
    )


def _from_json(source: str | Path, opaque: Opaque | None, input_shape: Sequence[int] | None) -> Model:
    try:
        data = json.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArchitectureError(
            f"{source}: cannot be read: {error}; name an existing ONNX or JSON file that you may read"
        ) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ArchitectureError(f"{source}: {where}: {error.msg}; {HELP}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ArchitectureError(f"{source}: not JSON ({error}); {HELP}") from error
    try:
        return read_model(data, opaque, input_shape)
    except ArchitectureError as error:
        raise ArchitectureError(f"{source}: {error}") from error


def read_model(data: Any, opaque: Opaque | None = None, input_shape: Sequence[int] | None = None) -> Model:
    """The model that parsed JSON describes; `opaque` and `input_shape` as in `load_architecture`."""
    if not isinstance(data, Mapping):
        raise ArchitectureError(f"got a {type(data).__name__}, {HELP}")
    if "class_name" in data:
        return _keras(data, opaque or {}, input_shape)
    if isinstance(data.get("model"), Mapping):
        data = data["model"]
    layers = data.get("layers")
    if not isinstance(layers, list) or not all(isinstance(e, Mapping) and "type" in e for e in layers):
        raise ArchitectureError(f"no list of layers with types; {HELP}")
    if "input_shape" in data:
        return _listed(data, opaque or {}, input_shape)
    if isinstance(data.get("shape"), str):
        model = read_sequence(data)
        return model if input_shape is None else with_input(model, tuple(input_shape))
    if all("name" in e and isinstance(e.get("inputs"), list) for e in layers):
        model = exais.read(data)
        return model if input_shape is None else with_input(model, tuple(input_shape))
    raise ArchitectureError(f"no input_shape; {HELP}")


def _listed(data: Mapping[str, Any], opaque: Opaque, input_shape: Sequence[int] | None) -> Model:
    """A plain layer list; a layer without `inputs` reads the one before it."""
    framework = data.get("framework", "keras")
    if framework not in ("keras", "torch"):
        raise ArchitectureError(f"framework {framework!r} is neither 'keras' nor 'torch'")
    shapes = data["input_shape"]
    if not isinstance(shapes, Mapping):
        shapes = {"input": shapes}
    inputs = _stated({name: _known(shape, name) for name, shape in shapes.items()}, input_shape)
    if not inputs:
        raise ArchitectureError("input_shape names no input")
    fed = sizes(data.get("declared_input_shape") or [], "declared_input_shape")
    declared = {next(iter(inputs)): fed} if fed and fed != next(iter(inputs.values())) else {}
    given, before = mapping(data.get("given_weights", {}), "given_weights"), next(iter(inputs))
    layers = []
    for number, entry in enumerate(entries(data["layers"], "layers"), start=1):
        kind = text(entry["type"], f"the type of layer {number}")
        if stray := sorted(set(entry) - set(LISTED)):
            raise ArchitectureError(
                f"layer {number} ({kind}) has {', '.join(stray)} beside {', '.join(LISTED)}: put its "
                "arguments into args"
            )
        name = text(entry.get("name", f"{kind.lower()}_{number}"), f"the name of layer {number}")
        shapes = mapping(given.get(name, {}), f"given_weights of {name}")
        weights = {key: sizes(shape, f"weight {key} of {name}") for key, shape in shapes.items()}
        sources = names(entry.get("inputs", [before]), f"inputs of {name}")
        arguments = mapping(entry.get("args", {}), f"args of {name}")
        kind, arguments = inner_layer(kind, arguments, ("type", "args"))
        layers.append(Layer(name, kind, arguments, sources, weights))
        before = name
    wanted = data.get("output_shape")
    outputs = None if wanted is None else {before: sizes(wanted, "output_shape")}
    model = built(cast(Framework, framework), inputs, layers, outputs, declared, opaque)
    loss = text(data["loss"], "loss") if "loss" in data else ""
    if "labels_shape" in data:
        labels = sizes(data["labels_shape"], "labels_shape")
        return with_labels(model, labels, loss or None)
    return replace(model, loss=loss)


def _stated(inputs: dict[str, Shape], shape: Sequence[int] | None) -> dict[str, Shape]:
    """The inputs with another shape of the only one."""
    if shape is None:
        return inputs
    if len(inputs) != 1:
        raise ArchitectureError(f"input_shape needs one input, the model has {', '.join(inputs)}")
    return dict.fromkeys(inputs, tuple(shape))


def _known(shape: Any, name: str) -> Shape:
    """A leading unknown size is kept as 0: it is taken for a batch axis that does not belong there."""
    if not isinstance(shape, list | tuple):
        raise ArchitectureError(f"input {name} has shape {shape!r}, expected a list such as [28, 28, 1]")
    return tuple(0 if i == 0 and size is None else size for i, size in enumerate(shape))


def _keras(data: Mapping[str, Any], opaque: Opaque, input_shape: Sequence[int] | None) -> Model:
    config = data.get("config")
    if data["class_name"] not in ("Sequential", "Functional", "Model") or not isinstance(config, Mapping):
        raise ArchitectureError(f"class_name {data['class_name']!r} with such a config; {HELP}")
    inputs: dict[str, Shape] = {}
    layers: list[Layer] = []
    before = "input"
    for number, entry in enumerate(entries(config.get("layers"), "layers of config"), start=1):
        kind = text(entry.get("class_name"), f"class_name of layer {number}")
        arguments = dict(mapping(entry.get("config"), f"config of layer {number} ({kind})"))
        name = str(entry.get("name") or arguments.get("name"))
        batch = arguments.get("batch_input_shape") or arguments.get("batch_shape") or []
        if not isinstance(batch, list | tuple):
            raise ArchitectureError(f"{name} has batch shape {batch!r}, expected a list such as [null, 28]")
        if kind == "InputLayer":
            if not batch:
                raise ArchitectureError(f"input {name} states no batch_shape; {HELP}")
            inputs[name] = tuple(batch[1:])
        else:
            if batch and not inputs:
                inputs[before] = tuple(batch[1:])
            sources = tuple(_sources(entry.get("inbound_nodes"))) or (before,)
            kind, arguments = inner_layer(kind, arguments, ("class_name", "config"))
            layers.append(Layer(name, kind, arguments, sources, stated=arguments))
        before = name
    if not inputs and input_shape is not None:
        inputs["input"] = tuple(input_shape)
    if not inputs:
        inputs |= _built_for(data.get("build_config"))
    if not inputs:
        raise ArchitectureError(
            "the model states no input shape: add an InputLayer with batch_shape, or give input_shape"
        )
    inputs = _stated(inputs, input_shape)
    outputs = list(_sources([config["output_layers"]])) if config.get("output_layers") else None
    model = built("keras", inputs, layers, dict.fromkeys(outputs) if outputs else None, {}, opaque)
    return replace(model, loss=compiled_loss(data.get("compile_config")))


def _built_for(config: Any) -> dict[str, Shape]:
    """The input of a Sequential model without an InputLayer, as Keras built it."""
    batch = config.get("input_shape") if isinstance(config, Mapping) else None
    return {"input": tuple(batch[1:])} if isinstance(batch, list) and batch else {}


def inner_layer(kind: str, args: Mapping[str, Any], words: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    """A layer around a layer as one: its type with the inner one in brackets, the arguments of both."""
    layer = args.get("layer")
    if kind not in WRAPPERS or not isinstance(layer, Mapping) or words[0] not in layer:
        return kind, dict(args)
    inner = mapping(layer.get(words[1], {}), f"{words[1]} of the layer inside {kind}")
    inside, arguments = inner_layer(text(layer[words[0]], f"the type inside {kind}"), inner, words)
    own = {name: value for name, value in args.items() if name in WRAPPERS[kind]}
    return f"{kind}({inside})", {**arguments, **own}


def built(
    framework: Framework,
    inputs: dict[str, Shape],
    layers: list[Layer],
    outputs: Mapping[str, Shape | None] | None,
    declared: Mapping[str, Shape],
    opaque: Opaque,
) -> Model:
    """The model, with what the user declared opaque."""
    stated = dict(inputs)
    kept = made_opaque(layers, stated, opaque)
    check_arguments(framework, kept)
    model = build(framework, stated, kept, outputs, declared)
    return replace(model, opaque=frozenset(stated) - set(inputs))


def _sources(node: Any) -> list[str]:
    """Names of layers in the nested lists of Keras 2 and the keras_history entries of Keras 3."""
    if isinstance(node, Mapping):
        history = node.get("config", {}).get("keras_history") if "class_name" in node else None
        return [history[0]] if history else [s for value in node.values() for s in _sources(value)]
    if isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and all(isinstance(n, int) for n in node[1:3]):
            return [node[0]]
        return [s for part in node for s in _sources(part)]
    return []
