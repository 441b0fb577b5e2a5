"""What is known of every box of a run that splits phases: for its reports, and for its tree."""

from __future__ import annotations

from functools import partial

from repairsolver.bounds.slopes import RowSlopes
from repairsolver.results import counted
from repairsolver.verification.frontier import Open
from repairsolver.verification.phase_tree import (
    KIND,
    BoxState,
    PhasesReached,
    capture,
    from_arrays,
    restore,
    to_arrays,
)
from repairsolver.verification.phases import PhaseSplitting, Suspects
from repairsolver.verification.run import Run


class Journal:
    """The boxes of a run, in order, with the newest state of each that was begun.

    Args:
        boxes: the open queries of every box.

    Raises:
        TreeError: the run's tree is no tree of phases, or damaged.
    """

    def __init__(self, run: Run, boxes: list[Open]) -> None:
        self._run, self._boxes = run, boxes
        self._states: dict[int, BoxState] = {}
        count = len(run.queries)
        self._reached = {
            k: PhasesReached(count, (rest,), len(rest), len(rest)) for k, rest in enumerate(boxes)
        }
        arrays = None if run.tree is None else run.tree.take(KIND)
        if run.tree is None or arrays is None:
            return
        for state in from_arrays(arrays, run.tree.name, run.device):
            for number, rest in enumerate(boxes):
                if (mine := state.about(rest)) is not None:
                    self._states[number] = mine
                    self._reached[number] = self._summary(mine, rest)
        run.resumed = bool(self._states)
        if run.resumed:
            run.notes.append(
                f"Continued from {run.tree.name}: the answer rests on what this file says is proved already, "
                "which no checker has examined."
            )

    def saved(self, rest: Open) -> BoxState | None:
        """Where the search on a box stopped, if a tree told."""
        return self._states.get(self._number(rest))

    def restore(self, search: PhaseSplitting, state: BoxState) -> Suspects:
        """Put a search there; no points are suspicious yet."""
        assert self._run.tree is not None
        restore(search, state, self._run.tree.name)
        nothing = search.queries.lower[:0]
        return Suspects(nothing, search.queries.lower.new_zeros(0).long(), search.queries.lower.new_zeros(0))

    def note(self, search: PhaseSplitting, rest: Open, slopes: dict[int, list[RowSlopes]]) -> None:
        """A search is between two rounds: report it, and keep it for the tree."""
        number, state = self._number(rest), capture(search, rest, slopes)
        self._reached[number] = self._summary(state, rest)
        if self._run.tree is not None:
            self._states = self._fitting(number) | {number: state}
            self._run.keep(KIND, partial(to_arrays, self._states))
        reached = sum(self._reached.values(), PhasesReached(len(self._run.queries), (), 0.0, 0))
        self._run.reach("phases", f"{counted(search.examined, 'part')} examined", reached)

    def _summary(self, state: BoxState, rest: Open) -> PhasesReached:
        count = sum(map(len, state.parts))
        return PhasesReached(len(self._run.queries), tuple(state.open(rest)), state.share, count)

    def _fitting(self, number: int) -> dict[int, BoxState]:
        """The states of other boxes, as many as memory has room for; the rest will begin anew."""
        room, kept = self._run.limits.memory_gb * 1e9 / 8, {}
        for other, state in self._states.items():
            room -= state.bytes
            if other != number and room >= 0:
                kept[other] = state
        return kept

    def _number(self, rest: Open) -> int:
        return next(k for k, box in enumerate(self._boxes) if box is rest)
