"""Which repairs are worth showing: none with an edit too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
