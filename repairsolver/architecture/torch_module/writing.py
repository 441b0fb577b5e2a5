"""A repaired copy of a torch module, what became of its weights, and the lines of source that change."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Model
from repairsolver.architecture.torch_module.reading import TracedModule, arguments_of
from repairsolver.errors import ArchitectureError


@dataclass(frozen=True)
class RepairedModule:
    """The repaired module.

    Args:
        module: a copy of the user's class where only modules changed, else a `torch.fx.GraphModule`.
        weights: what became of weights whose shape changed, a line each.
        diff: constructor calls before and after, as in a unified diff.
    """

    module: nn.Module
    weights: tuple[str, ...]
    diff: str


class Function(nn.Module):
    """A layer without parameters that stands for a function of tensors."""

    def __init__(self, kind: str, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.kind, self.sizes = kind, sizes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tensor in another shape, or with its axes in another order."""
        if self.kind == "Permute":
            return x.permute(self.sizes)
        return x.reshape(x.shape[0], *self.sizes[1:])

    def extra_repr(self) -> str:
        """Shown in the module's text."""
        return f"{self.kind}, {self.sizes}"


def write_module(model: Model, edits: Iterable[Edit]) -> RepairedModule:
    """Carry out a repair on a copy of the module that the model was read from.

    Weights keep their common block where a shape changes; new entries are zero, and projections that are
    inserted start as rectangular identities.

    Raises:
        ArchitectureError: the model was not read from a module, or an edit has no counterpart there.
    """
    if not isinstance(model.source, TracedModule):
        raise ArchitectureError("only a model that was read from a torch module can be written as one")
    source, edits = model.source, list(edits)
    graph = copy.deepcopy(source.graph)
    changed: dict[str, nn.Module] = {}
    lines: list[str] = []
    weights: list[str] = []
    for name in dict.fromkeys(e.layer for e in edits if e.operation in ("set", "swap")):
        if source.nodes[name] and not _is_module(graph, source.nodes[name]):
            _set_call(graph, source.nodes[name], [e for e in edits if e.layer == name], lines)
            continue
        old = graph.get_submodule(name)
        new = _changed(old, [e for e in edits if e.layer == name])
        weights += list(_copied(name, old, new))
        lines += [f"-self.{name} = {said(old)}", f"+self.{name} = {said(new)}"]
        changed[name] = new
    structural = [e for e in edits if e.operation in _INSERTED]
    for name, new in changed.items():
        _place(graph, name, new)
    for edit in structural:
        lines += _INSERTED[edit.operation](graph, source, edit)
    graph.graph.lint()
    graph.recompile()
    whole = (
        graph
        if structural or any(line.startswith("+forward") for line in lines)
        else _in_class(source, changed)
    )
    return RepairedModule(whole, tuple(weights), "\n".join(lines))


def _is_module(graph: fx.GraphModule, name: str) -> bool:
    return _node(graph, name).op == "call_module"


def _node(graph: fx.GraphModule, name: str) -> fx.Node:
    found: fx.Node = next(node for node in graph.graph.nodes if node.name == name)
    return found


def _changed(old: nn.Module, edits: list[Edit]) -> nn.Module:
    """The layer with other arguments, or its sibling with other arguments."""
    changes = {e.name: e.value for e in edits if e.operation == "set"}
    for edit in edits:
        if edit.operation == "swap":
            args = {**arguments_of(old), **edit.value, **changes}
            if 0 in args.get("stride", ()):
                args["stride"] = None  # that of the window
            sibling: nn.Module = getattr(nn, edit.name)(**args)
            return sibling.train(old.training)
    return _rebuilt(old, changes)


def _rebuilt(old: nn.Module, changes: dict[str, Any]) -> nn.Module:
    args = {**arguments_of(old), **changes}
    single = {
        k: v[0]
        for k, v in changes.items()
        if isinstance(v, tuple) and isinstance(getattr(old, k, None), int) and len(set(v)) == 1
    }
    return type(old)(**{**args, **single}).train(old.training)


def _copied(name: str, old: nn.Module, new: nn.Module) -> Iterator[str]:
    """Copy what fits, and say what does not."""
    before = dict(old.state_dict())
    with torch.no_grad():
        for key, value in new.state_dict().items():
            given = before.get(key)
            if given is None:
                continue
            if given.dim() != value.dim():
                yield f"{name}.{key} {tuple(given.shape)} → {tuple(value.shape)}: starts anew"
                continue
            if given.shape == value.shape:
                value.copy_(given)
                continue
            value.zero_()
            block = tuple(slice(0, min(a, b)) for a, b in zip(given.shape, value.shape, strict=True))
            value[block].copy_(given[block])
            kept = value[block].numel()
            shapes = f"{tuple(given.shape)} → {tuple(value.shape)}"
            yield f"{name}.{key} {shapes}: {kept} of {given.numel()} values kept"


def _place(module: nn.Module, path: str, new: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(module.get_submodule(parent), leaf, new)


def _in_class(source: TracedModule, changed: dict[str, nn.Module]) -> nn.Module:
    whole = copy.deepcopy(source.module)
    for path, new in changed.items():
        _place(whole, path, new)
    return whole


def _set_call(graph: fx.GraphModule, name: str, edits: list[Edit], lines: list[str]) -> None:
    """Another target shape, or other arguments of a function."""
    node = _node(graph, name)
    before = node.format_node()
    for edit in edits:
        if edit.name == "shape":
            node.args = (
                node.args[0],
                *((node.args[1][0] if isinstance(node.args[1], list | tuple) else node.args[1],)),
                *edit.value[1:],
            )
        else:
            node.kwargs = {**node.kwargs, edit.name: edit.value}
            node.args = node.args[:1]
    lines += [f"-forward: {before}", f"+forward: {node.format_node()}"]


def _insert(graph: fx.GraphModule, source: TracedModule, edit: Edit) -> list[str]:
    name = f"repair_{edit.name.lower()}_{sum(n.startswith('repair_') for n, _ in graph.named_children()) + 1}"
    new = built(edit.name, edit.value)
    graph.add_submodule(name, new)
    if edit.slot < 0:
        end = next(node for node in graph.graph.nodes if node.op == "output")
        made = _node(graph, source.nodes[edit.layer])
        with graph.graph.inserting_before(end):
            call = graph.graph.call_module(name, (made,))
        end.replace_input_with(made, call)
    else:
        node = _node(graph, source.nodes[edit.layer])
        made = [n for n in _arguments(node) if isinstance(n, fx.Node)][edit.slot]
        with graph.graph.inserting_before(node):
            call = graph.graph.call_module(name, (made,))
        _replace_once(node, made, call, edit.slot)
    where = "after" if edit.slot < 0 else "before"
    return [f"+self.{name} = {said(new)}  # called {where} {edit.layer}"]


def _arguments(node: fx.Node) -> list[Any]:
    return [x for a in node.args for x in (a if isinstance(a, list | tuple) else [a])]


def _replace_once(node: fx.Node, old: fx.Node, new: fx.Node, slot: int) -> None:
    """Only that one input: the tensor may be read twice."""
    count = -1

    def swapped(value: Any) -> Any:
        nonlocal count
        if isinstance(value, list | tuple):
            return type(value)(swapped(v) for v in value)
        if isinstance(value, fx.Node):
            count += 1
            return new if count == slot else value
        return value

    node.args = tuple(swapped(a) for a in node.args)


def _remove(graph: fx.GraphModule, source: TracedModule, edit: Edit) -> list[str]:
    node = _node(graph, source.nodes[edit.layer])
    node.replace_all_uses_with(node.all_input_nodes[0])
    graph.graph.erase_node(node)
    return [f"-self.{edit.layer}: no longer called"]


def _rewire(graph: fx.GraphModule, source: TracedModule, edit: Edit) -> list[str]:
    """One input of a call is taken from elsewhere."""
    node = _node(graph, source.nodes[edit.layer])
    new = _node(graph, source.nodes.get(edit.value, edit.value))
    before = node.format_node()
    old = [n for n in _arguments(node) if isinstance(n, fx.Node)][edit.slot]
    _replace_once(node, old, new, edit.slot)
    return [f"-forward: {before}", f"+forward: {node.format_node()}"]


def built(kind: str, args: dict[str, Any]) -> nn.Module:
    """A layer that a repair inserts."""
    if kind in ("View", "Permute"):
        return Function(kind, tuple(args["shape"] if kind == "View" else args["dims"]))
    module: nn.Module = getattr(nn, kind)(**args)
    if kind == "Linear" or kind.startswith("Conv"):
        with torch.no_grad():
            weight = module.get_parameter("weight")
            weight.copy_(torch.eye(weight.shape[0], weight.shape[1]).reshape(weight.shape))
            module.get_parameter("bias").zero_()
    return module


def said(module: nn.Module) -> str:
    """The constructor's call."""
    return f"nn.{module}" if type(module).__module__.startswith("torch.nn") else str(module)


_INSERTED = {"insert": _insert, "remove": _remove, "rewire": _rewire}
