r"""Nodes that are one operator together: GELU written out with Erf or Tanh, as exporters do before opset 20.

$x \Phi(x) = x (1 + \mathrm{erf}(x / \sqrt 2)) / 2$, or $x (1 + \tanh(a (x + 0.044715 x^3))) / 2$ with
$a = \sqrt{2 / \pi}$, with factors in any order. Every tensor on the way is one of three forms, and
the one that is GELU itself is read as its node; the others are left out if nothing else needs them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

ROUNDING = 1e-6
"""Stored factors within erf and tanh may differ so much from the exact ones, relatively; others are exact."""

LINEAR, CUBIC = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
"""Of the polynomial within tanh."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """terms[0] * root + terms[1] * root^2 + terms[2] * root^3."""

    root: str
    terms: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Share:
    """factor * (erf(root / sqrt 2) + constant), or with tanh; only the constant 1 becomes GELU."""

    root: str
    factor: float
    constant: float
    tanh: bool


@dataclass(frozen=True, slots=True)
class Product:
    """factor * GELU(root)."""

    root: str
    factor: float
    tanh: bool


Form = Polynomial | Share | Product


def fused(nodes: Sequence[NodeProto], graph: GraphProto) -> list[NodeProto]:
    """The nodes, in their order, with a Gelu node in place of each such group."""
    if not any(node.op_type in ("Erf", "Tanh") for node in nodes):
        return list(nodes)
    numbers = _numbers(nodes, graph)
    forms: dict[str, Form] = {}
    found: list[NodeProto] = []
    for node in nodes:
        form = _form(node, forms, numbers) if len(node.output) == 1 else None
        if form is not None:
            forms[node.output[0]] = form
        if isinstance(form, Product) and form.factor == 1.0:
            kind = "tanh" if form.tanh else "none"
            gelu = helper.make_node("Gelu", [form.root], list(node.output), name=node.name, approximate=kind)
            found.append(gelu)
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
        return forms.get(name, Polynomial(name, (1.0, 0.0, 0.0)))

    constants = [numbers[name] for name in node.input if name in numbers]
    variables = [of(name) for name in node.input if name not in numbers]
    match node.op_type, variables, constants:
        case "Erf", [Polynomial(root, terms)], [] if _close(terms, (math.sqrt(0.5), 0.0, 0.0)):
            return Share(root, 1.0, 0.0, False)
        case "Tanh", [Polynomial(root, terms)], [] if _close(terms, (LINEAR, 0.0, CUBIC)):
            return Share(root, 1.0, 0.0, True)
        case "Mul", [form], [number]:
            return _scaled(form, number)
        case "Div", [form], [number] if number and node.input[1] in numbers:
            return _scaled(form, 1 / number)
        case "Pow", [Polynomial(root, (factor, 0.0, 0.0))], [3.0] if node.input[1] in numbers:
            return Polynomial(root, (0.0, 0.0, factor**3))
        case "Add", [Share() as share], [number]:
            return replace(share, constant=share.constant + number / share.factor)
        case "Add", [Polynomial(root, first), Polynomial(other, second)], [] if root == other:
            return Polynomial(root, (first[0] + second[0], first[1] + second[1], first[2] + second[2]))
        case "Mul", [first, second], []:
            return _product(first, second) or _product(second, first)
        case _:
            return None


def _close(terms: Sequence[float], exact: Sequence[float]) -> bool:
    return all(abs(t - e) <= ROUNDING * abs(e) for t, e in zip(terms, exact, strict=True))


def _scaled(form: Form, number: float) -> Form | None:
    if not (number and math.isfinite(number)):
        return None
    if isinstance(form, Polynomial):
        first, second, third = form.terms
        return Polynomial(form.root, (first * number, second * number, third * number))
    return replace(form, factor=form.factor * number)


def _product(form: Form, other: Form) -> Form | None:
    """With a multiple of the root, where that is a form."""
    match other:
        case Polynomial(root, (factor, 0.0, 0.0)) if root == form.root:
            match form:
                case Share(_, own, 1.0, tanh):
                    return Product(root, 2 * factor * own, tanh)
                case Polynomial(_, (first, second, 0.0)):
                    return Polynomial(root, (0.0, factor * first, factor * second))
    return None
