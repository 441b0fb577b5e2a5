r"""Nodes that are one operator together: GELU written out with Erf, as exporters do before opset 20.

$x \Phi(x) = x (1 + \mathrm{erf}(x / \sqrt 2)) / 2$, with factors in any order. Every tensor on the way is
one of two forms, and the one that is GELU itself is read as its node; the others are left out if nothing else
needs them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

ROUNDING = 1e-6
r"""The stored $1 / \sqrt 2$ may differ so much from the exact one, relatively; other constants are exact."""


@dataclass(frozen=True, slots=True)
class Multiple:
    """factor * root."""

    root: str
    factor: float


@dataclass(frozen=True, slots=True)
class Share:
    """factor * (erf(root / sqrt 2) + constant); only the constant 1 becomes GELU."""

    root: str
    factor: float
    constant: float


@dataclass(frozen=True, slots=True)
class Product:
    """factor * GELU(root)."""

    root: str
    factor: float


Form = Multiple | Share | Product


def fused(nodes: Sequence[NodeProto], graph: GraphProto) -> list[NodeProto]:
    """The nodes, in their order, with a Gelu node in place of each such group."""
    if not any(node.op_type == "Erf" for node in nodes):
        return list(nodes)
    numbers = _numbers(nodes, graph)
    forms: dict[str, Form] = {}
    found: list[NodeProto] = []
    for node in nodes:
        form = _form(node, forms, numbers) if len(node.output) == 1 else None
        if form is not None:
            forms[node.output[0]] = form
        if isinstance(form, Product) and form.factor == 1.0:
            found.append(helper.make_node("Gelu", [form.root], list(node.output), name=node.name))
        else:
            found.append(node)
    return _needed(found, forms, {value.name for value in graph.output})


def _needed(nodes: Sequence[NodeProto], forms: Mapping[str, Form], outputs: set[str]) -> list[NodeProto]:
    """Without nodes that were only on the way to a Gelu."""
    kept, wanted = list[NodeProto](), set(outputs)
    for node in reversed(nodes):
        if all(name not in wanted for name in node.output) and any(name in forms for name in node.output):
            continue
        wanted.update(node.input)
        kept.append(node)
    return kept[::-1]


def _numbers(nodes: Sequence[NodeProto], graph: GraphProto) -> dict[str, float]:
    """Stored tensors with one entry."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    stored |= {
        node.output[0]: attribute.t
        for node in nodes
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    small = {name: t for name, t in stored.items() if math.prod(t.dims) == 1 and len(t.dims) <= 1}
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in small.items()}
    return {name: float(a.reshape(())) for name, a in arrays.items() if np.issubdtype(a.dtype, np.floating)}


def _form(node: NodeProto, forms: Mapping[str, Form], numbers: Mapping[str, float]) -> Form | None:
    def of(name: str) -> Form:
        return forms.get(name, Multiple(name, 1.0))

    constants = [numbers[name] for name in node.input if name in numbers]
    variables = [of(name) for name in node.input if name not in numbers]
    match node.op_type, variables, constants:
        case "Erf", [Multiple(root, factor)], [] if abs(factor / math.sqrt(0.5) - 1) <= ROUNDING:
            return Share(root, 1.0, 0.0)
        case "Mul", [form], [number]:
            return _scaled(form, number)
        case "Div", [form], [number] if number and node.input[1] in numbers:
            return _scaled(form, 1 / number)
        case "Add", [Share(root, factor, constant)], [number]:
            return Share(root, factor, constant + number / factor)
        case "Mul", [Multiple(root, factor), Share() as share], []:
            return _product(root, factor, share)
        case "Mul", [Share() as share, Multiple(root, factor)], []:
            return _product(root, factor, share)
        case _:
            return None


def _scaled(form: Form, number: float) -> Form | None:
    if not (number and math.isfinite(number)):
        return None
    match form:
        case Multiple(root, factor):
            return Multiple(root, factor * number)
        case Share(root, factor, constant):
            return Share(root, factor * number, constant)
        case Product(root, factor):
            return Product(root, factor * number)


def _product(root: str, factor: float, share: Share) -> Form | None:
    if share.root != root or share.constant != 1.0:
        return None
    return Product(root, 2 * factor * share.factor)
