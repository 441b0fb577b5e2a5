"""VNN-LIB 2.0 for one network with one input and one output tensor.

    (vnnlib-version <2.0>)
    (declare-network N
        (declare-input X float32 [1,5])
        (declare-output Y float32 [1,5]))
    (assert (<= X[0,3] 0.5))
    (assert (or (<= Y[0,0] Y[0,1]) (<= Y[0,2] Y[0,1])))

Tensors are flattened in C order. A tensor of shape `[]` is one number and is named without indices.
More liberal than the standard where the meaning is clear: integers and scientific notation for real
elements, `=` besides `==`, `not`, `/`, and any order of declarations and assertions. Not
supported, each with its own error: several networks (`equal-to`, `isomorphic-to`), several input or
output tensors, hidden tensors, integer elements, `!=` (not a closed set).

Why this is not the `vnnlib` package (1.0.2 on PyPI, the standard's reference parser), measured: it
refuses VNN-LIB 1.0 altogether (every benchmark file is a syntax error at line 1), `1e-3`, gzip, and
ONNX names after an input; a syntax error says neither what was expected nor which file, other errors
have no column; `f32` and `String` pass as element types; nesting of 100,000 levels ends the process
by a segmentation fault; the normal form of 30 two-way choices fails after 4 GB of memory. Its speed
(5 ms for 784 inputs, this module: 40 ms) does not make up for that.

Source: Daggitt et al., The VNN-LIB standard 2.0, chapter "Query Language".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from repairsolver.property.formula import read_formula
from repairsolver.property.linear import Resolve
from repairsolver.property.normal_form import MAX_NUMBERS, Variables, regions
from repairsolver.property.reader import Atom, Expression, Form, Source, head
from repairsolver.property.specification import Property

ELEMENTS = ("real", "float16", "bfloat16", "float32", "float64", "float", "double")
_TENSOR = re.compile(r'([A-Za-z]\w*) (\w+)\s*\[([\d\s,]*)\]( "[^"]*")?', re.ASCII)
_ELEMENT = re.compile(r"([A-Za-z]\w*)\s*(?:\[([\d\s,]*)\])?", re.ASCII)
_NETWORK = "expected `(declare-network N (declare-input X float32 [1,5]) (declare-output Y float32 [1,5]))`"


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)

    def element(self, index: int) -> str:
        """The element at a C-order index, as the text writes it."""
        places: list[int] = []
        for length in reversed(self.shape):
            index, place = divmod(index, length)
            places.append(place)
        return f"{self.name}[{','.join(map(str, reversed(places)))}]" if places else self.name


def read_version2(forms: tuple[Form, ...], source: Source) -> Property:
    """The property of a VNN-LIB 2.0 text.

    Raises:
        PropertyError: with file, line and column: unknown commands, malformed or unsupported
            declarations, indices out of range, malformed assertions.
    """
    networks = [form for form in forms if head(form) == "declare-network"]
    for form in forms:
        if head(form) not in ("vnnlib-version", "declare-network", "assert"):
            raise source.error(form, "expected one of the commands vnnlib-version, declare-network, assert")
        if head(form) == "assert" and len(form.items) != 2:
            raise source.error(form, f"`assert` takes exactly one formula, got {len(form.items) - 1}")
    if len(networks) != 1:
        where = networks[1].offset if networks else 0
        raise source.error(where, f"exactly one network is supported, got {len(networks)}: {_NETWORK}")
    inputs, outputs = _network(networks[0], source)
    asserted: list[Expression] = [form.items[1] for form in forms if head(form) == "assert"]
    formula = read_formula(asserted, source, _resolver(inputs, outputs, source))
    variables = Variables(inputs.size, outputs.size, inputs.element)
    found = regions(formula, source, variables)
    declared = networks[0].items[1]
    title = declared.text if isinstance(declared, Atom) else ""
    return Property(found, inputs.size, outputs.size, source.text, source.name, title)


def _network(form: Form, source: Source) -> tuple[_Tensor, _Tensor]:
    """The one input and the one output of a network declaration."""
    if len(form.items) < 2 or not isinstance(form.items[1], Atom):
        raise source.error(form, _NETWORK)
    tensors: dict[str, list[_Tensor]] = {"declare-input": [], "declare-output": []}
    for item in form.items[2:]:
        kind = head(item) if isinstance(item, Form) else ""
        if not isinstance(item, Form) or kind not in tensors:
            raise source.error(item, f"{_unsupported(kind)}: {_NETWORK}")
        tensors[kind].append(_tensor(item, source))
    for kind, found in tensors.items():
        if len(found) != 1:
            raise source.error(form, f"exactly one {kind} is supported, found {len(found)}: {_NETWORK}")
    (inputs,), (outputs,) = tensors.values()
    if inputs.name == outputs.name:
        raise source.error(form, f"input and output are both called {inputs.name}: rename one")
    return inputs, outputs


def _unsupported(kind: str) -> str:
    if kind == "declare-hidden":
        return "assertions about hidden tensors are not supported"
    if kind in ("equal-to", "isomorphic-to"):
        return "properties that relate several networks are not supported"
    return "malformed network"


def _tensor(form: Form, source: Source) -> _Tensor:
    words = [item.text if isinstance(item, Atom) else "()" for item in form.items[1:]]
    match = _TENSOR.fullmatch(" ".join(words))
    if match is None:
        raise source.error(form, f"expected `({head(form)} X float32 [1,5])`")
    name, element, shape = match[1], match[2], _indices(match[3])
    if element.lower() not in ELEMENTS:
        raise source.error(form, f"expected one of the element types {', '.join(ELEMENTS)}")
    if shape is None or 0 in shape or prod(shape) > MAX_NUMBERS:
        raise source.error(form, f"expected positive dimensions with a product of at most {MAX_NUMBERS}")
    return _Tensor(name, shape)


def _indices(text: str) -> tuple[int, ...] | None:
    """The whole numbers between the brackets; None where it is not a comma-separated list."""
    if not text.strip():
        return ()
    words = [word.strip() for word in text.split(",")]
    return tuple(map(int, words)) if all(word.isdecimal() and len(word) < 19 for word in words) else None


def _resolver(inputs: _Tensor, outputs: _Tensor, source: Source) -> Resolve:
    tensors: dict[str, tuple[_Tensor, Callable[[int], int]]] = {
        inputs.name: (inputs, lambda index: index),
        outputs.name: (outputs, lambda index: -1 - index),
    }

    def resolve(atom: Atom) -> int:
        match = _ELEMENT.fullmatch(atom.text)
        if match is None or match[1] not in tensors:
            raise source.error(atom, f"expected a number or an element of {inputs.name} or {outputs.name}")
        tensor, number = tensors[match[1]]
        indices = _indices(match[2] or "")
        if indices is None or len(indices) != len(tensor.shape):
            raise source.error(atom, f"expected {len(tensor.shape)} indices for shape {list(tensor.shape)}")
        flat = 0
        for index, length in zip(indices, tensor.shape, strict=True):
            if index >= length:
                raise source.error(atom, f"index {index} is out of range for shape {list(tensor.shape)}")
            flat = flat * length + index
        return number(flat)

    return resolve
