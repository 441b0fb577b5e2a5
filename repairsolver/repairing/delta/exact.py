r"""The least change of one hidden layer at finitely many points as a mixed-integer program.

At a point the layer's input is constant, so that its output is affine in the change \(\delta\); what is
behind it is encoded exactly, activation by activation, once for every point:

$$ \min \lVert w \odot \delta \rVert \quad\text{s.t.}\quad z_p = z_p(0) + J_p \delta, \qquad
   s_p = \mathrm{tail}(z_p), \qquad \text{rows of } s_p \ge need, \qquad |\delta_u| \le R_u. $$

Big-Ms come from a limit U of the norm: with \(\lVert w \odot \delta \rVert \le U\) an expression
\(e + E \delta\) lies within \(U \lVert E / w \rVert_*\) of e (dual norm), and intervals carry this on. U is
the norm of a change that is known to be enough, or less: it grows as long as there is no change below it.
Points are added while the optimum misses some: every program is a relaxation of that of all points,
so that its dual bound holds for every change that is enough. Sigmoid and tanh are relaxed by
piecewise lines, where the bound holds too, but the optimum need not be enough.

For L2 the norm is bounded from below by supporting hyperplanes, \(t \ge u^\top (w \odot \delta)\) with
\(\lVert u \rVert_2 = 1\), added where the last optimum was.

Source: Goldberger, Katz, Adi and Keshet, Minimal modifications of deep neural networks using
verification, LPAR 2020, section 3; Tjeng, Xiao and Tedrake, Evaluating robustness of neural networks with
mixed integer programming, ICLR 2019; Kelley, The cutting-plane method for solving convex programs,
Journal of the SIAM 8, 1960.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from layerwise import interval
from layerwise.norm import NORMS
from layerwise.output import some_row_reached
from layerwise.program import Expr, Program
from repairsolver.errors import SolverError
from repairsolver.network.forward import activations
from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.program import TOLERANCE, LeastChange
from repairsolver.repairing.delta.requirements import Group
from repairsolver.results import Array
from repairsolver.solvers import Solution, SolutionStatus, Solver, session
from repairsolver.verification.encode import encode_node

MOST_BINARIES = 1500
"""Of the program at the chosen points; more are not tried."""

MOST_ENTRIES = 3_000_000
"""Of the dense maps from the change to the layer's outputs, over all chosen points."""

SEGMENTS = 8
"""Lines per sigmoid or tanh."""

SLACK = 1e-9
"""By how much bounds are widened, relative and absolute: above float64 rounding."""

FIRST_LIMIT, GROWTH, LAST_LIMIT = 1e-3, 8.0, 1e5
"""The first and the last U without a known change, in units of the norm of the stored entries."""

LIMIT_SHARES = (0.004, 0.016, 0.06, 0.12, 0.18, 0.25, 0.35, 0.5, 0.75)
"""Of the norm of a known change, tried as U before it: a small U makes tight programs, and quick proofs."""

CUTS = 30
"""Supporting hyperplanes of the L2 norm."""

Point = tuple[str, int]


def least_exactly(problem: LeastChange, layer: HiddenLayers, known: float, *, gap: float) -> Optimum:
    """The least change that meets the requirements, as far as the time and the size of programs allow.

    Args:
        known: U, the objective of a change that is known to be enough; the search is below it.
        gap: relative gap at which a program may stop.

    Returns:
        `optimal` or `feasible` with a change that really meets everything; `infeasible` where no change
        within a finite reach does; else `feasible` or `timeout` without a change. The bound holds in
        every case.
    """
    if len(layer.blocks) > 1 or any(np.isfinite(g.penalty) for g in problem.requirements.groups.values()):
        return Optimum(SolutionStatus.FEASIBLE, None, known, 0.0, {}, 0)
    return _Search(problem, layer, known, gap).run()


@dataclass(slots=True, eq=False)
class _Search:
    """Points chosen so far, and the best bound."""

    problem: LeastChange
    layer: HiddenLayers
    known: float
    gap: float
    points: dict[Point, None] = field(default_factory=dict)
    directions: list[Array] = field(default_factory=list)
    bound: float = 0.0
    solved: int = 0
    failure: str = ""
    solver: Solver = field(init=False)

    def __post_init__(self) -> None:
        # One point more extends the program: it starts from the last one's activations.
        named = "highs" if self.problem.solver == "projection" else self.problem.solver
        self.solver = session(named, self.problem.watch)

    def run(self) -> Optimum:
        for limit in self._limits():
            status, delta = self._within(limit)
            if status is not SolutionStatus.INFEASIBLE:
                cost = self.known if delta is None else self.problem.cost(delta)
                return Optimum(status, delta, cost, min(self.bound, cost), {}, self.solved, self.failure)
            if limit < self.known:  # or else the known change contradicts the solver: nothing is claimed
                self.bound = max(self.bound, limit)
        reach = np.asarray(self.problem.objective.reach)
        everything = np.isinf(self.known) and bool(np.isfinite(reach).all())
        status = SolutionStatus.INFEASIBLE if everything else SolutionStatus.FEASIBLE
        return Optimum(status, None, self.known, min(self.bound, self.known), {}, self.solved, self.failure)

    def _limits(self) -> Iterator[float]:
        """The values of U to try; the last one limits nothing if the reach is finite."""
        objective = self.problem.objective
        reach = np.broadcast_to(np.asarray(objective.reach, dtype=np.float64), (self.layer.size,))
        most = objective.value(reach) if np.isfinite(reach).all() else np.inf
        if objective.norm == "l0":
            yield self.known
            return
        if np.isfinite(self.known):
            yield from (share * self.known for share in LIMIT_SHARES)
            yield self.known
            return
        parameters = self.layer.parameters
        size = objective.value(self.layer.gathered({p.source.tensor: p.stored for p in parameters})) or 1.0
        limit = FIRST_LIMIT * size
        while limit < min(most, LAST_LIMIT * size):
            yield limit
            limit *= GROWTH
        if np.isfinite(most):
            yield most

    def _within(self, limit: float) -> tuple[SolutionStatus, Array | None]:
        """The least change of at most this norm."""
        delta: Array | None = np.zeros(self.layer.size)
        status, allowed = SolutionStatus.OPTIMAL, TOLERANCE * self.problem.scale()
        if self.points:
            status, delta = self._solve(limit)
        while delta is not None and (worst := self._worst(delta, allowed)) is not None:
            if worst in self.points:  # only a relaxation admits this
                return SolutionStatus.FEASIBLE, None
            self.points[worst] = None
            status, delta = self._solve(limit)
        return status, delta

    def _worst(self, delta: Array, allowed: float) -> Point | None:
        """The point that really lacks most, by more than is allowed."""
        found: Point | None = None
        for name, group in self.problem.requirements.groups.items():
            short = self.problem.shortfall(group, delta)
            lack = short.max(axis=1) if group.every else short.min(axis=1)
            point = int(np.argmax(lack)) if len(lack) else -1
            if point >= 0 and lack[point] > allowed:
                allowed, found = float(lack[point]), (name, point)
        return found

    def _solve(self, limit: float) -> tuple[SolutionStatus, Array | None]:
        """The program of the chosen points; for L2 again and again with one more hyperplane."""
        for _ in range(CUTS):
            made = _Encoding(self.problem, self.layer, limit, tuple(self.directions))
            solution = self._once(made)
            if solution is None:
                return SolutionStatus.TIMEOUT, None
            if solution.status is SolutionStatus.INFEASIBLE:
                return solution.status, None
            if solution.bound is not None:
                self.bound = max(self.bound, min(solution.bound, limit))
            if solution.values is None:
                return solution.status, None
            delta = made.delta.value(solution.values)
            cost = self.problem.cost(delta)
            if self.problem.objective.norm != "l2" or cost - self.bound <= self.gap * cost or cost == 0:
                return solution.status, delta
            scaled = self.problem.objective.weights * self.problem.weights * delta
            self.directions.append(scaled / np.linalg.norm(scaled))
        return SolutionStatus.FEASIBLE, delta

    def _once(self, made: _Encoding) -> Solution | None:
        """One program; None where it is too large, or no time is left, or the solver fails."""
        for name, point in self.points:
            if not made.add(self.problem.requirements.groups[name], point):
                return None
        left = None if self.problem.deadline is None else self.problem.deadline - time.perf_counter()
        if (left is not None and left <= 0) or made.program.statistics().binaries > MOST_BINARIES:
            return None
        self.solved += 1
        try:
            return self.solver.solve(made.program, seconds=left, gap=self.gap, seed=self.problem.seed)
        except SolverError as error:  # the bound stays that of the programs solved before
            self.failure = str(error)
            return None


class _Encoding:
    """The program of some points."""

    def __init__(
        self, problem: LeastChange, layer: HiddenLayers, limit: float, directions: tuple[Array, ...]
    ) -> None:
        self.problem, self.layer, self.limit = problem, layer, limit
        self.program = Program()
        self.entries = 0
        self.scores: dict[bytes, Expr] = {}
        objective = problem.objective
        self.weights = np.broadcast_to(
            np.asarray(objective.weights * problem.weights, dtype=np.float64), (layer.size,)
        )
        reach = np.broadcast_to(np.asarray(objective.reach, dtype=np.float64), (layer.size,))
        if objective.norm != "l0":
            reach = np.minimum(reach, limit / self.weights)
        self.reach = reach
        self.delta = self._unknowns(objective.norm, directions)
        self.own = self.program.n_columns

    def _unknowns(self, norm: str, directions: tuple[Array, ...]) -> Expr:
        """The changes, with a norm of at most U: beyond it, the big-Ms would cut off what is possible."""
        size, kind = self.layer.size, NORMS["linf" if norm == "l2" else norm]
        delta = kind.minimise(self.program, size, lower=-self.reach, upper=self.reach, weights=self.weights)
        if norm == "l1":
            sizes = Expr(abs(delta.matrix), np.zeros(size))
            self.program.rows(self.weights[None] @ sizes, upper=self.limit)
        if norm == "l2":
            length = self.program.columns(1, 0.0, max(self.limit, 0.0), name="length")
            self.program.minimise(length)
            for direction in directions:
                self.program.rows((direction * self.weights)[None] @ delta - length, upper=0.0)
            each = length[np.zeros(size, dtype=np.intp)]
            self.program.rows(self.weights * delta - each, upper=0.0)
            self.program.rows(self.weights * delta + each, lower=0.0)
        return delta

    def add(self, group: Group, point: int) -> bool:
        """Require a group's rows at one of its points; False if the program would be too large."""
        x = group.inputs[point]
        key = x.tobytes()
        if key not in self.scores:
            outputs = self.layer.blocks[0].node.size
            self.entries += outputs * self.layer.size
            if self.entries > MOST_ENTRIES or not np.isfinite(self.reach).all():
                return False
            self.scores[key] = self._encode(x)
        value = group.readout @ self.scores[key] + group.shift[point]
        need = float(group.need(self.problem.margin)[point])
        if group.plain:
            self.program.rows(value, lower=need)
        else:
            threshold = np.full(len(value), need)
            some_row_reached(self.program, value, threshold, group=len(value))
        return True

    def _encode(self, x: Array) -> Expr:
        """The scores at one input."""
        network, block = self.layer.network, self.layer.blocks[0]
        values = activations(network, x[None])
        hidden = values[block.node.inputs[0]]
        outputs = block.node.size
        matrix = block.gradient(hidden, np.eye(outputs)[None])[0]
        moved: dict[str, Expr] = {
            block.node.name: sparse.csr_array(matrix) @ self.delta + values[block.node.name][0]
        }
        shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
        for node in network.nodes:
            if node.name in moved or not any(name in moved for name in node.inputs):
                continue
            arguments = [
                moved[name] if name in moved else Expr.constants(values[name][0]) for name in node.inputs
            ]
            bounds = self._bounds(arguments[0])
            moved[node.name] = encode_node(
                self.program, node, arguments, shapes[node.inputs[0]], bounds, segments=SEGMENTS
            )
            if node.name == self.layer.scores:
                break
        return moved[self.layer.scores]

    def _bounds(self, expr: Expr) -> tuple[Array, Array]:
        """Valid bounds of a block of expressions, a little widened."""
        low, high = interval.of_expressions(self.program, expr)
        if self.problem.objective.norm != "l0" and np.isfinite(self.limit) and self._affine(expr):
            radius = self.limit * self._dual(expr)
            low = np.maximum(low, expr.constant - radius)
            high = np.minimum(high, expr.constant + radius)
        slack = SLACK * (1.0 + np.maximum(np.abs(low), np.abs(high)))
        return low - slack, high + slack

    def _affine(self, expr: Expr) -> bool:
        """Whether a block depends on the change alone."""
        return int(expr.matrix.indices.max(initial=-1)) < self.own

    def _dual(self, expr: Expr) -> Array:
        """The dual norm of every row's dependence on the scaled change."""
        norm = self.problem.objective.norm
        first = 0 if norm == "l1" else 1  # the other norms' programs start with the column of the norm
        part = expr.matrix[:, first : first + self.layer.size]
        rows = abs(part @ sparse.diags_array(1.0 / self.weights[: part.shape[1]]))
        match norm:
            case "l1":
                return np.asarray(rows.max(axis=1).toarray(), dtype=np.float64).ravel()
            case "l2":
                return np.sqrt(np.asarray((rows * rows).sum(axis=1), dtype=np.float64)).ravel()
            case _:
                return np.asarray(rows.sum(axis=1), dtype=np.float64).ravel()
