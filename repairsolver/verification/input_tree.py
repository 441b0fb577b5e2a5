"""The state of a search over boxes as arrays, and back: the search goes on exactly where it stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repairsolver.bounds.backward import HalfSpace
from repairsolver.verification.frontier import Open, State, merge
from repairsolver.verification.record import Record, Splits
from repairsolver.verification.tree import Arrays, require

KIND = "input splitting"
COLUMNS = ("lower", "upper", "query", "bound", "number")


def to_arrays(state: State) -> dict[str, NDArray[Any]]:
    """Everything of a state with a record but the queries, which are the property's."""
    record, mark = state.record, state.mark
    assert record is not None
    parts = [*state.stack, *state.narrow]
    splits = [made for made, _ in record.splits[: mark.splits]]
    weights = record.weights[: mark.weights]
    found: dict[str, list[Tensor]] = {
        "parent": [s.parent for s in splits],
        "axis": [s.axis for s in splits],
        "value": [s.value for s in splits],
        "weighed": [number for number, _ in weights],
        "weights": [used for _, used in weights],
    }
    # One by one: what a tree held lies in memory, what a device made lies there.
    arrays = {
        name: np.concatenate([part.cpu().numpy() for part in column])
        for name, column in found.items()
        if column
    }
    arrays["batches"] = np.array([len(s.parent) for s in splits], dtype=np.int64)
    arrays["sizes"] = np.array([len(part) for part in parts], dtype=np.int64)
    arrays["counts"] = np.array([len(state.stack), state.examined], dtype=np.int64)
    arrays["reached"] = np.array([state.least_proved, state.hottest])
    return arrays | (_boxes(merge(parts)) if parts else {})


def _boxes(whole: Open) -> dict[str, NDArray[Any]]:
    arrays = {f"open_{name}": getattr(whole, name).cpu().numpy() for name in COLUMNS}
    arrays |= {"cut_slope": whole.cut.slope.cpu().numpy(), "cut_shift": whole.cut.shift.cpu().numpy()}
    for position, pair in whole.known.items():
        for side, bounds in zip(("lower", "upper"), pair, strict=True):
            arrays[f"known_{position}_{side}"] = bounds.cpu().numpy()
    return arrays


def from_arrays(arrays: Arrays, start: State, name: str, roots: int | None = None) -> State:
    """The state that was saved.

    Args:
        start: a new state of the same search: it has the queries, and shows what shapes are expected.
        roots: boxes that the record begins with, if they are not the queries' own.

    Raises:
        TreeError: the arrays fit neither the search nor each other.
    """
    first = start.stack[0]
    names = {"batches", "sizes", "counts", "reached"}
    require(names <= arrays.keys(), name, "entries are missing")
    sizes, counts, reached = arrays["sizes"], arrays["counts"], arrays["reached"]
    shapes = (counts.shape, reached.shape, sizes.ndim, arrays["batches"].ndim)
    whole = all(arrays[name].dtype == np.int64 for name in ("batches", "sizes", "counts"))
    require(shapes == ((2,), (2,), 1, 1) and whole and bool((sizes >= 0).all()), name, "counters")
    require(bool(0 <= counts[0] <= len(sizes)) and bool(counts[1] >= 0), name, "counters")
    record = _record(arrays, len(first) if roots is None else roots, start.queries.bound.shape[1], name)
    parts: list[Open] = []
    if len(sizes):
        opened = _opened(arrays, first, record.boxes, name)
        require(int(sizes.sum()) == len(opened), name, "numbers of open boxes")
        ends = np.cumsum(sizes).tolist()
        parts = [opened[slice(end - size, end)] for size, end in zip(sizes.tolist(), ends, strict=True)]
    return replace(
        start,
        stack=tuple(parts[: counts[0]]),
        narrow=tuple(parts[counts[0] :]),
        examined=int(counts[1]),
        least_proved=float(reached[0]),
        hottest=float(reached[1]),
        record=record,
        mark=record.mark(),
    )


def _opened(arrays: Arrays, roots: Open, boxes: int, file: str) -> Open:
    expected = _boxes(roots)
    require(expected.keys() <= arrays.keys(), file, "entries of open boxes are missing")
    count = len(arrays["open_query"])
    device = roots.lower.device

    def column(name: str) -> Tensor:
        array, like = arrays[name], expected[name]
        fits = array.dtype == like.dtype and array.shape == (count, *like.shape[1:])
        require(fits and not np.isnan(array).any(), file, name)
        return torch.tensor(array, device=device)

    known = {k: (column(f"known_{k}_lower"), column(f"known_{k}_upper")) for k in roots.known}
    cut = HalfSpace(column("cut_slope"), column("cut_shift"))
    lower, upper, query, bound, number = (column(f"open_{name}") for name in COLUMNS)
    if count:
        require(int(query.min()) >= 0 and int(query.max()) < len(roots), file, "queries of open boxes")
        require(int(number.min()) >= 0 and int(number.max()) < boxes, file, "numbers of open boxes")
    return Open(lower, upper, query, known, cut, bound, number)


def _record(arrays: Arrays, roots: int, rows: int, name: str) -> Record:
    """The record; its forest is well formed whatever the file says: children are numbered as they come."""
    record, nothing = Record(roots), np.zeros(0, dtype=np.int64)
    parent, axis, number = (arrays.get(name, nothing) for name in ("parent", "axis", "weighed"))
    value = arrays.get("value", np.zeros(0))
    weights = arrays.get("weights", np.zeros((0, rows), dtype=np.uint8))
    batches = arrays["batches"]
    whole = all(array.dtype == np.int64 for array in (parent, axis, number))
    require(whole and value.dtype == np.float64 and weights.dtype == np.uint8, name, "types of the record")
    require(parent.shape == axis.shape == value.shape == (int(batches.sum()),), name, "splits")
    require(bool((batches >= 0).all()) and len(np.unique(parent)) == len(parent), name, "splits")
    require(weights.shape == (len(number), rows), name, "weights")
    first = 0
    for size in batches.tolist():
        some = slice(first, first + size)
        early = bool(((parent[some] >= 0) & (parent[some] < record.boxes)).all())
        require(early and bool((axis[some] >= 0).all()), name, "splits of boxes that do not exist")
        record.split(Splits(*(torch.tensor(column[some]) for column in (parent, axis, value))))
        first += size
    require(bool(((number >= 0) & (number < record.boxes)).all()), name, "weights of boxes")
    if len(number):
        record.weights.append((torch.tensor(number), torch.tensor(weights)))
    return record
