"""The state of a search over phases between two rounds: what it says of itself, and what a tree holds.

No independent checker knows these proofs yet: whoever goes on from a file rests on what it says is closed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repairsolver.bounds.slopes import RowSlopes
from repairsolver.exact_json import loads
from repairsolver.results import OpenBoxes
from repairsolver.verification.frontier import Open, listed
from repairsolver.verification.phases import Parts, PhaseSplitting
from repairsolver.verification.tree import Arrays, require

KIND = "phase splitting"


@dataclass(frozen=True, slots=True, eq=False)
class BoxState:
    """The search on one box between two rounds.

    Args:
        lower, upper: the box, [1, n].
        known: bounds of its pre-activations, by position.
        chosen: the queries that are to be proved on it, [q].
        slopes, scale: as the search has them.
        stack, leaves: parts that are open, and parts that are left to exact programs.
    """

    lower: Tensor
    upper: Tensor
    known: dict[int, tuple[Tensor, Tensor]]
    chosen: Tensor
    slopes: dict[int, list[RowSlopes]]
    scale: Tensor
    stack: tuple[Parts, ...]
    leaves: tuple[Parts, ...]
    examined: int
    least_proved: float

    @property
    def parts(self) -> list[Parts]:
        return [part for part in (*self.stack, *self.leaves) if len(part)]

    def about(self, rest: Open) -> BoxState | None:
        """The state with those of its parts that concern some queries; None if it knows not all of them."""
        same = torch.equal(self.lower, rest.lower[:1]) and torch.equal(self.upper, rest.upper[:1])
        if not (same and set(rest.query.tolist()) <= set(self.chosen.tolist())):
            return None
        stack, leaves = (
            tuple(part[torch.isin(part.query, rest.query).nonzero()[:, 0]] for part in parts)
            for parts in (self.stack, self.leaves)
        )
        stack, leaves = (tuple(part for part in parts if len(part)) for parts in (stack, leaves))
        return replace(self, stack=stack, leaves=leaves, chosen=rest.query)

    @property
    def bytes(self) -> int:
        """What the state holds in memory, about."""
        tensors = [getattr(part, item.name) for part in self.parts for item in fields(Parts)]
        tensors += [
            share for blocks in self.slopes.values() for row in blocks for share in row.shares.values()
        ]
        return sum(t.numel() * t.element_size() for t in tensors)

    def open(self, rest: Open) -> list[Open]:
        """Whole boxes, each with the least bound of its parts."""
        found = []
        for row, query in enumerate(rest.query.tolist()):
            bounds = [part.bound[part.query == query] for part in self.parts]
            if sum(map(len, bounds)):
                least = torch.cat(bounds).amin().clamp(max=0).reshape(1)
                found.append(replace(rest[slice(row, row + 1)], bound=least))
        return found

    @property
    def share(self) -> float:
        """What is open, in queries, every split halving its part."""
        return sum(float(part.weight.sum()) for part in self.parts)


def capture(search: PhaseSplitting, rest: Open, slopes: dict[int, list[RowSlopes]]) -> BoxState:
    """The state of a search that is between two rounds; nothing in it will change."""
    root = search.exact.root
    stack, leaves = tuple(search.stack), tuple(search.leaves)
    done = search.examined, search.least_proved
    return BoxState(
        root.lower, root.upper, root.known, rest.query, slopes, search.scale, stack, leaves, *done
    )


def restore(search: PhaseSplitting, state: BoxState, name: str) -> None:
    """Put a new search of the same box where another one stopped.

    Raises:
        TreeError: the parts do not fit the box.
    """
    root = search.stack[0]
    for part in state.parts:
        for item in fields(Parts):
            mine, like = getattr(part, item.name), getattr(root, item.name)
            fits = mine.dtype == like.dtype and mine.shape == (len(part), *like.shape[1:])
            require(fits, name, f"{item.name} of open parts")
    require(state.scale.shape == search.scale.shape, name, "scale")
    search.stack, search.leaves, search.scale = list(state.stack), list(state.leaves), state.scale
    search.examined, search.least_proved = state.examined, state.least_proved


@dataclass(frozen=True, slots=True, eq=False)
class PhasesReached:
    """How far all boxes have come.

    Args:
        queries: how many there are in all.
        boxes: those with open parts, one for each query.
        share: how many queries are open, every split halving its part.
        count: of open parts.
    """

    queries: int
    boxes: tuple[Open, ...]
    share: float
    count: int

    def proved(self) -> float:
        return max(0.0, 1 - self.share / self.queries)

    def bound(self) -> float:
        return min((float(box.bound.min()) for box in self.boxes), default=math.inf)

    def open_boxes(self) -> OpenBoxes:
        return listed(list(self.boxes))

    def __add__(self, other: PhasesReached) -> PhasesReached:
        """Both, of different boxes."""
        count, share = self.count + other.count, self.share + other.share
        return PhasesReached(self.queries, self.boxes + other.boxes, share, count)


def to_arrays(states: Mapping[int, BoxState]) -> dict[str, NDArray[Any]]:
    """The states of several boxes as named arrays, one of which says how they belong together."""
    arrays: dict[str, NDArray[Any]] = {}
    structure = _packed(list(states.values()), arrays)
    return arrays | {"structure": np.frombuffer(json.dumps(structure).encode(), np.uint8)}


def from_arrays(arrays: Arrays, name: str, device: str) -> list[BoxState]:
    """The states that were saved.

    Raises:
        TreeError: the arrays are no states.
    """
    try:
        found = _unpacked(loads(arrays["structure"].tobytes()), arrays, device)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        found = None
    fits = isinstance(found, list) and all(isinstance(state, BoxState) for state in found)
    require(fits, name, "states of boxes")
    states: list[BoxState] = found
    return states


def _packed(value: object, arrays: dict[str, NDArray[Any]]) -> object:
    match value:
        case Tensor():
            name = f"array_{len(arrays)}"
            arrays[name] = value.detach().cpu().numpy()
            return {"array": name}
        case dict():
            return {"dict": [[key, _packed(item, arrays)] for key, item in value.items()]}
        case list() | tuple():
            return {type(value).__name__: [_packed(item, arrays) for item in value]}
        case _ if is_dataclass(value):
            named = {item.name: _packed(getattr(value, item.name), arrays) for item in fields(value)}
            return {"class": type(value).__name__, "fields": named}
        case _:
            return {"value": value}


CLASSES = {kind.__name__: kind for kind in (BoxState, Parts, RowSlopes)}


def _unpacked(packed: Any, arrays: Arrays, device: str) -> Any:
    match packed:
        case {"array": str(name)}:
            return torch.tensor(arrays[name], device=device)
        case {"dict": list(items)}:
            return {key: _unpacked(item, arrays, device) for key, item in items}
        case {"list": list(items)}:
            return [_unpacked(item, arrays, device) for item in items]
        case {"tuple": list(items)}:
            return tuple(_unpacked(item, arrays, device) for item in items)
        case {"class": str(name), "fields": dict(named)}:
            return CLASSES[name](**{key: _unpacked(item, arrays, device) for key, item in named.items()})
        case {"value": value}:
            return value
        case _:
            raise ValueError(f"no packed value: {packed}")
