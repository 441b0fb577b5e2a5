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

NEAR = 0.5
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
        objective: the largest change plus the mean one.
        rows: of the last program.
    """

    status: str
    weight: Array | None
    biases: tuple[Array, ...]
    objective: float | None
    rows: int


class PeerProgram:
    """The program of one tool, one layer and some points.

    Columns: changes of parameters, positive and negative parts; changes u of the pre-activations of active
    neurons, of the layer and, with patterns, of later ones; changes of scores, in two parts; the largest
    change.
    """

    def __init__(self, points: Points, method: Method) -> None:
        self.points, self.method = points, method
        last = len(points.pre) - 1
        self.n_weights = points.widths[0] * len(points.used)
        self.n = self.n_weights + (sum(points.widths) if method.biases else 0)
        self.places, self.end = [], 2 * self.n
        for on in points.on[: last if method.patterns else min(last, 1)]:
            place = np.full(on.shape, -1)
            place[on] = np.arange(self.end, self.end + on.sum())
            self.places.append(place)
            self.end += int(on.sum())
        self.scores = points.pre[-1].size
        self.columns = self.end + 2 * self.scores + 1
        self.asked: list[set[int]] = [set() for _ in points.pre]
        self.bounded: set[int] = set()

    def direct(self, points: NDArray[np.int64], neurons: NDArray[np.int64]) -> sparse.csr_array:
        """Changes of the layer's own pre-activations, biases apart, over all columns."""
        reads = self.points.reads[:, self.points.used][points]
        at = neurons[:, None] * reads.shape[1] + np.arange(reads.shape[1])
        rows = np.repeat(np.arange(len(points)), reads.shape[1])
        return self._rows(len(points), rows, at.ravel(), reads.ravel())

    def changes(self, layer: int, points: NDArray[np.int64], neurons: NDArray[np.int64]) -> sparse.csr_array:
        """Changes of pre-activations of a layer, counted from k, over all columns."""
        count = np.arange(len(points))
        if layer == 0:
            found = self.direct(points, neurons)
        else:
            below = min(layer, len(self.places)) - 1
            pulled = self.points.pulled(layer, below, points, neurons)
            rows, at = np.nonzero(pulled)
            entries = pulled[rows, at], (rows, self.places[below][points[rows], at])
            found = sparse.csr_array(entries, (len(points), self.columns))
        if self.method.biases:
            at = self.n_weights + sum(self.points.widths[:layer]) + neurons
            found = found + self._rows(len(points), count, at, np.ones(len(points)))
        return found

    def _rows(
        self, count: int, rows: NDArray[np.int64], at: NDArray[np.int64], values: Array
    ) -> sparse.csr_array:
        """Rows over changes of parameters, and so over both their parts."""
        both = np.concatenate([values, -values]), (np.tile(rows, 2), np.concatenate([at, at + self.n]))
        found = sparse.csr_array(both, (count, self.columns))
        found.eliminate_zeros()
        return found

    def _units(self, rows: int, columns: NDArray[np.int64], value: float) -> sparse.csr_array:
        """One entry in each row."""
        return sparse.csr_array((np.full(rows, value), (np.arange(rows), columns)), (rows, self.columns))

    def first(self) -> Matrices:
        """Rows that define pre-activations and scores; labels; scores bound the largest change."""
        blocks = []
        for layer, place in enumerate(self.places):
            i, j = np.nonzero(place >= 0)
            blocks.append(self.changes(layer, i, j) + self._units(len(i), place[i, j], -1.0))
        i, j = np.indices(self.points.pre[-1].shape).reshape(2, -1)
        up = self.end + np.arange(self.scores)
        more, less = self._units(self.scores, up, 1.0), self._units(self.scores, up + self.scores, 1.0)
        blocks.append(self.changes(len(self.points.pre) - 1, i, j) - more + less)
        equal = sum(block.shape[0] for block in blocks)
        largest = self._units(self.scores, np.full(self.scores, self.columns - 1), -1.0)
        leads, need = self.leads(more - less)
        rows = sparse.csr_array(sparse.vstack([*blocks, more + less + largest, leads]))
        lower = np.concatenate([np.zeros(equal), np.full(self.scores, -np.inf), need])
        upper = np.concatenate([np.zeros(equal + self.scores), np.full(len(need), np.inf)])
        return self._matrices(rows, lower, upper)

    def leads(self, change: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
        """Labels lead every other score: rows, and what they must reach.

        Args:
            change: rows of the changes of all scores.
        """
        n, classes = self.points.pre[-1].shape
        label = np.repeat(self.points.labels, classes - 1)
        other = np.concatenate([np.delete(np.arange(classes), one) for one in self.points.labels])
        point = np.repeat(np.arange(n), classes - 1)
        need = MARGIN - self.points.pre[-1][point, label] + self.points.pre[-1][point, other]
        return change[point * classes + label] - change[point * classes + other], need

    def _matrices(self, rows: sparse.csr_array, lower: Array, upper: Array) -> Matrices:
        """With bounds and costs: the mean's number of changes counts those of weights that nothing reads."""
        low, high, cost = np.zeros(self.columns), np.full(self.columns, np.inf), np.ones(self.columns)
        high[: 2 * self.n] = BOUND
        low[2 * self.n : self.end] = -np.inf
        cost[2 * self.n : self.end] = 0.0
        cost[-1] = self.all_changes
        if self.method.patterns:
            for place, pre in zip(self.places, self.points.pre, strict=False):
                low[place[place >= 0]] = -pre[place >= 0]
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
        at = self._new(size - values[-1], size - NEAR * values[-1], self.bounded)
        count = len(at)
        rows = self._units(count, at, 1.0) + self._units(count, at + self.n, 1.0)
        rows = rows + self._units(count, np.full(count, self.columns - 1), -1.0)
        return rows, np.full(count, -np.inf), np.zeros(count)

    def _crossed(self, layer: int, moved: Array) -> tuple[sparse.csr_array, Array, Array]:
        """Inactive neurons that become active; of active ones it is their column's bound."""
        pre, on = self.points.pre[layer], self.points.on[layer]
        beyond = np.where(on, -np.inf, pre + moved)
        near = np.where(on, -np.inf, NEAR * pre + moved)
        new = self._new(beyond.ravel(), near.ravel(), self.asked[layer])
        points, neurons = np.unravel_index(new, pre.shape)
        need = -pre[points, neurons]
        return self.changes(layer, points, neurons), np.full(len(new), -np.inf), need

    def _new(self, beyond: Array, near: Array, known: set[int]) -> NDArray[np.int64]:
        """Violated rows that are not in the program, and, where there are some, those that nearly are."""
        if known.issuperset(np.flatnonzero(beyond > TOLERANCE).tolist()):
            return np.zeros(0, dtype=np.int64)
        new = [one for one in np.flatnonzero(near > 0).tolist() if one not in known]
        known.update(new)
        return np.array(new, dtype=np.int64)


def repaired(points: Points, method: Method, seconds: float) -> Change:
    """The tool's optimum, as they have it: of an interior point method, without crossover if it ends well.

    Args:
        seconds: of `time.perf_counter` (`benchmarks.clock`).
    """
    end = time.perf_counter() + seconds
    program = PeerProgram(points, method)
    options = {"solver": "ipx", "run_crossover": "choose", "ipm_optimality_tolerance": GAP}
    engine = new_engine(options=options)
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
