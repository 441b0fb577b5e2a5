r"""Which parts of a layer to override, with what: the fewest first, the least change of the scores second.

At points of a place the layer's values are known, so that the override is linear in its unknowns, or exact
with a few binaries (`layerwise.gate`, `layerwise.clamp`); behind it the network is encoded exactly, or, where
it is affine or large, multiplied out to its derivatives at the points (`behind.linear_scores`). Every
violating point must satisfy the property with a margin, every kept one must keep its decision; the second
program keeps the number of gates and minimises $\sum_p |y'_p - y_p|_1$ over all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from layerwise import interval
from layerwise.gate import Gated, affine_gates, with_clamps
from layerwise.output import at_least_one_row_broken
from layerwise.program import Expr, Program, stack
from repairsolver.decision import SIDES, SIGN, Decision
from repairsolver.network.forward import activations, apply
from repairsolver.network.gated import Override
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Linear
from repairsolver.property.specification import Conjunction
from repairsolver.repairing.gate.behind import linear_scores
from repairsolver.repairing.gate.overrides import override_of
from repairsolver.repairing.gate.shield import choices
from repairsolver.results import Array
from repairsolver.solvers import Solution, SolutionStatus, get_solver
from repairsolver.verification.encode import encode_node

REACH = 4.0
"""The largest shift of a neuron, in units of the layer's largest value."""

FIRST_SHARE, SECOND_SECONDS = 0.5, 1.5
"""Of the time: for the fewest gates; and seconds for the least change over all choices of so many."""


MOST_ENCODED, MOST_ENTRIES = 16_384, 512
"""Activations behind a layer, over all points, and entries of a layer, beyond which a program follows
derivatives instead of encoding them: exact where all is affine, else checked at the points afterwards."""

LOST = 1e3
"""The price of a missing lead of a decision, against a change of the scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A gated tensor and what lies behind it.

    Args:
        node: whose tensor it is.
        groups: the entries of every candidate: a neuron, or the neurons of a channel.
        channels: of which channel each candidate consists; -1 for a neuron.
        clamped: candidates that may be clamped, too.
        behind: the nodes that depend on it, in order.
    """

    node: Node
    groups: tuple[NDArray[np.int64], ...]
    channels: tuple[int, ...]
    clamped: tuple[int, ...]
    behind: tuple[Node, ...]

    @property
    def last(self) -> bool:
        """Whether everything behind it is linear, so that many points cost little."""
        return all(isinstance(node.operator, Linear) for node in self.behind)

    def exact(self, points: int) -> bool:
        """Whether what lies behind is encoded at so many points, or followed by its derivatives."""
        bent = sum(node.size for node in self.behind if not isinstance(node.operator, Linear))
        return not self.last and bent * points <= MOST_ENCODED and self.node.size <= MOST_ENTRIES


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What overrides are to achieve at points.

    Args:
        unsafe: what must not hold at any of `points` [k, n], by a margin.
        kept: inputs [j, n] whose decision stays, by a lead (or by the one that it has, if that is less).
        decision: which output stays the largest, or the smallest, or both.
    """

    unsafe: Sequence[Conjunction]
    points: Array
    margin: float
    kept: Array
    lead: float = 0.0
    decision: Decision = "max"


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Overrides, with a proved lower bound on the number of gates at these points (0 if none).

    Args:
        keeps: whether every decision that was to stay does.
    """

    change: Override
    fewest: int
    keeps: bool = True


def layer_of(
    network: Network,
    node: Node,
    neurons: NDArray[np.int64],
    *,
    channels: bool | Sequence[int] = False,
    clamped: NDArray[np.int64] | Sequence[int] = (),
) -> Layer:
    """The layer of a node; `network` has no gates and no softmax.

    Args:
        neurons: candidates.
        channels: whether whole channels of a tensor [1, c, height, width] are candidates, too; or which.
        clamped: which of the neurons may be clamped; channels may always be.
    """
    reached, behind = {node.name}, []
    for other in network.nodes[network.nodes.index(node) + 1 :]:
        if reached & set(other.inputs):
            reached.add(other.name)
            behind.append(other)
    groups = [np.array([i]) for i in neurons]
    names = [-1] * len(groups)
    able = [k for k, i in enumerate(neurons) if i in set(clamped)]
    if channels is not False and len(every := channels_of(node)):
        taken = list(range(len(every))) if channels is True else list(channels)
        able += range(len(groups), len(groups) + len(taken))
        groups += [every[k] for k in taken]
        names += taken
    return Layer(node, tuple(groups), tuple(names), tuple(able), tuple(behind))


def channels_of(node: Node) -> NDArray[np.int64]:
    """The entries of every channel of a tensor [1, c, height, width], [c, height * width]; none of others."""
    if len(node.shape) <= 2 or node.shape[0] != 1 or node.size == node.shape[1]:
        return np.zeros((0, 1), dtype=np.int64)
    return np.arange(node.size).reshape(node.shape[1], -1)


def place_gates(
    network: Network,
    layer: Layer,
    wanted: Wanted,
    *,
    most: int | None,
    solver: str,
    seconds: float,
    seed: int,
) -> Placed | None:
    """The fewest overrides of a layer that achieve what is wanted; None if none do.

    Where no override keeps all decisions, as few as possible (by their missing lead) are given up.

    Raises:
        SolverError: the solver failed.
    """
    values = activations(network, np.vstack([wanted.points, wanted.kept]))
    until = time.perf_counter() + seconds
    demands = list(_demands(wanted, values[network.output.name]))
    for keeps in (True, False):
        for unsafe in demands:
            left = until - time.perf_counter()
            if left <= 0:
                return None
            tried = replace(wanted, unsafe=unsafe)
            found = _solved(network, layer, tried, values, keeps, most, solver, left, seed)
            if found is not None:
                return found
    return None


def _demands(wanted: Wanted, outputs: Array) -> Iterator[Sequence[Conjunction]]:
    """What is to be broken: one row of every conjunction, the same at all points, the cheapest; then any."""
    several = any(len(conjunction.bound) > 1 for conjunction in wanted.unsafe)
    if several and len(wanted.points):
        best = next(choices(wanted.unsafe, wanted.points, outputs[: len(wanted.points)]), None)
        if best is not None:
            yield best.broken()
    yield wanted.unsafe


def _solved(
    network: Network,
    layer: Layer,
    wanted: Wanted,
    values: dict[str, Array],
    keeps: bool,
    most: int | None,
    solver: str,
    seconds: float,
    seed: int,
) -> Placed | None:
    """The fewest gates, then the least change; where time ends before, of those that were found first."""
    engine, until = get_solver(solver), time.perf_counter() + seconds
    program, gated, y, lost = _program(network, layer, wanted, values)
    if keeps:
        program.rows(lost, upper=0.0)
    total = gated.chosen.sum()
    program.rows(total, upper=np.inf if most is None else float(most))
    program.minimise(total)
    first = engine.solve(program, seconds=FIRST_SHARE * seconds, seed=seed)
    if first.values is None:
        return None
    program.rows(total, upper=float(round(float(total.value(first.values)[0]))))
    program.minimise(_change(program, y, values[network.output.name]) + lost * LOST)
    second = engine.solve(
        program, seconds=min(SECOND_SECONDS, max(until - time.perf_counter(), 0.1)), seed=seed
    )
    if second.status is not SolutionStatus.OPTIMAL:
        fixed = np.round(gated.chosen.value(first.values))
        program.rows(gated.chosen, fixed, fixed)
        second = engine.solve(program, seconds=max(until - time.perf_counter(), 0.1), seed=seed)
    best = first if second.values is None else second
    assert best.values is not None
    change = override_of(layer.channels, gated, best.values, values[layer.node.name])
    return Placed(change, _fewest(first), keeps)


def _change(program: Program, y: Expr, before: Array) -> Expr:
    """The sum of |y' - y|, for a program that minimises it."""
    change = y - before.ravel()
    size = program.columns(len(change), 0.0, name="change")
    program.rows(size - change, lower=0.0)
    program.rows(size + change, lower=0.0)
    return size.sum()


def _program(
    network: Network, layer: Layer, wanted: Wanted, values: dict[str, Array]
) -> tuple[Program, Gated, Expr, Expr]:
    """The program without an objective, its gates, the scores at all points [k * m], the missing lead."""
    program, whole = Program(), values[layer.node.name]
    exact = layer.exact(len(whole))
    entries = np.arange(whole.shape[1]) if exact else np.unique(np.concatenate(layer.groups))
    own = whole[:, entries]
    reach = REACH * float(np.abs(whole).max(initial=0.0)) + 1e-3
    local = [np.searchsorted(entries, group) for group in layer.groups]
    gated = affine_gates(program, own, local, reach)
    gated = with_clamps(program, gated, own, layer.clamped, len(wanted.points))
    if exact:
        outputs = _encoded(program, network, layer, gated, values)
    else:
        moved = gated.values - own.ravel()
        y = linear_scores(network, layer.node, values, entries, moved, affine=layer.last)
        outputs = [y[k * network.output_size + np.arange(network.output_size)] for k in range(len(own))]
    gated = replace(gated, groups=layer.groups)
    count = len(wanted.points)
    # One row is demanded of all points: where a proof has one half-space for the whole place, it is found.
    single = all(len(conjunction.bound) == 1 for conjunction in wanted.unsafe)
    asked = np.vstack([wanted.points, wanted.kept]) if single else wanted.points
    if len(asked):
        y = stack(outputs[: len(asked)])
        at_least_one_row_broken(program, y, wanted.unsafe, margin=wanted.margin, x=asked)
    lost = _kept(program, outputs[count:], values[network.output.name][count:], wanted)
    return program, gated, stack(outputs), lost


def _encoded(
    program: Program, network: Network, layer: Layer, gated: Gated, values: dict[str, Array]
) -> list[Expr]:
    """The scores at every point, with everything behind the layer encoded."""
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    outputs, size = [], layer.node.size
    for number in range(len(values[layer.node.name])):
        known: dict[str, Expr] = {layer.node.name: gated.values[number * size : (number + 1) * size]}
        for node in layer.behind:
            arguments = [known[t] if t in known else Expr.constants(values[t][number]) for t in node.inputs]
            bounds = None
            if not isinstance(node.operator, Linear):
                bounds = interval.of_expressions(program, arguments[0])
            known[node.name] = encode_node(program, node, arguments, shapes[node.inputs[0]], bounds)
        outputs.append(known[network.output.name])
    return outputs


def _kept(program: Program, outputs: Sequence[Expr], before: Array, wanted: Wanted) -> Expr:
    """Decisions that stay up to what is missing of their lead; the sum of what is missing."""
    if not len(before) or before.shape[1] < 2:
        return Expr.constants(0.0)
    missing = program.columns(len(before), 0.0, name="missing")
    for sign in (SIGN[side] for side in SIDES[wanted.decision]):
        for place, (y, scores) in enumerate(zip(outputs, sign * before, strict=True)):
            chosen = int(scores.argmax())
            others = np.delete(np.arange(len(scores)), chosen)
            lead = np.minimum(scores[chosen] - scores[others], wanted.lead)
            ahead = (y[np.full(len(others), chosen)] - y[others]) * sign
            program.rows(ahead + missing[np.full(len(others), place)], lower=lead)
    return missing.sum()


def _fewest(first: Solution) -> int:
    """No fewer gates of this layer achieve what is wanted."""
    if first.status is not SolutionStatus.OPTIMAL and first.bound is None:
        return 0
    bound = first.objective if first.bound is None else first.bound
    return int(np.ceil((bound or 0.0) - 1e-6))


def overridden(network: Network, layer: Layer, change: Override, points: Array) -> tuple[Array, Array]:
    """The outputs [b, m] at inputs [b, n] without and with an override, by direct evaluation."""
    values = activations(network, points)
    before, shapes = values[network.output.name], {n.name: n.shape for n in network.nodes}
    shapes[network.input_name] = network.input_shape
    values[layer.node.name] = change(values[layer.node.name], points)
    for node in layer.behind:
        values[node.name] = apply(node, [values[t] for t in node.inputs], shapes[node.inputs[0]])
    return before, values[network.output.name]
