"""The layer graph of a `torch.nn.Module`, by symbolic tracing: nothing is run, invalid or not."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import fx, nn

from layerwise.shapes import RULES
from repairsolver.architecture.model import Layer, Model, Shape, build
from repairsolver.architecture.opaque import OPAQUE, Opaque, is_opaque, made_opaque
from repairsolver.errors import ArchitectureError

Shapes: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]
TUPLES = ("LSTM", "GRU", "RNN", "MultiheadAttention")
"""Modules whose first result is the tensor."""


class UntranslatableError(Exception):
    """No rule for the call; the message says why."""


@dataclass(frozen=True)
class TracedModule:
    """What a model keeps of its module: the graph, and the node of each layer."""

    module: nn.Module
    graph: fx.GraphModule
    nodes: Mapping[str, str]


def read_module(module: nn.Module, input_shape: Shapes, *, opaque: Opaque | None = None) -> Model:
    """The layer graph of a module.

    Args:
        module: traceable by `torch.fx`: no control flow that depends on values.
        input_shape: shape of its input without the batch axis, or of each input by name.
        opaque: modules (by path) or types that are taken to keep the shape (None), or to give a stated one.

    Raises:
        ArchitectureError: the module cannot be traced, or makes calls without a rule (all are listed).
    """
    graph = _traced(module)
    inputs = _inputs(graph, input_shape)
    layers: list[Layer] = []
    made: dict[fx.Node, str] = {}
    problems, nodes = [], {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            made[node] = node.name
        elif node.op not in ("output", "get_attr") and node.users and not _is_size(node):
            try:
                layer = _layer(graph, node, opaque or {})
            except UntranslatableError as error:
                problems.append(f"{node.name}: {_called(graph, node)} ({error})")
                layer = None
            if layer is not None:
                layers.append(replace(layer, inputs=tuple(made.get(n, str(n)) for n in _tensors(node))))
                nodes[layer.name] = node.name
                made[node] = layer.name
            else:
                made[node] = made.get(node.args[0], node.name) if node.args else node.name
    if problems:
        raise ArchitectureError(
            f"calls without a rule: {', '.join(problems)}; declare them opaque, or split the module"
        )
    stated = dict(inputs)
    layers = made_opaque(layers, stated, opaque or {})
    outputs = dict.fromkeys(made[node] for node in _ends(graph))
    model = build("torch", stated, layers, outputs)
    return replace(model, opaque=frozenset(stated) - set(inputs), source=TracedModule(module, graph, nodes))


class _Tracer(fx.Tracer):
    """Modules of torch.nn are leaves, containers are opened."""


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # tracing runs the user's forward
        raise ArchitectureError(
            f"{type(module).__name__} cannot be traced by torch.fx ({error}): control flow on values"
        ) from error
    return fx.GraphModule(module, graph)


def _inputs(graph: fx.GraphModule, shape: Shapes) -> dict[str, Shape]:
    names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
    if isinstance(shape, Mapping):
        missing = [name for name in names if name not in shape]
        if missing:
            raise ArchitectureError(
                f"input_shape lacks {', '.join(missing)}; the module takes {', '.join(names)}"
            )
        return {name: tuple(shape[name]) for name in names}
    if len(names) != 1:
        raise ArchitectureError(
            f"the module takes {', '.join(names)}: state input_shape as a mapping of names to shapes"
        )
    return {names[0]: tuple(shape)}


def _ends(graph: fx.GraphModule) -> list[fx.Node]:
    end = next(node for node in graph.graph.nodes if node.op == "output")
    return list(end.all_input_nodes)


def _is_size(node: fx.Node) -> bool:
    """x.size(0), x.shape, and an entry of them."""
    if node.op == "call_method":
        return node.target == "size"
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] == "shape"
    return (
        node.op == "call_function" and node.target is operator.getitem and _is_size(node.all_input_nodes[0])
    )


def _tensors(node: fx.Node) -> list[fx.Node]:
    found = [n for n in node.all_input_nodes if not _is_size(n)]
    if node.op == "call_module":
        return found[:1]
    return [n for n in _flat(node.args) if isinstance(n, fx.Node) and not _is_size(n)] or found


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _called(graph: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(graph.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def _layer(graph: fx.GraphModule, node: fx.Node, opaque: Opaque) -> Layer | None:
    """The layer of a call; None for one that only picks the tensor out of a tuple."""
    name = str(node.target) if node.op == "call_module" else node.name
    if is_opaque(name, _called(graph, node), opaque):
        return Layer(name, OPAQUE, {"kind": _called(graph, node)})
    if node.op == "call_module":
        return module_layer(name, graph.get_submodule(str(node.target)))
    if node.op == "call_function" and node.target is operator.getitem:
        source = node.all_input_nodes[0]
        if source.op == "call_module" and _called(graph, source) in TUPLES and node.args[1] == 0:
            return None
        raise UntranslatableError("only the first result of a recurrent layer or of attention has a rule")
    return _function(node)


def module_layer(name: str, module: nn.Module) -> Layer:
    """The layer of a module of torch.nn, with its constructor's arguments."""
    kind = type(module).__name__
    if kind not in RULES["torch"]:
        raise UntranslatableError("no rule")
    if kind in TUPLES and not module.batch_first:
        raise UntranslatableError("batch_first is False")
    args = {}
    for argument in RULES["torch"][kind].arguments:
        if hasattr(module, argument.name):
            value = getattr(module, argument.name)
            args[argument.name] = list(value) if isinstance(value, tuple | torch.Size) else value
    if args.get("padding") == "same":
        args["padding"] = _same_padding(module)
    if args.get("padding") == "valid":
        args["padding"] = 0
    if args.get("stride") is None:
        args.pop("stride", None)
    return Layer(name, kind, args)


def _same_padding(module: Any) -> list[int]:
    spans = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    if any(span % 2 for span in spans):
        raise UntranslatableError("padding='same' with an even kernel")
    return [span // 2 for span in spans]


def arguments_of(module: nn.Module) -> dict[str, Any]:
    """The arguments with which a module of torch.nn can be built anew."""
    found: dict[str, Any] = {}
    for name in inspect.signature(type(module).__init__).parameters:
        if name in ("self", "device", "dtype", "args", "kwargs"):
            continue
        if name == "bias" and not isinstance(getattr(module, "bias", None), bool):
            found[name] = getattr(module, "bias", None) is not None
        elif hasattr(module, name):
            found[name] = getattr(module, name)
    return found


def _function(node: fx.Node) -> Layer:
    """Functions and methods of tensors."""
    key = str(getattr(node.target, "__name__", node.target))
    if key in _ELEMENTWISE:
        tensors = [n for n in node.args if isinstance(n, fx.Node)]
        return Layer(node.name, _ELEMENTWISE[key] if len(tensors) > 1 else "Identity")
    if key in _CALLS:
        kind, read = _CALLS[key]
        return Layer(node.name, kind, read(node))
    raise UntranslatableError("no rule")


def _given(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _target(node: fx.Node) -> dict[str, Any]:
    """x.view(x.size(0), 16, -1), or one list of sizes."""
    sizes = list(_flat(node.args[1:]))
    batch = [s for s in sizes if isinstance(s, fx.Node)]
    if not sizes or batch != ([sizes[0]] if batch else []):
        raise UntranslatableError("sizes that are computed, other than the batch in front")
    if not batch and sizes[0] != -1:
        raise UntranslatableError("the first size is not the batch: x.size(0) or -1")
    return {"shape": ["batch", *sizes[1:]] if batch else sizes}


def _nothing(node: fx.Node) -> dict[str, Any]:
    return {}


_ELEMENTWISE = {"add": "Add", "iadd": "Add", "sub": "Sub", "mul": "Mul", "imul": "Mul"}
_POINTWISE = {
    "relu": "ReLU", "relu_": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "GELU", "elu": "ELU",
    "silu": "SiLU", "leaky_relu": "LeakyReLU", "softmax": "Softmax", "log_softmax": "LogSoftmax",
    "dropout": "Dropout", "contiguous": "Identity", "softplus": "Softplus", "hardtanh": "Hardtanh",
}  # fmt: skip
_CALLS: dict[str, tuple[str, Callable[[fx.Node], dict[str, Any]]]] = {
    **{name: (kind, _nothing) for name, kind in _POINTWISE.items()},
    "cat": ("Concat", lambda n: {"dim": _given(n, 1, "dim", 0)}),
    "concat": ("Concat", lambda n: {"dim": _given(n, 1, "dim", 0)}),
    "flatten": (
        "Flatten",
        lambda n: {"start_dim": _given(n, 1, "start_dim", 0), "end_dim": _given(n, 2, "end_dim", -1)},
    ),
    "view": ("View", _target),
    "reshape": ("View", _target),
    "permute": ("Permute", lambda n: {"dims": list(_flat(n.args[1:]))}),
    "matmul": ("MatMul", _nothing),
    **{
        f"{word}_pool{d}d": (
            f"{kind}Pool{d}d",
            lambda n: {
                "kernel_size": _given(n, 1, "kernel_size", None),
                **({"stride": s} if (s := _given(n, 2, "stride", None)) is not None else {}),
                "padding": _given(n, 3, "padding", 0),
            },
        )
        for word, kind in (("max", "Max"), ("avg", "Avg"))
        for d in (1, 2, 3)
    },
    **{
        f"adaptive_avg_pool{d}d": (
            f"AdaptiveAvgPool{d}d",
            lambda n: {"output_size": _given(n, 1, "output_size", None)},
        )
        for d in (1, 2, 3)
    },
}
