"""`If` by truth values of the network's input: one of two graphs is computed.

Truth values that are asked only where another one holds, as an exact comparison behind a cheap first look,
are the guards that both make together. Numbers become those of one branch or of the other one, by a gate; by
none if the first branch computes the same as the other one where the condition fails, as all its own gates
are off there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repairsolver.network.lowering.builder import (
    Box,
    Call,
    Condition,
    Constant,
    Guard,
    RefusedError,
    Result,
    Tensor,
    identity,
)
from repairsolver.network.lowering.condition import NEVER, chosen, every, some, truth
from repairsolver.network.operators import Select


def asked_of(call: Call) -> Guard:
    """Where the condition of an If node holds; nowhere if that is known while loading."""
    asked = call.given(0)
    if asked.shape not in ((), (1,)):
        raise RefusedError(f"its condition has shape {list(asked.shape)}, expected one truth value")
    return NEVER if isinstance(asked, Constant) else _only(truth(asked))


def branched(
    call: Call, then: Sequence[Result], otherwise: Sequence[Result], idle: Sequence[Result | None]
) -> list[Result]:
    """What an If node computes; `idle` is what its first branch computes where it is not asked."""
    asked = call.given(0)
    if isinstance(asked, Constant):
        return list(then if asked.value.reshape(()) else otherwise)
    guard = truth(asked)
    return [_joined(call, guard, *three) for three in zip(then, otherwise, idle, strict=True)]


def _joined(call: Call, guard: Condition, then: Result, otherwise: Result, idle: Result | None) -> Result:
    if not isinstance(then, Condition) and not isinstance(otherwise, Condition):
        if isinstance(then, Tensor) and _origin(call, idle) == _origin(call, otherwise) is not None:
            return call.emit(identity(then.size), [then], then.shape)
        return chosen(call, guard, then, otherwise)
    yes, no, holds = truth(then), truth(otherwise), _only(guard)
    if yes.shape != no.shape:
        raise RefusedError(f"its branches have results of shapes {list(yes.shape)} and {list(no.shape)}")
    if any(without(no.table[i], holds) for i in np.unique(no.index)):
        raise RefusedError(
            "its else branch tells truths where its condition fails: that is no union of closed boxes"
        )
    return Condition(yes.index, tuple(met(truths, holds) for truths in yes.table))


def _origin(call: Call, value: Result | None) -> Tensor | None:
    """A tensor, or the one of which it is another name."""
    if not isinstance(value, Tensor):
        return None
    name, nodes = value.node, call.builder.nodes
    while name in nodes and isinstance(select := nodes[name].operator, Select):
        size = call.builder.size(nodes[name].inputs[0])
        if not np.array_equal(select.index, np.arange(size)):
            break
        name = nodes[name].inputs[0]
    return Tensor(name, value.shape)


def _only(guard: Condition) -> Guard:
    return guard.table[int(guard.index.reshape(()))]


def met(guard: Guard, other: Guard) -> Guard:
    """Where both hold; boxes that lie in one of the other guard stay whole."""
    return some([(box,) if _covered(box, other) else every([(box,), other]) for box in guard])


def without(guard: Guard, other: Guard) -> Guard:
    """A guard less the boxes that lie in one of the other guard."""
    fewest = min(map(len, other), default=0)
    return tuple(box for box in guard if len(box) < fewest or not _covered(box, other))


def outside(value: Result, absent: Guard) -> Result:
    """Truth values as they are where the other guard does not hold."""
    if not isinstance(value, Condition):
        return value
    return Condition(value.index, tuple(without(truths, absent) for truths in value.table))


def _covered(box: Box, guard: Guard) -> bool:
    """Whether a box lies in one box of a guard."""
    ends = {axis: (low, high) for axis, low, high in box}
    return any(
        all(axis in ends and low <= ends[axis][0] and ends[axis][1] <= high for axis, low, high in outer)
        for outer in guard
    )
