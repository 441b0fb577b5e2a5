r"""The linear programs of APRNN and PRDNN for finitely many points, written anew from the papers, for HiGHS.

Both change the weights W of one layer k. With the activation pattern of every repaired point held as it is in
the original network, scores are linear in the change:

$$ \Delta u^k_i = \Delta W\, h_i + \Delta b^k, \qquad
   \Delta u^{l+1}_i = W^{l+1} (s^l_i \circ \Delta u^l_i) + \Delta b^{l+1}, $$

h_i what the layer reads of point i, s the pattern. Labels lead by a margin; the objective is the largest plus
the mean absolute value of all changes, those of scores included.

- PRDNN holds the pattern by a second, unchanged copy of the network that decides it (a decoupled network), so
  that nothing else is asked; only W changes.
- APRNN returns an ordinary network: biases from layer k on change too, and rows keep every pre-activation
  from layer k on on its side of zero.

The programs are the papers', how they are solved is not: rows of patterns, and those that bound a parameter
by the largest change, are added when they are violated. The optimum is the same.

Source: Sotoudeh, Thakur, Provable repair of deep neural networks, PLDI 2021, algorithm 1; Tao, Nawas,
Mitchell, Thakur, Architecture-preserving provable repair of deep neural networks, PLDI 2023, algorithm 1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.mnist_points.peer_points import Points
from layerwise.program import Matrices
from repairsolver.results import Array
from repairsolver.solvers.highs import new_engine, pass_model

BOUND = 3.0
"""Of every change of a parameter, as in both tools' scripts."""

MARGIN = 1e-3
"""By which a label leads: sytorch's epsilon."""

TOLERANCE = 1e-6
"""By how much a row that is not in the program may be violated."""

NEAR = 0.7
"""Where rows are violated, those are added, too, that have used up this share of their room."""

GAP = 1e-5
"""Between the objective and its bound, relative, where the interior point method ends."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a tool changes and asks for.

    Args:
        biases: those of the chosen layer and of later ones change, too.
        patterns: pre-activations stay on their side of zero; without it the network is decoupled.
    """

    biases: bool
    patterns: bool


METHODS = {"APRNN": Method(biases=True, patterns=True), "PRDNN": Method(biases=False, patterns=False)}


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What is added to the weights of layer k, and to biases from it on; None where none was found.

    Args:
        status: optimal, infeasible, or timeout.
        weight: [r, k]; biases: one for each layer from k on, None without biases.
        objective: the largest change plus the mean one; after a timeout that of a relaxation.
    """

    status: str
    weight: Array | None
    biases: tuple[Array, ...]
    objective: float | None
    rows: int


class PeerProgram:
    """The program of one tool, one layer and some points.

    Columns: changes of parameters, positive and negative parts; changes u of the layer's pre-activations that
    matter behind it; changes of scores, in two parts; the largest change.
    """

    def __init__(self, points: Points, method: Method) -> None:
        self.points, self.method = points, method
        size, last = points.pre[0].shape, len(points.pre) - 1
        self.n_weights = points.widths[0] * len(points.used)
        self.n = self.n_weights + (sum(points.widths) if method.biases else 0)
        alive = points.on[0] if last else np.ones(size, dtype=bool)
        self.kept = np.argwhere(alive)
        self.place = np.full(size, -1)
        self.place[alive] = np.arange(len(self.kept))
        self.scores = points.pre[-1].size
        self.columns = 2 * self.n + len(self.kept) + 2 * self.scores + 1
        self.asked: list[set[int]] = [set() for _ in points.pre]
        self.bounded: set[int] = set()

    def parameters(self, rows: sparse.csr_array) -> sparse.csr_array:
        """Rows over changes of parameters, over both their parts."""
        return sparse.csr_array(sparse.hstack([rows, -rows]))

    def direct(self, points: NDArray[np.int64], neurons: NDArray[np.int64]) -> sparse.csr_array:
        """Changes of the layer's own pre-activations, over parameters, [rows, n]."""
        width, reads = len(self.points.used), self.points.reads[:, self.points.used][points]
        columns = neurons[:, None] * width + np.arange(width)
        rows = np.repeat(np.arange(len(points)), width)
        found = sparse.csr_array((reads.ravel(), (rows, columns.ravel())), (len(points), self.n))
        found.eliminate_zeros()
        if self.method.biases:
            ones = np.ones(len(points)), (np.arange(len(points)), self.n_weights + neurons)
            found = found + sparse.csr_array(ones, found.shape)
        return found

    def changes(self, layer: int, points: NDArray[np.int64], neurons: NDArray[np.int64]) -> sparse.csr_array:
        """Changes of pre-activations of a layer, counted from k, over all columns before those of scores."""
        if layer == 0 and len(self.points.pre) > 1:
            unused = sparse.csr_array((len(points), len(self.kept)))
            return sparse.csr_array(sparse.hstack([self.parameters(self.direct(points, neurons)), unused]))
        pulled = self.points.pulled(layer, points, neurons)
        r, at = np.nonzero(pulled[0])
        entries = pulled[0][r, at], (r, self.place[points[r], at])
        through = sparse.csr_array(entries, (len(points), len(self.kept)))
        biases = sparse.csr_array((len(points), self.n))
        if self.method.biases:
            before = sparse.csr_array((len(points), self.n_weights + self.points.widths[0]))
            after = sparse.csr_array((len(points), sum(self.points.widths[layer + 1 :])))
            biases = sparse.csr_array(sparse.hstack([before, *map(sparse.csr_array, pulled[1:]), after]))
        parts = [self.parameters(biases), through]
        return sparse.csr_array(sparse.hstack(parts))

    def first(self) -> Matrices:
        """Rows that define pre-activations and scores; labels; scores bound the largest change."""
        i, j = self.kept.T
        define = [self.parameters(self.direct(i, j)), -sparse.eye_array(len(i))]
        blank = sparse.csr_array((len(i), 2 * self.scores + 1))
        each = np.indices(self.points.pre[-1].shape).reshape(2, -1)
        eye, one = sparse.eye_array(self.scores), sparse.csr_array(np.ones((self.scores, 1)))
        score = [self.changes(len(self.points.pre) - 1, each[0], each[1]), -eye, eye, 0 * one]
        bound = [sparse.csr_array((self.scores, self.columns - 2 * self.scores - 1)), eye, eye, -one]
        leads, need = self.leads()
        blocks = [sparse.hstack(part) for part in ([*define, blank], score, bound)]
        rows = sparse.csr_array(sparse.vstack([*blocks, leads]))
        equal = len(i) + self.scores
        lower = np.concatenate([np.zeros(equal), np.full(self.scores, -np.inf), need])
        upper = np.concatenate([np.zeros(equal + self.scores), np.full(len(need), np.inf)])
        return self._matrices(rows, lower, upper)

    def leads(self) -> tuple[sparse.csr_array, Array]:
        """Labels lead every other score: rows over all columns, and what they must reach."""
        n, classes = self.points.pre[-1].shape
        label = np.repeat(self.points.labels, classes - 1)
        other = np.concatenate([np.delete(np.arange(classes), one) for one in self.points.labels])
        point, count = np.repeat(np.arange(n), classes - 1), np.arange(n * (classes - 1))
        shape = (len(count), self.scores)
        rows = sparse.csr_array((np.ones(len(count)), (count, point * classes + label)), shape)
        rows = rows - sparse.csr_array((np.ones(len(count)), (count, point * classes + other)), shape)
        blank = sparse.csr_array((len(count), self.columns - 2 * self.scores - 1))
        need = MARGIN - self.points.pre[-1][point, label] + self.points.pre[-1][point, other]
        nothing = sparse.csr_array((len(count), 1))
        return sparse.csr_array(sparse.hstack([blank, rows, -rows, nothing])), need

    def _matrices(self, rows: sparse.csr_array, lower: Array, upper: Array) -> Matrices:
        """With bounds and costs: the mean's number of changes counts those of weights that nothing reads."""
        rest = len(self.kept)
        low, high = np.zeros(self.columns), np.full(self.columns, np.inf)
        high[: 2 * self.n] = BOUND
        low[2 * self.n : 2 * self.n + rest], high[2 * self.n : 2 * self.n + rest] = -np.inf, np.inf
        if self.method.patterns and len(self.points.pre) > 1:
            i, j = self.kept.T
            low[2 * self.n : 2 * self.n + rest] = -self.points.pre[0][i, j]
        cost = np.ones(self.columns)
        cost[2 * self.n : 2 * self.n + rest] = 0.0
        cost[-1] = self.all_changes
        nothing = np.zeros(self.columns)
        return Matrices(cost, nothing, 0.0, low, high, nothing.astype(bool), rows, lower, upper)

    @property
    def all_changes(self) -> int:
        """How many changes the mean is taken over."""
        unread = self.points.reads.shape[1] - len(self.points.used)
        return self.n + self.points.widths[0] * unread + self.scores

    def read(self, values: Array) -> tuple[Array, tuple[Array, ...]]:
        """The change of weights, and those of biases."""
        change = values[: self.n] - values[self.n : 2 * self.n]
        weight = np.zeros((self.points.widths[0], self.points.reads.shape[1]))
        weight[:, self.points.used] = change[: self.n_weights].reshape(self.points.widths[0], -1)
        if not self.method.biases:
            return weight, ()
        ends = np.cumsum(self.points.widths)[:-1]
        return weight, tuple(np.split(change[self.n_weights :], ends))

    def violated(self, values: Array) -> list[tuple[sparse.csr_array, Array, Array]]:
        """Rows to add with their bounds: of parameters above the largest change, and of patterns."""
        found = [self._above(values)]
        if self.method.patterns:
            moved = self.points.moved(*self.read(values))
            found += [self._crossed(layer, part) for layer, part in enumerate(moved[:-1])]
        return [rows for rows in found if rows[0].shape[0]]

    def _above(self, values: Array) -> tuple[sparse.csr_array, Array, Array]:
        size = values[: self.n] + values[self.n : 2 * self.n]
        above = size - values[-1]
        new = self._new(above, size - NEAR * values[-1], self.bounded)
        at, count = np.array(new, dtype=np.int64), len(new)
        columns = np.concatenate([at, at + self.n, np.full(count, self.columns - 1)])
        entries = np.repeat([1.0, 1.0, -1.0], count), (np.tile(np.arange(count), 3), columns)
        rows = sparse.csr_array(entries, (count, self.columns))
        return rows, np.full(count, -np.inf), np.zeros(count)

    def _new(self, beyond: Array, near: Array, known: set[int]) -> list[int]:
        """Violated rows that are not in the program, and, where there are some, those that nearly are."""
        if known.issuperset(np.flatnonzero(beyond > TOLERANCE).tolist()):
            return []
        new = [int(one) for one in np.flatnonzero(near > 0) if one not in known]
        known.update(new)
        return new

    def _crossed(self, layer: int, moved: Array) -> tuple[sparse.csr_array, Array, Array]:
        pre, on = self.points.pre[layer], self.points.on[layer]
        beyond = np.where(on, -1.0, 1.0) * (pre + moved)
        near = np.abs(moved) * (1 - NEAR) + beyond
        new = self._new(beyond.ravel(), near.ravel(), self.asked[layer])
        points, neurons = np.unravel_index(np.array(new, dtype=np.int64), pre.shape)
        z, active = pre[points, neurons], on[points, neurons]
        rows = self.changes(layer, points, neurons)
        blank = sparse.csr_array((len(new), 2 * self.scores + 1))
        lower, upper = np.where(active, -z, -np.inf), np.where(active, np.inf, -z)
        return sparse.csr_array(sparse.hstack([rows, blank])), lower, upper


def repaired(points: Points, method: Method, seconds: float) -> Change:
    """The tool's optimum, as they have it: of an interior point method, without crossover.

    Args:
        seconds: of `time.perf_counter` (`benchmarks.clock`).
    """
    end = time.perf_counter() + seconds
    program = PeerProgram(points, method)
    engine = new_engine(options={"solver": "ipx", "run_crossover": "off", "ipm_optimality_tolerance": GAP})
    engine.cbIpmInterrupt.subscribe(lambda event: event.interrupt(time.perf_counter() > end))
    model = program.first()
    pass_model(engine, model)
    count = model.rows.shape[0]
    while time.perf_counter() < end:
        engine.run()
        status = engine.getModelStatus().name.removeprefix("k").lower()
        if status != "optimal":
            return Change("timeout" if status == "interrupt" else status, None, (), None, count)
        values = np.array(engine.getSolution().col_value)
        found = program.violated(values)
        if not found:
            objective = engine.getInfo().objective_function_value / program.all_changes
            return Change("optimal", *program.read(values), objective, count)
        for rows, lower, upper in found:
            starts, at = rows.indptr[:-1].astype(np.int32), rows.indices.astype(np.int32)
            engine.addRows(len(lower), lower, upper, rows.nnz, starts, at, rows.data)
            count += len(lower)
    return Change("timeout", None, (), None, count)
