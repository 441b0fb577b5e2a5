"""Which repairs are worth showing, and in which order: none with an edit too many, different ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Model
from repairsolver.architecture.transitions import Step


def irredundant(model: Model, steps: Iterable[Step]) -> Iterator[Step]:
    """Repairs of which every edit is needed."""
    for way in steps:
        paid = [edit for edit in way.edits if edit.cost]
        spare = (without(way.edits, edit) for edit in paid)
        if len(paid) < 2 or not any(diagnose_model(apply_edits(model, edits)).valid for edits in spare):
            yield way


def without(edits: tuple[Edit, ...], edit: Edit) -> tuple[Edit, ...]:
    """The other edits; without a swap also without those of the sibling's arguments."""
    swap = edit.operation == "swap"
    return tuple(
        e
        for e in edits
        if e is not edit and not (swap and e.layer == edit.layer and e.operation in ("set", "weights"))
    )


def different_first(steps: Sequence[Step]) -> list[Step]:
    """The same repairs; those that do what an earlier one does, and more besides, come last.

    What a repair does is the multiset of its operations with the names of what they set or insert. Whoever
    turns down a repair will hardly take it with another edit on top.
    """
    seen: list[Counter[tuple[str, str]]] = []
    first: list[Step] = []
    last: list[Step] = []
    for way in steps:
        does = Counter[tuple[str, str]]((edit.operation, edit.name) for edit in way.edits if edit.cost)
        (last if any(other < does for other in seen) else first).append(way)
        seen.append(does)
    return [*first, *last]
