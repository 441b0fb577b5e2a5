"""Guards in an ONNX file: which boxes of gates an input lies in, told by comparisons alone.

All entries of all boxes of images are many numbers: more than the network has to compute. A first look then
compares a few entries, those by which the boxes differ most; all of them are compared, behind an `If`, only
if some input of the batch passes it. It asks for a part of what the boxes ask for, so that nothing is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from repairsolver.network.gated.changes import NewGate
from repairsolver.network.gated.writer import Writer
from repairsolver.results import Array

LOOKED = 12
"""Entries that the first look compares."""

MANY = 1000
"""Ends of boxes, from which on there is a first look."""

MOST_PAIRED, MOST_ENTRIES = 64, 1024
"""Boxes and entries among which those are sought that differ most."""


@dataclass(slots=True, eq=False)
class Guards:
    """The guards of a file, each written once."""

    writer: Writer
    known: dict[bytes, str] = field(default_factory=dict)
    looks: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    truths: dict[str, str] = field(default_factory=dict)

    def of(self, gates: Sequence[NewGate]) -> str:
        """Numbers [N, g]: 1 where an input lies in one of the boxes [k, n] of a gate, else 0."""
        key = _key(gates)
        if key not in self.known:
            look = self.look(gates)
            with self.writer.at_head():
                self.known[key] = self._inside(gates) if look is None else self._alone(look, gates)
        return self.known[key]

    def truth(self, inside: str) -> str:
        """A guard as truth values: those of a guard of a branch stay in the branch."""
        if inside not in self.known.values():
            return self.writer.node("Cast", [inside], to=TensorProto.BOOL)
        if inside not in self.truths:
            with self.writer.at_head():
                self.truths[inside] = self.writer.node("Cast", [inside], to=TensorProto.BOOL)
        return self.truths[inside]

    def look(self, gates: Sequence[NewGate]) -> tuple[str, str] | None:
        """The first look: which boxes inputs may lie in, [N, k], and whether any may; None for few ends."""
        lower, upper = (np.concatenate([getattr(g, side) for g in gates]) for side in ("lower", "upper"))
        if lower.size < MANY or lower.shape[1] <= LOOKED:
            return None
        key, writer, flat = _key(gates), self.writer, self.writer.flat_input()
        if key not in self.looks:
            with writer.at_head():
                entries = telling(lower, upper, LOOKED)
                x = writer.node("Gather", [flat, writer.constant(entries[:, None])], axis=1)
                compared = self._compared(x, lower[:, entries].T, upper[:, entries].T)
                passed = writer.reduced("ReduceMin", compared, [1], keep=False)
                largest = writer.reduced("ReduceMax", passed, [], keep=False)
                self.looks[key] = passed, writer.node("Cast", [largest], to=TensorProto.BOOL)
        return self.looks[key]

    def behind(self, look: tuple[str, str], gates: Sequence[NewGate]) -> str:
        """The guards where a first look has been passed: of gates with a box that may hold an input."""
        if len(gates) == 1:
            return self._inside(gates)
        writer, passed, first, found = self.writer, look[0], 0, list[str]()
        for gate in gates:
            own = self._columns(passed, first, len(gate.lower))
            largest = writer.reduced("ReduceMax", own, [], keep=False)
            some = writer.node("Cast", [largest], to=TensorProto.BOOL)
            with writer.branch() as then:
                then.result = self._inside([gate])
            with writer.branch() as otherwise:
                otherwise.result = self._columns(own, 0, 1)
            found.append(writer.choice(some, (then, otherwise), 2))
            first += len(gate.lower)
        return writer.node("Concat", found, axis=1)

    def _columns(self, tensor: str, first: int, count: int) -> str:
        """Some columns of a tensor [N, k]."""
        ends = [self.writer.constant(np.array([number])) for number in (first, first + count, 1)]
        return self.writer.node("Slice", [tensor, *ends])

    def _inside(self, gates: Sequence[NewGate]) -> str:
        """All entries compared, with the boxes [g, k, n] of all gates."""
        lower, upper = _stacked(gates)
        writer, (several, boxes, _) = self.writer, lower.shape
        if several > 1:
            x = writer.node("Unsqueeze", [writer.flat_input(), writer.constant(np.array([1, 2]))])
            every = writer.reduced("ReduceMin", self._compared(x, lower, upper), [3], keep=False)
            return writer.reduced("ReduceMax", every, [2], keep=False)
        lower, upper = lower[0], upper[0]
        if boxes == 1:
            x, rank = self._row(2)
            compared = self._compared(x, lower[0], upper[0])
            return writer.reduced("ReduceMin", compared, range(min(2, rank - 1), rank), keep=rank == 2)
        x, rank = self._row(3)
        ones = range(1, rank - 2)
        every = writer.reduced("ReduceMin", self._compared(x, lower, upper), [*ones, rank - 1], keep=False)
        return writer.reduced("ReduceMax", every, [1], keep=True)

    def _row(self, least: int) -> tuple[str, int]:
        """The input as [N, 1, ..., n] with so many axes or more, and how many: as it is, where it is so."""
        writer, shape = self.writer, self.writer.network.input_shape
        if writer.batched and len(shape) > 2 and set(shape[1:-1]) == {1}:
            return writer.network.input_name, len(shape)
        flat = writer.flat_input()
        if least == 2:
            return flat, 2
        return writer.node("Unsqueeze", [flat, writer.constant(np.array([1]))]), 3

    def _compared(self, x: str, lower: Array, upper: Array) -> str:
        """Whether each entry lies between two numbers, as 1 or 0."""
        writer = self.writer
        low = writer.node("GreaterOrEqual", [x, writer.floats(lower, lower.shape)])
        high = writer.node("LessOrEqual", [x, writer.floats(upper, upper.shape)])
        element = helper.np_dtype_to_tensor_dtype(writer.network.element)
        return writer.node("Cast", [writer.node("And", [low, high])], to=element)

    def _alone(self, look: tuple[str, str], gates: Sequence[NewGate]) -> str:
        """The guards without a change behind them."""
        writer, (passed, some) = self.writer, look
        with writer.branch() as then:
            then.result = self.behind(look, gates)
        with writer.branch() as otherwise:
            # No box has passed: as many columns of zeros as there are gates.
            otherwise.result = self._columns(passed, 0, len(gates))
        return writer.choice(some, (then, otherwise), 2)


def _key(gates: Sequence[NewGate]) -> bytes:
    return b"|".join(gate.lower.tobytes() + b"&" + gate.upper.tobytes() for gate in gates)


def _stacked(gates: Sequence[NewGate]) -> tuple[Array, Array]:
    """The boxes of all gates, [g, k, n]; where one has fewer of them, its last one is repeated."""
    most = max(len(gate.lower) for gate in gates)
    rows = [np.minimum(np.arange(most), len(gate.lower) - 1) for gate in gates]
    pairs = list(zip(gates, rows, strict=True))
    return np.stack([g.lower[r] for g, r in pairs]), np.stack([g.upper[r] for g, r in pairs])


def telling(lower: Array, upper: Array, count: int) -> NDArray[np.int64]:
    """The entries by which boxes [k, n] differ most: for each pair of boxes, several that keep it apart.

    One after another, the entry that keeps most pairs apart; pairs that are kept apart already count half
    as much each time. Between equal ones, the one where boxes lie farthest from their usual entry: what
    most entries are, they may be in any input.
    """
    boxes = np.unique(np.linspace(0, len(lower) - 1, min(len(lower), MOST_PAIRED)).astype(int))
    low, high = (np.clip(ends[boxes], -1e30, 1e30) for ends in (lower, upper))
    centre = (low + high) / 2
    usual = np.abs(centre - np.median(centre, axis=1, keepdims=True))
    far = (usual / (high - low + usual.max() + 1e-30)).mean(axis=0)
    spread = np.ptp(centre, axis=0) / (high - low + np.ptp(centre) + 1e-30).mean(axis=0)
    candidates = np.argsort(-(spread + far), kind="stable")[:MOST_ENTRIES]
    first, second = np.triu_indices(len(boxes), 1)
    low, high = low[:, candidates], high[:, candidates]
    apart = (high[first] < low[second]) | (high[second] < low[first])
    weight, chosen = np.ones(len(first)), list[int]()
    for _ in range(min(count, len(candidates))):
        score = weight @ apart + 1e-6 * far[candidates]
        score[chosen] = -1.0
        chosen.append(int(np.argmax(score)))
        weight = np.where(apart[:, chosen[-1]], weight / 2, weight)
    return np.sort(candidates[chosen])
