"""Gurobi with a model that is kept between programs that grow out of each other."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.program import Array, Matrices, Program
from repairsolver.solvers.driver import Answer, drive_warm
from repairsolver.solvers.growth import extends
from repairsolver.solvers.gurobi import (
    Gurobi,
    Options,
    new_model,
    refuse_oversized,
    run,
    set_objective,
    set_parameters,
    settings_of,
)
from repairsolver.solvers.loading import load_package
from repairsolver.solvers.protocol import Availability, Progress, Solution, Watch

INFINITE = 1e100
"""What Gurobi takes for an infinite number."""

_MIP = 3
"""`GRB.Callback.MIP`, from where a search over integers reports."""

_NONE = 0.99e100

Block = tuple[str, NDArray[np.int64], Any]
"""Sense, row numbers, and Gurobi's constraints of them."""


class GurobiSession:
    """Gurobi with a memory: a `Solver` that keeps its model; see `Resuming.session`.

    Linear programs go on from the last basis, integer ones start from the last solution.

    Args:
        watch: called while integer programs are solved.

    Attributes:
        iterations: of the simplex and barrier methods, in all solves.
        resumed: how many programs were solved from where the one before had ended.
    """

    name = "gurobi"
    features = Gurobi().features

    def __init__(self, watch: Watch | None = None) -> None:
        self.iterations = self.resumed = 0
        self._watch = watch
        self._raised: list[BaseException] = []
        self._open = ExitStack()
        self._model: Any = None
        self._held: Matrices | None = None
        self._blocks: list[Block] = []
        weakref.finalize(self, self._open.close)

    def availability(self) -> Availability:
        return Gurobi().availability()

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
        settings = settings_of(seconds, gap, seed, options)

        def compute(flat: Matrices) -> Answer:
            refuse_oversized(flat)
            return self._compute(flat, settings, start)

        return drive_warm(self, program, compute)

    def forget(self) -> None:
        """Solve the next program from scratch."""
        self._held = None

    def _compute(self, flat: Matrices, settings: dict[str, Any], start: Array | None) -> Answer:
        last = self._held
        if last is not None and extends(flat, last) and self._expressible(flat):
            self.resumed += 1
            unknowns = self._grown(flat, last)
        else:
            unknowns = self._anew(flat)
        self._held = flat
        self._model.resetParams()
        set_parameters(self._model, {"OutputFlag": 0, **settings})
        set_objective(self._model, flat, unknowns)
        if start is not None and flat.integer.any():
            unknowns.Start = start
        blocks = [(rows, constraints) for _, rows, constraints in self._blocks]
        answer = run(self._model, flat, unknowns, blocks, None if self._watch is None else self._called)
        if self._raised:
            raise self._raised.pop()
        self.iterations += int(self._model.IterCount + self._model.BarIterCount)
        return answer

    def _anew(self, flat: Matrices) -> Any:
        self._open.close()
        self._blocks = []
        self._model = self._open.enter_context(new_model({}))
        unknowns = self._columns(flat, 0)
        self._rows(flat, 0, unknowns)
        return unknowns

    def _grown(self, flat: Matrices, last: Matrices) -> Any:
        """Bring the model from the last program to the one that extends it."""
        gurobipy, old = load_package("gurobipy", "gurobipy"), len(last.cost)
        known = gurobipy.MVar.fromlist(self._model.getVars())
        known.LB, known.UB = flat.lower[:old], flat.upper[:old]
        for sense, rows, constraints in self._blocks:
            constraints.RHS = _side(flat, sense, rows)
        if len(flat.cost) > old:
            self._columns(flat, old)
            self._model.update()
            known = gurobipy.MVar.fromlist(self._model.getVars())
        self._rows(flat, len(last.row_lower), known)
        return known

    def _columns(self, flat: Matrices, first: int) -> Any:
        kinds = np.where(flat.integer[first:], "I", "C")
        count = len(flat.cost) - first
        return self._model.addMVar(count, lb=flat.lower[first:], ub=flat.upper[first:], vtype=kinds)

    def _rows(self, flat: Matrices, first: int, unknowns: Any) -> None:
        """Add the rows from `first` on; one without sides is there to get some."""
        numbers = np.arange(first, len(flat.row_lower))
        low, high = flat.row_lower[first:], flat.row_upper[first:]
        equal, bounded = low == high, np.isfinite(high)
        picks = (("=", equal), ("<", ~equal & bounded), (">", ~equal & (np.isfinite(low) | ~bounded)))
        for sense, pick in picks:
            if (rows := numbers[pick]).size:
                matrix = sparse.csr_array(flat.rows[rows])
                made = self._model.addMConstr(matrix, unknowns, sense, _side(flat, sense, rows))
                self._blocks.append((sense, rows, made))

    def _expressible(self, flat: Matrices) -> bool:
        """Whether the constraints there are can take the sides that the old rows have now."""
        count = len(self._held.row_lower) if self._held is not None else 0
        low, high = np.isneginf(flat.row_lower[:count]), np.isposinf(flat.row_upper[:count])
        equal = np.zeros(count, dtype=bool)
        for sense, rows, _ in self._blocks:
            low[rows] |= sense in ">="
            high[rows] |= sense in "<="
            equal[rows] |= sense == "="
        same = flat.row_lower[:count] == flat.row_upper[:count]
        return bool((low & high).all() and same[equal].all())

    def _called(self, model: Any, where: int) -> None:
        assert self._watch is not None
        if where != _MIP:
            return
        code = load_package("gurobipy", "gurobipy").GRB.Callback
        best, bound = float(model.cbGet(code.MIP_OBJBST)), float(model.cbGet(code.MIP_OBJBND))
        progress = Progress(
            float(model.cbGet(code.RUNTIME)),
            best if abs(best) < _NONE else None,
            bound if abs(bound) < _NONE else None,
            int(model.cbGet(code.MIP_NODCNT)),
        )
        try:
            stop = self._watch(progress)
        except BaseException as error:  # must not pass through Gurobi: raised again behind it
            self._raised.append(error)
            stop = True
        if stop:
            model.terminate()


def _side(flat: Matrices, sense: str, rows: NDArray[np.int64]) -> Array:
    side = flat.row_upper[rows] if sense == "<" else flat.row_lower[rows]
    return np.clip(side, -INFINITE, INFINITE)
