"""Truth values that depend on the network's input: comparisons of inputs with constants, and their logic.

They are the guards of gates. Only comparisons that include equality are read, so that every guard is a union
of closed boxes; what is true is the same in real and in float arithmetic, as nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import inf, prod

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from repairsolver.network.lowering.builder import (
    Builder,
    Call,
    Condition,
    Constant,
    Guard,
    RefusedError,
    Result,
    Tensor,
    affordable,
    axis_of,
    positions,
)
from repairsolver.network.lowering.folding import fold
from repairsolver.network.operators import Concat, Gate, Indices, Select
from repairsolver.results import Array

ALWAYS: Guard = ((),)
NEVER: Guard = ()
MOST_BOXES = 100_000
"""Boxes that one guard may consist of."""

ARRANGING = {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
ARRANGING |= {"Tile", "Transpose", "Unsqueeze"}
"""Operators that move truth values as they move numbers."""


def at_least(call: Call) -> list[Result]:
    """x >= c, or c >= x."""
    return [_compared(call, 1.0)]


def at_most(call: Call) -> list[Result]:
    """x <= c, or c <= x."""
    return [_compared(call, -1.0)]


def _compared(call: Call, sign: float) -> Condition:
    """One guard for each entry; `sign` is 1 where the first operand is the larger one."""
    x, y = call.value(0), call.value(1)
    if isinstance(x, Constant):
        x, y, sign = y, x, -sign
    if not isinstance(x, Tensor) or not isinstance(y, Constant):
        raise RefusedError("it compares two tensors that both depend on the network's input")
    source = _inputs(call.builder, x)
    shape = affordable(np.broadcast_shapes(source.shape, y.shape))
    axes = np.broadcast_to(source, shape).reshape(-1).tolist()
    ends = np.broadcast_to(y.floats, shape).reshape(-1).tolist()
    largest = call.builder.largest
    return condition([_half(i, end, sign, largest) for i, end in zip(axes, ends, strict=True)], shape)


def _half(axis: int, end: float, sign: float, largest: float) -> Guard:
    if end * sign <= -largest:
        return ALWAYS
    return (((axis, end, inf) if sign > 0 else (axis, -inf, end),),)


def _inputs(builder: Builder, x: Tensor) -> Indices:
    """Which input of the network each entry of a tensor is."""
    if x.node == builder.input.node:
        return positions(x)
    made = builder.nodes[x.node]
    moved = isinstance(made.operator, Select) and made.inputs[0] == builder.input.node
    if isinstance(made.operator, Select) and moved and (made.operator.index >= 0).all():
        return made.operator.index.reshape(x.shape)
    raise RefusedError("it compares numbers that are computed; only the network's own inputs can be compared")


def condition(entries: Sequence[Guard], shape: tuple[int, ...]) -> Condition:
    """A tensor of guards, equal ones stored once."""
    table: dict[Guard, int] = {}
    index = np.array([table.setdefault(guard, len(table)) for guard in entries], dtype=np.int64)
    return Condition(index.reshape(shape), tuple(table))


def every(guards: Sequence[Guard]) -> Guard:
    """Where all of them hold: boxes met with boxes."""
    if prod(map(len, guards)) > MOST_BOXES:
        raise RefusedError(f"its truth value is a union of more than {MOST_BOXES} boxes")
    found = []
    for boxes in product(*guards):
        ends: dict[int, tuple[float, float]] = {}
        for axis, low, high in (part for box in boxes for part in box):
            before = ends.get(axis, (-inf, inf))
            ends[axis] = (max(low, before[0]), min(high, before[1]))
        if all(low <= high for low, high in ends.values()):
            found.append(tuple((axis, *ends[axis]) for axis in sorted(ends)))
    return tuple(dict.fromkeys(found))


def some(guards: Sequence[Guard]) -> Guard:
    """Where one of them holds."""
    found = tuple(dict.fromkeys(box for guard in guards for box in guard))
    return ALWAYS if () in found else found


def both(call: Call) -> list[Result]:
    return [_combined(call, every)]


def either(call: Call) -> list[Result]:
    return [_combined(call, some)]


def _combined(call: Call, join: Callable[[Sequence[Guard]], Guard]) -> Condition:
    parts = [truth(call.given(position)) for position in range(2)]
    shape = affordable(np.broadcast_shapes(*(part.index.shape for part in parts)))
    first, second = (np.broadcast_to(part.index, shape).reshape(-1) for part in parts)
    known: dict[tuple[int, int], Guard] = {}
    for i, j in dict.fromkeys(zip(first.tolist(), second.tolist(), strict=True)):
        known[i, j] = join([parts[0].table[i], parts[1].table[j]])
    return condition([known[pair] for pair in zip(first.tolist(), second.tolist(), strict=True)], shape)


def truth(value: Result) -> Condition:
    if isinstance(value, Condition):
        return value
    if isinstance(value, Constant):
        guards = [ALWAYS if flag else NEVER for flag in value.value.reshape(-1).tolist()]
        return condition(guards, value.value.shape)
    raise RefusedError("it takes a number that depends on the network's input for a truth value")


def least(call: Call) -> list[Result]:
    """The least of truth values (as 0 and 1) over axes: whether all hold."""
    return [_reduced(call, every)]


def largest(call: Call) -> list[Result]:
    return [_reduced(call, some)]


def _reduced(call: Call, join: Callable[[Sequence[Guard]], Guard]) -> Condition:
    given = truth(call.given(0))
    axes, rank = call.integers("axes", 1), given.index.ndim
    if not axes and call.integer("noop_with_empty_axes", 0):
        return given
    chosen = {axis_of(a, rank) for a in axes} if axes else set(range(rank))
    rest = [i for i in range(rank) if i not in chosen]
    moved = np.transpose(given.index, [*rest, *sorted(chosen)])
    rows = moved.reshape(prod(given.index.shape[i] for i in rest), -1)
    keep = bool(call.integer("keepdims", 1))
    shape = tuple(1 if i in chosen else d for i, d in enumerate(given.index.shape) if keep or i not in chosen)
    return condition([join([given.table[i] for i in dict.fromkeys(row)]) for row in rows.tolist()], shape)


def unchanged(call: Call) -> list[Result]:
    """A cast between truth values and the numbers 0 and 1."""
    return [call.given(0)]


def arranged(node: NodeProto, inputs: Sequence[Result | None], opset: int) -> list[Result | None]:
    """Truth values moved: the node is computed on their numbers in one table of guards."""
    table: list[Guard] = []
    moved: list[Constant | None] = []
    joined = node.op_type == "Concat"
    for place, given in enumerate(inputs):
        value = _known(given) if joined and isinstance(given, Constant) else given
        if isinstance(value, Tensor):
            raise RefusedError("it joins truth values with numbers")
        if isinstance(value, Condition):
            if place and not joined:
                raise RefusedError(f"input {place} ({node.input[place]!r}) must not be truth values")
            moved.append(Constant(value.index + len(table)))
            table += value.table
        else:
            moved.append(value)
    return [
        Condition(result.value, tuple(table)) if isinstance(result, Constant) else None
        for result in fold(node, moved, opset)
    ]


def _known(value: Constant) -> Condition:
    """A constant as truth values, to be joined with others."""
    if not np.isin(value.value, (0, 1)).all():
        raise RefusedError("it joins truth values with numbers that are not 0 or 1")
    return truth(value)


def where(call: Call) -> list[Result]:
    """The first choice where a guard holds, else the second one."""
    return [chosen(call, truth(call.given(0)), call.value(1), call.value(2))]


def switched(call: Call) -> list[Result]:
    """Numbers times truth values: the numbers where a guard holds, else 0."""
    place = 0 if isinstance(call.given(0), Condition) else 1
    return [
        chosen(
            call,
            truth(call.given(place)),
            call.value(1 - place),
            Constant(np.zeros((), call.builder.element)),
        )
    ]


def chosen(
    call: Call, guards: Condition, first: Tensor | Constant, second: Tensor | Constant
) -> Tensor | Constant:
    """A gate for every guard that occurs; constants that are never replaced stay constants."""
    shape = affordable(np.broadcast_shapes(guards.index.shape, first.shape, second.shape))
    index = np.broadcast_to(guards.index, shape)
    if isinstance(second, Constant) and not any(guards.table[i] for i in np.unique(index)):
        return Constant(np.broadcast_to(second.value, shape))
    always = np.isin(index, [i for i, guard in enumerate(guards.table) if guard == ALWAYS])
    result = _mixed(call, always, first, second, "/else")
    open_ = [i for i in np.unique(index).tolist() if guards.table[i] not in (ALWAYS, NEVER)]
    for place, number in enumerate(open_):
        on = _mixed(call, index == number, first, result, f"/on{place}")
        gate = Gate(*_corners(guards.table[number], call.builder.input.size))
        suffix = "" if number == open_[-1] else f"/gate{place}"
        result = call.emit(gate, [call.builder.input, on, result], shape, suffix)
    return result


def _mixed(
    call: Call, mask: NDArray[np.bool_], first: Tensor | Constant, second: Tensor | Constant, suffix: str
) -> Tensor:
    """Entries of the first value where the mask says so, else of the second."""
    index, fill = np.full(mask.shape, -1, dtype=np.int64), np.zeros(mask.shape)
    tensors: list[Tensor] = []
    for value, chosen in ((first, mask), (second, ~mask)):
        if isinstance(value, Constant):
            fill[chosen] = np.broadcast_to(value.floats, mask.shape)[chosen]
        elif chosen.any():
            index[chosen] = np.broadcast_to(positions(value), mask.shape)[chosen]
            index[chosen] += sum(x.size for x in tensors)
            tensors.append(value)
    source = tensors[0] if tensors else call.builder.input
    if len(tensors) == 2:
        source = call.emit(Concat(), tensors, (sum(x.size for x in tensors),), suffix + "/joined")
    return call.select(source, index, fill, suffix)


def _corners(guard: Guard, size: int) -> tuple[Array, Array]:
    """The boxes of a guard as corners [k, n]."""
    lower, upper = np.full((len(guard), size), -inf), np.full((len(guard), size), inf)
    for row, box in enumerate(guard):
        for axis, low, high in box:
            lower[row, axis], upper[row, axis] = low, high
    return lower, upper


OPERATORS = {"GreaterOrEqual": at_least, "LessOrEqual": at_most, "Where": where}
CONDITIONAL: dict[str, Callable[[Call], Sequence[Result]]] = {
    "And": both,
    "Or": either,
    "Cast": unchanged,
    "ReduceMin": least,
    "ReduceMax": largest,
    "Where": where,
    "Mul": switched,
}
"""What can be done with truth values, beyond moving them."""
