"""HiGHS kept warm between programs that grow out of each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.solvers.driver import Answer, drive_warm
from repairsolver.solvers.growth import extends
from repairsolver.solvers.highs import (
    Highs,
    Options,
    new_engine,
    pass_model,
    run,
    set_time_limit,
    set_watch,
)
from repairsolver.solvers.incremental import append_rows
from repairsolver.solvers.protocol import Availability, Solution, Watch

_INTEGER = 1
"""`HighsVarType.kInteger`."""


class HighsSession:
    """HiGHS with a memory: a `Solver` whose engine keeps its model; see `Resuming.session`.

    Args:
        watch: called while integer programs are solved.

    Attributes:
        iterations: of the simplex and interior-point methods, in all solves.
        resumed: how many programs were solved from where the one before had ended.
    """

    name = "highs"
    features = Highs().features

    def __init__(self, watch: Watch | None = None) -> None:
        self.iterations = self.resumed = 0
        self._watch = watch
        self._raised: list[BaseException] = []
        self._engine: Any = None
        self._settings: object = None
        self._held: Matrices | None = None
        self._values: Array | None = None

    def availability(self) -> Availability:
        return Highs().availability()

    def solve(
        self,
        program: Program,
        *,
        seconds: float | None = None,
        gap: float = 0.0,
        seed: int = 0,
        start: Array | None = None,
        options: Options | None = None,
    ) -> Solution:
        """Solve a program; see `Solver.solve`. What fails from the last basis is tried from scratch."""
        settings = (seed, tuple(sorted((options or {}).items())))
        if settings != self._settings:
            self._engine, self._settings, self._held = new_engine(seed=seed, options=options), settings, None
            if self._watch is not None:
                set_watch(self._engine, self._watch, self._raised)
        return drive_warm(self, program, lambda flat: self._compute(flat, seconds, gap, start))

    def forget(self) -> None:
        """Solve the next program from scratch."""
        self._held = None

    def _compute(self, flat: Matrices, seconds: float | None, gap: float, start: Array | None) -> Answer:
        engine, last = self._engine, self._held
        engine.setOptionValue("mip_rel_gap", gap)
        set_time_limit(engine, seconds)
        if last is not None and extends(flat, last):
            self.resumed += 1
            _hand_over(engine, flat, last)
        else:
            pass_model(engine, flat)
            self._values = None
        self._held = flat
        if flat.integer.any():
            self._start(flat, start)
        answer = run(engine, flat)
        if self._raised:
            raise self._raised.pop()
        info = engine.getInfo()
        counts = info.simplex_iteration_count, info.ipm_iteration_count, info.crossover_iteration_count
        self.iterations += sum(max(count, 0) for count in counts)
        self._values = answer.values
        return answer

    def _start(self, flat: Matrices, start: Array | None) -> None:
        """Begin with the given values, or with the integers of the last solution."""
        if start is not None:
            self._engine.setSolution(len(start), np.arange(len(start), dtype=np.int32), start)
        elif self._values is not None:
            whole = np.flatnonzero(flat.integer[: len(self._values)]).astype(np.int32)
            self._engine.setSolution(len(whole), whole, np.round(self._values[whole]))


def _hand_over(engine: Any, flat: Matrices, last: Matrices) -> None:
    """Bring an engine from the last program to the one that extends it."""
    width, height = len(last.cost), len(last.row_lower)
    new, none = slice(width, len(flat.cost)), np.zeros(0, dtype=np.int32)
    count = len(flat.cost) - width
    if count:
        engine.addCols(count, flat.cost[new], flat.lower[new], flat.upper[new], 0, none, none, np.zeros(0))
        whole = width + np.flatnonzero(flat.integer[new]).astype(np.int32)
        if whole.size:
            engine.changeColsIntegrality(len(whole), whole, np.full(len(whole), _INTEGER, dtype=np.uint8))
    columns = np.arange(len(flat.cost), dtype=np.int32)
    other = _differs(flat.cost, last.cost)
    engine.changeColsCost(len(other), columns[other], flat.cost[other])
    other = np.union1d(_differs(flat.lower, last.lower), _differs(flat.upper, last.upper)).astype(np.int32)
    engine.changeColsBounds(len(other), other, flat.lower[other], flat.upper[other])
    other = np.union1d(_differs(flat.row_lower, last.row_lower), _differs(flat.row_upper, last.row_upper))
    other = other.astype(np.int32)
    engine.changeRowsBounds(len(other), other, flat.row_lower[other], flat.row_upper[other])
    engine.changeObjectiveOffset(flat.offset)
    append_rows(engine, flat, np.arange(height, len(flat.row_lower)))


def _differs(new: Array, old: Array) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Where the old part of an array has changed."""
    return np.flatnonzero(new[: len(old)] != old).astype(np.int32)
