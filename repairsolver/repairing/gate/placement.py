r"""Which neurons of a layer to override, with what: the fewest first, the least change of the scores second.

At points of a place the layer's values are known, so that the override is linear in its unknowns
(`layerwise.gate`); behind it the network is encoded exactly. Every point must satisfy the property with a
margin; the second program keeps the number of gates and minimises $\sum_p |y'_p - y_p|_1$.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerwise import interval
from layerwise.gate import Gated, affine_gates
from layerwise.output import at_least_one_row_broken
from layerwise.program import Expr, Program, stack
from repairsolver.network.forward import activations
from repairsolver.network.gated import Override
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Linear
from repairsolver.property.specification import Conjunction
from repairsolver.results import Array
from repairsolver.solvers import Solution, SolutionStatus, get_solver
from repairsolver.verification.encode import encode_node

REACH = 4.0
"""The largest shift of a neuron, in units of the layer's largest value."""

NEGLIGIBLE = 1e-7
"""Slopes and shifts of gated neurons below this count as none, relative to the layer's values."""

CONSTANT = 1e-6
"""Slopes below this make a constant."""

FIRST_SHARE = 0.5
"""Of the time: for the fewest gates."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A gated tensor and what lies behind it.

    Args:
        node: whose tensor it is.
        candidates: neurons that may be overridden.
        behind: the nodes that depend on it, in order.
    """

    node: Node
    candidates: NDArray[np.int64]
    behind: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Overrides, with a proved lower bound on the number of gates at these points (0 if none)."""

    change: Override
    fewest: int


def layer_of(network: Network, node: Node, candidates: NDArray[np.int64]) -> Layer:
    """The layer of a node; `network` has no gates and no softmax."""
    reached, behind = {node.name}, []
    for other in network.nodes[network.nodes.index(node) + 1 :]:
        if reached & set(other.inputs):
            reached.add(other.name)
            behind.append(other)
    return Layer(node, candidates, tuple(behind))


def place_gates(
    network: Network,
    layer: Layer,
    unsafe: Sequence[Conjunction],
    points: Array,
    *,
    margin: float,
    most: int | None,
    solver: str,
    seconds: float,
    seed: int,
) -> Placed | None:
    """The fewest overrides of a layer after which every point [k, n] is safe with a margin; None if none.

    Raises:
        SolverError: the solver failed.
    """
    values = activations(network, points)
    program, gated, y = _program(network, layer, unsafe, points, values, margin)
    if most is not None:
        program.rows(gated.chosen.sum(), upper=float(most))
    program.minimise(gated.chosen.sum())
    engine = get_solver(solver)
    first = engine.solve(program, seconds=FIRST_SHARE * seconds, seed=seed)
    if first.values is None:
        return None
    count = round(float(gated.chosen.sum().value(first.values)[0]))
    program.rows(gated.chosen.sum(), upper=float(count))
    change = y - values[network.output.name].ravel()
    size = program.columns(len(change), 0.0, name="change")
    program.rows(size - change, lower=0.0)
    program.rows(size + change, lower=0.0)
    program.minimise(size.sum())
    second = engine.solve(program, seconds=(1 - FIRST_SHARE) * seconds, seed=seed)
    best = first if second.values is None else second
    return Placed(_override(layer, gated, best, values[layer.node.name]), _fewest(first))


def _program(
    network: Network,
    layer: Layer,
    unsafe: Sequence[Conjunction],
    points: Array,
    values: dict[str, Array],
    margin: float,
) -> tuple[Program, Gated, Expr]:
    """The program without an objective, its gates, and the scores at all points, [k * m]."""
    program, own = Program(), values[layer.node.name]
    reach = REACH * float(np.abs(own).max(initial=0.0)) + 1e-3
    gated = affine_gates(program, own, layer.candidates, reach)
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    outputs = []
    for number in range(len(points)):
        rows = slice(number * own.shape[1], (number + 1) * own.shape[1])
        known: dict[str, Expr] = {layer.node.name: gated.values[rows]}
        for node in layer.behind:
            arguments = [known[t] if t in known else Expr.constants(values[t][number]) for t in node.inputs]
            bounds = None
            if not isinstance(node.operator, Linear):
                bounds = interval.of_expressions(program, arguments[0])
            known[node.name] = encode_node(program, node, arguments, shapes[node.inputs[0]], bounds)
        outputs.append(known[network.output.name])
    y = stack(outputs)
    at_least_one_row_broken(program, y, unsafe, margin=margin, x=points)
    return program, gated, y


def _override(layer: Layer, gated: Gated, found: Solution, values: Array) -> Override:
    """The override of a solution; a slope of 0 makes a constant."""
    assert found.values is not None
    chosen = gated.chosen.value(found.values) > 0.5
    lost, shift = gated.lost.value(found.values)[chosen], gated.shift.value(found.values)[chosen]
    tiny = NEGLIGIBLE * max(1.0, float(np.abs(values).max(initial=0.0)))
    constant = lost > 1 - CONSTANT
    slope = np.where(lost < NEGLIGIBLE, 1.0, 1 - lost)
    moved = np.where(np.abs(shift) < tiny, 0.0, shift)
    return Override(
        layer.candidates[chosen],
        np.where(constant, 1.0, slope),
        np.where(constant, 0.0, moved),
        np.where(constant, moved, -np.inf),
        np.where(constant, moved, np.inf),
    )


def _fewest(first: Solution) -> int:
    """No fewer gates of this layer make these points safe."""
    if first.status is not SolutionStatus.OPTIMAL and first.bound is None:
        return 0
    bound = first.objective if first.bound is None else first.bound
    return int(np.ceil((bound or 0.0) - 1e-6))
