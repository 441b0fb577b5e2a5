"""Gates inside the network: counterexample-guided, layer by layer, until the verifier proves a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.network.gated import NewGate, gateable
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Clip, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Tanh
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.gate.placement import Layer, layer_of, place_gates
from repairsolver.repairing.gate.regions import BOXES, SLACK, Place, extended
from repairsolver.repairing.gate.scores import samples, scores, violation
from repairsolver.repairing.gate.session import Candidate, Session, consider, prove
from repairsolver.repairing.gate.shield import MARGIN
from repairsolver.results import Array, VerifyStatus
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.query import strip_softmax

LAYERS = 2
"""Hidden layers that are tried, from the last one backwards, until one needs a single gate in each place."""

MOST_CANDIDATES = 256
"""Neurons of a layer that may be gated: those that move the scores most."""

FIRST_VIOLATING, FIRST_KEPT = 12, 12
"""Points of a place that the first program is about: violating ones, and others."""

MOST_ROUNDS = 10
"""Programs for one layer."""

SOLVE_SECONDS = 10.0
"""The most time for one program."""

GROWTH = 4.0
"""By how much the margin grows where a candidate is neither proved nor refuted."""

MOST_SPARE = 4
"""Gates beyond the proved fewest, with which a layer is given up: its program is too hard."""

SHARE = 0.4
"""Of the time that is left: for one layer."""

EFFORT = Effort(samples=4096, restarts=32, steps=30, rounds=1, keep=64)


@dataclass(slots=True, eq=False)
class Task:
    """One place: its points so far, and the margin that they are to have."""

    place: Place
    region: Region
    points: Array
    margin: float
    extra: list[Array] = field(default_factory=list)

    @property
    def all_points(self) -> Array:
        return np.unique(np.vstack([self.points, *self.extra]), axis=0)


def try_inner(session: Session, places: Sequence[Place]) -> None:
    """Override the fewest neurons of a hidden layer in every place; the layer that keeps most is taken."""
    if gates_of(session.network):
        session.reasons.append("hidden neurons of a network that has gates already are not overridden")
        return
    core, _ = strip_softmax(session.network, session.prop)
    layers = hidden_layers(core)
    if not layers:
        session.reasons.append("the network has no hidden layer whose neurons could be overridden")
    proved = 0
    for node in layers:
        if session.left <= 0.5:
            break
        found = _repair_layer(session, core, node, places)
        if found is None:
            continue
        consider(session, found)
        proved += 1
        if all(gate.change.count == 1 for gate in found.edit.gates):
            break  # no layer has fewer
    if layers and not proved:
        session.reasons.append(f"no override of the last {len(layers)} hidden layers was proved")


def hidden_layers(network: Network) -> list[Node]:
    """The activations that can be gated, from the last one backwards."""
    kinds = (Relu, LeakyRelu, Clip, Sigmoid, Tanh, Elu, Gelu)
    found = [node for node in gateable(network) if isinstance(node.operator, kinds)]
    return [node for node in reversed(found) if node.name != network.output.name][:LAYERS]


def _repair_layer(session: Session, core: Network, node: Node, places: Sequence[Place]) -> Candidate | None:
    """Overrides of one layer in all places, proved; None if there are none in time."""
    until = session.seconds + SHARE * session.left if np.isfinite(session.left) else np.inf
    tasks = [_task(session, place) for place in places]
    layer = layer_of(core, node, _candidates(core, node, np.vstack([task.points for task in tasks])))
    for _ in range(MOST_ROUNDS):
        gates = _placed(session, core, layer, tasks, until)
        if gates is None:
            return None
        candidate = prove(session, gates, f"layer {node.layer}", SHARE, places_first=True)
        if candidate.proved:
            return candidate
        tasks = _extended(session, candidate, tasks)
        if session.seconds > until or not _learn(session, candidate, tasks):
            return None
    return None


def _task(session: Session, place: Place) -> Task:
    """Points of a place: violating ones, and some others."""
    region = session.prop.regions[place.region]
    points = samples(session.network, place, region, session.seed)
    outputs = session.network(points)
    wrong = violation(region, points, outputs) >= 0
    corners = [
        (np.maximum(low, region.lower), np.minimum(high, region.upper))
        for low, high in zip(place.lower, place.upper, strict=True)
    ]
    own = Property(
        tuple(Region(low, high, region.unsafe) for low, high in corners if (low <= high).all()),
        session.prop.input_size,
        session.prop.output_size,
    )
    hits = attack(session.network, own, seed=session.seed, effort=EFFORT, worst=True, seconds=2.0)
    found = [c.input for c in hits[: FIRST_VIOLATING // 2]]
    chosen = np.vstack([points[wrong][: FIRST_VIOLATING - len(found)], points[~wrong][:FIRST_KEPT], *found])
    spread = float(np.ptp(scores(session.network, points), axis=0).max(initial=0.0))
    return Task(place, region, chosen, max(MARGIN * spread, 1e-6))


def _candidates(core: Network, node: Node, points: Array) -> np.ndarray:
    """The neurons of a layer that vary or are awake at the points, the largest first."""
    from repairsolver.network.forward import activations

    values = np.abs(activations(core, points)[node.name]).max(axis=0)
    return np.sort(np.argsort(-values, kind="stable")[:MOST_CANDIDATES]).astype(np.int64)


def _placed(
    session: Session, core: Network, layer: Layer, tasks: Sequence[Task], until: float
) -> list[NewGate] | None:
    gates = []
    for task in tasks:
        left = min(SOLVE_SECONDS, until - session.seconds)
        if left <= 0:
            return None
        found = place_gates(
            core, layer, task.region.unsafe, task.all_points, margin=task.margin, most=session.gating.most,
            solver=session.solver, seconds=left, seed=session.seed,
        )  # fmt: skip
        if found is None:
            return None
        if found.change.count > found.fewest + MOST_SPARE:
            return None
        if found.change.count:
            gates.append(
                NewGate(layer.node.name, layer.node.layer, task.place.lower, task.place.upper, found.change)
            )
    return gates or None


def _learn(session: Session, candidate: Candidate, tasks: Sequence[Task]) -> bool:
    """Take the points that the candidate gets wrong, or ask for a larger margin where there are none."""
    verdict, learned = candidate.verdict, False
    examples = list(verdict.counterexamples)
    if examples:
        examples += attack(
            candidate.network, session.prop, seed=session.seed + session.rounds, effort=EFFORT, worst=True,
            seconds=2.0,
        )  # fmt: skip
    for task in tasks:
        inside = [c.input for c in examples if _within(task.place, c.input)]
        if inside:
            task.extra.append(np.array(inside[:8]))
            learned = True
        elif verdict.status is not VerifyStatus.VIOLATED:
            task.margin *= GROWTH
            learned = True
    return learned


def _extended(session: Session, candidate: Candidate, tasks: list[Task]) -> list[Task]:
    """The tasks, with larger places where a violating input lies outside of all gates."""
    found = candidate.verdict.counterexamples
    outside = [c for c in found if not any(g.fires(c.input[None])[0] for g in candidate.edit.gates)]
    if not outside:
        return tasks
    verdict = replace(candidate.verdict, counterexamples=tuple(outside), open_boxes=None)
    places = extended(
        session.network, session.prop, [task.place for task in tasks], verdict, BOXES, 4 * SLACK
    )
    session.say(f"places extended by {len(outside)} violating inputs outside")
    return [_task(session, place) for place in places]


def _within(place: Place, point: Array) -> bool:
    return bool(((point >= place.lower) & (point <= place.upper)).all(axis=1).any())
