"""PuLP with its problem kept between programs that grow out of each other.

PuLP builds a problem term by term; kept, it costs the new rows alone. What the solver itself can go on from
is little: integer programs start from the last solution where PuLP's class takes one; linear programs begin
anew, as PuLP hands over no basis.
"""

from __future__ import annotations

from layerwise.program import Array, Matrices, Program
from repairsolver.solvers.driver import Answer, drive_warm
from repairsolver.solvers.growth import extends
from repairsolver.solvers.protocol import Availability, Feature, Solution
from repairsolver.solvers.pulp import Built, Engine, Options, Pulp, quiet, run


class PulpSession:
    """PuLP with a memory: a `Solver` that keeps its problem; see `Resuming.session`.

    Attributes:
        resumed: how many programs were brought up from the one before.
    """

    def __init__(self, solver: Pulp) -> None:
        self.resumed = 0
        self._solver = solver
        self._built: Built | None = None
        self._held: Matrices | None = None
        self._values: Array | None = None

    @property
    def name(self) -> str:
        return self._solver.name

    @property
    def features(self) -> frozenset[Feature]:
        return self._solver.features

    def availability(self) -> Availability:
        return self._solver.availability()

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
        """Solve a program; see `Solver.solve`. What fails with the kept problem is tried from scratch."""

        def compute(flat: Matrices) -> Answer:
            return self._compute(flat, self._solver.engine(flat, seconds, gap, seed, options), start)

        return drive_warm(self, program, compute)

    def forget(self) -> None:
        """Solve the next program from scratch."""
        self._held = None

    def _compute(self, flat: Matrices, engine: Engine, start: Array | None) -> Answer:
        last, self._held = self._held, None  # until the problem is this program as a whole
        with quiet():
            if self._built is not None and last is not None and extends(flat, last):
                self.resumed += 1
                self._built.bring(flat)
            else:
                self._built, self._values = Built.of(flat), None
        self._held = flat
        answer = run(engine, self._built, flat, self._values if start is None else start)
        self._values = answer.values
        return answer
