r"""What a search for the least change of behaviour lowers: behaviour, and squares of what rows fall short by.

$$ \tfrac12 B(\delta)^2 + \tfrac\rho2 \sum_k s_k^2, \qquad s_k = (wish_k - row_k(\delta))_+, $$

where soft points have their squared price in place of \(\rho\). Points to repair, and those
that are preferred to be right, wish their margin, points to keep a share of it, but no more than they have: a
penalty alone would leave them just below their border. Wishes that cannot be met are given up; what counts in
the end is that every row has its sign.

Source: Nocedal and Wright, Numerical Optimization, 2006, section 17.1 (quadratic penalty).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from repairsolver.network.forward import activations, apply
from repairsolver.network.graph import Network
from repairsolver.repairing.delta.curvature import Kronecker, as_vector, centred, features
from repairsolver.repairing.delta.derivatives import pull
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Group
from repairsolver.repairing.delta.squared_moves import SquaredMoves
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.results import Array

Ids = NDArray[np.int64]

KEPT = 0.25
"""The margin of points to keep, as a share of that of points to repair."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A change, what rows fall short by there, [b, r] by group, and the residual at the samples [N, m].

    Args:
        behaviour: half of its square, with soft points.
        lack: half the sum of the squares of what the other points lack.
        missing: what the worst row lacks to its sign; 0 where all have it.
    """

    delta: Array
    short: dict[str, Array]
    residual: Array
    behaviour: float
    lack: float
    missing: float

    def total(self, weight: float) -> float:
        """The sum of the module's formula, with the penalty's weight rho."""
        return self.behaviour + weight * self.lack


class Tail:
    """Forward passes at fixed inputs of a network whose front does not change."""

    def __init__(self, layer: HiddenLayers, inputs: Array) -> None:
        network, first = layer.network, layer.blocks[0].node
        start = network.nodes.index(first)
        self.shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
        needed = {name for node in network.nodes[start:] for name in node.inputs}
        values = activations(network, inputs)
        ahead = {network.input_name, *(node.name for node in network.nodes[:start])}
        self.scores = values[layer.scores]
        self.known = {name: values[name] for name in needed & ahead}
        self.start, self.last = start, layer.scores

    def values(self, network: Network, rows: Ids | slice) -> dict[str, Array]:
        """The tensors behind the front at some of the inputs, and those they begin with."""
        values = {name: array[rows] for name, array in self.known.items()}
        for node in network.nodes[self.start :]:
            arguments = [values[name] for name in node.inputs]
            values[node.name] = apply(node, arguments, self.shapes[node.inputs[0]])
            if node.name == self.last:
                break
        return values


@dataclass(slots=True, eq=False)
class Merit:
    """The sum as a function of the change.

    Args:
        shared: one row for all points of a group in which one row is enough.
        anchor: the change from which behaviour counts; None: the original network.
        inputs: samples and points of groups, every one once, [p, n].
        samples: which of them are the samples, [N].
        places: which are the points of a group, [b] by name.
    """

    problem: LeastChange
    layer: HiddenLayers
    squares: SquaredMoves
    shared: bool
    anchor: Array | None = None
    inputs: Array = field(init=False)
    samples: Ids = field(init=False)
    places: dict[str, Ids] = field(init=False)
    tail: Tail = field(init=False)
    reference: Array | float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        known: dict[bytes, int] = {}

        def placed(rows: Iterable[Array]) -> Ids:
            return np.array([known.setdefault(row.tobytes(), len(known)) for row in rows], dtype=np.int64)

        self.samples = placed(self.squares.inputs)
        groups = self.problem.requirements.groups
        self.places = {name: placed(group.inputs) for name, group in groups.items()}
        self.inputs = np.array([np.frombuffer(row) for row in known])
        self.tail = Tail(self.layer, self.inputs)
        if self.anchor is not None:
            self.reference = centred(self.moved(self.anchor, self.samples))

    @property
    def margin(self) -> float:
        return self.problem.margin

    @property
    def repaired(self) -> Ids:
        """The inputs that must reach a margin."""
        groups = self.problem.requirements.groups.items()
        strict = [self.places[n] for n, g in groups if g.strict and np.isinf(g.penalty)]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *strict]))

    def state(self, delta: Array) -> State:
        """Evaluate a change by one forward pass."""
        moved = self.moved(delta, slice(None))
        short: dict[str, Array] = {}
        lack = missing = paid = 0.0
        for name, group in self.problem.requirements.groups.items():
            rows = group.slack + moved[self.places[name]] @ group.readout.T
            short[name] = self.wished(group)[:, None] - rows
            squares = float((np.maximum(self._deciding(group, short[name]), 0.0) ** 2).sum())
            if np.isfinite(group.penalty):
                paid += group.penalty**2 * squares
                continue
            lack += 0.5 * squares
            floor = self._deciding(group, group.floor[:, None] - rows)
            missing = max(missing, float(floor.max(initial=0.0)))
        residual = centred(moved[self.samples]) - self.reference
        behaviour = (residual**2).sum() / len(residual) + self.pull(delta) @ self.from_anchor(delta) + paid
        return State(delta, short, residual, 0.5 * float(behaviour), lack, missing)

    def moved(self, delta: Array, rows: Ids | slice) -> Array:
        """The change of the scores at some of the inputs, [b, m]."""
        return self.tail.values(self.layer.edited(delta), rows)[self.layer.scores] - self.tail.scores[rows]

    def from_anchor(self, delta: Array) -> Array:
        """The change as it counts, [unknowns]."""
        return delta if self.anchor is None else delta - self.anchor

    def pull(self, delta: Array) -> Array:
        """The gradient of the ridge, [unknowns]."""
        return np.asarray(self.squares.ridge * self.from_anchor(delta))

    def wished(self, group: Group) -> Array:
        """What rows should reach, [b]."""
        if group.strict:
            return np.asarray(group.need(self.margin))
        spare = np.maximum(group.reached(group.slack) - group.floor, 0.0)
        return np.asarray(group.floor + np.minimum(KEPT * self.margin, spare))

    def chosen(self, group: Group, short: Array) -> NDArray[np.bool_]:
        """Which rows [b, r] count: all where all are needed, else the one that lacks least."""
        if group.every:
            return np.ones(short.shape, dtype=bool)
        if self.shared and len(short):
            best = np.full(len(short), np.maximum(short, 0.0).sum(axis=0).argmin())
        else:
            best = short.argmin(axis=1)
        return np.asarray(np.arange(short.shape[1])[None] == best[:, None])

    def positions(self, rows: Ids) -> Ids:
        """Where each input is among these; -1 for those that are not, [p]."""
        position = np.full(len(self.inputs), -1)
        position[rows] = np.arange(len(rows))
        return position

    def _deciding(self, group: Group, short: Array) -> Array:
        return short[self.chosen(group, short)]

    def within(self, delta: Array) -> Array:
        """The change, every entry within its reach."""
        reach = np.asarray(self.problem.objective.roundable)
        return np.asarray(np.clip(delta, -reach, reach))

    def gradient(self, delta: Array, weight: float, rows: Ids) -> Array:
        """An estimate of the sum's gradient from some of the inputs, [unknowns].

        Args:
            rows: indices into `inputs`; what they stand for is scaled up to all.
        """
        network = self.layer.edited(delta)
        values = self.tail.values(network, rows)
        moved = values[self.layer.scores] - self.tail.scores[rows]
        back = self.pressed(moved, weight, rows)[:, None]
        names = {block.node.name for block in self.layer.blocks}
        pulled = pull(network, values, back, self.layer.scores, names)
        parts = [
            _gradient(block, values[block.node.inputs[0]], pulled[block.node.name][:, 0])
            for block in self.layer.blocks
        ]
        return np.concatenate(parts) + self.pull(delta)

    def pressed(self, moved: Array, weight: float, rows: Ids) -> Array:
        """The sum's derivative by the scores at the rows, [b, m]."""
        position = self.positions(rows)
        pressed = np.zeros_like(moved)
        here = position[self.samples]
        here = here[here >= 0]
        pressed[here] += centred(moved[here]) / max(len(here), 1)
        for name, group in self.problem.requirements.groups.items():
            at = position[self.places[name]]
            inside = at >= 0
            if not inside.any():
                continue
            values = group.slack[inside] + moved[at[inside]] @ group.readout.T
            short = self.wished(group)[inside, None] - values
            hinge = np.where(self.chosen(group, short), np.maximum(short, 0.0), 0.0)
            price = group.penalty**2 if np.isfinite(group.penalty) else weight
            np.subtract.at(pressed, at[inside], price * len(at) / inside.sum() * hinge @ group.readout)
        return pressed


def _gradient(block: Block, hidden: Array, pressed: Array) -> Array:
    """sum_b pressed_b dz_b / d unknowns."""
    if Kronecker.fits(block):
        return as_vector(block, pressed.T @ features(block, hidden))
    return np.asarray(block.gradient(hidden, pressed[:, None]).sum(axis=(0, 1)))
