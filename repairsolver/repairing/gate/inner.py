"""Gates inside the network: counterexample-guided, layer by layer, until the verifier proves a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repairsolver.network.gated import NewGate, gateable
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Clip, Elu, Gelu, LeakyRelu, Relu, Sigmoid, Tanh
from repairsolver.repairing.gate.hidden import correct_layer
from repairsolver.repairing.gate.placement import Layer, Placed, layer_of, place_gates
from repairsolver.repairing.gate.regions import BOXES, SLACK, Place, extended
from repairsolver.repairing.gate.relevance import SMALL, candidates
from repairsolver.repairing.gate.session import Candidate, Session, consider, prove
from repairsolver.repairing.gate.task import EFFORT, Task, begin, learn, within
from repairsolver.results import VerifyStatus
from repairsolver.verification.attack import attack
from repairsolver.verification.engine import MOST_SPLIT_INPUTS
from repairsolver.verification.query import strip_softmax

LAYERS = 2
"""Hidden layers that are tried, from the last one backwards, until one keeps nearly every decision."""

MOST_ROUNDS = 10
"""Proofs that are tried for one layer."""

MOST_PROGRAMS = 8
"""Programs before each proof, each about samples that the one before gets wrong."""

SOLVE_SECONDS = 10.0
"""The most time for one program."""

PROOF_SECONDS = 30.0
"""The most time for one proof."""

GROWTH, HOPELESS, REFUTED = 8.0, 64.0, 2.0
"""By how much the margin grows where a candidate is neither proved nor refuted, where less than half of the
volume is proved, and where it is refuted."""

MOST_SPARE = 8
"""Gates beyond the proved fewest, with which a layer is given up: its program is too hard."""

SHARE = 0.6
"""Of the time that is left: for one layer."""

ENOUGH = 0.9995
"""The share of decisions in the property's regions that a layer keeps, after which no other one is tried."""


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
    if _open(session, places) and (moved := correct_layer(session, core, layers, places)) is not None:
        session.reasons.append(
            "next to nothing of the regions can be proved: neurons are moved by what the scores lack"
        )
        consider(session, moved)
        return
    for node in layers:
        if session.left <= 0.5:
            break
        found = _repair_layer(session, core, node, places)
        if found is None:
            continue
        kept = consider(session, found)
        proved += 1
        if kept >= ENOUGH:
            break
    if not proved and (moved := correct_layer(session, core, layers, places)) is not None:
        session.reasons.append("no override was proved: neurons are moved by what the scores lack")
        consider(session, moved)
        return
    if layers and not proved:
        session.reasons.append(f"no override of the last {len(layers)} hidden layers was proved")


def _open(session: Session, places: Sequence[Place]) -> bool:
    """Whether a search by boxes left whole regions open: overrides are proved by the same bounds."""
    searched = all(int((r.upper > r.lower).sum()) <= MOST_SPLIT_INPUTS for r in session.prop.regions)
    return searched and any(place.whole(session.prop) for place in places)


def hidden_layers(network: Network) -> list[Node]:
    """The activations that can be gated, from the last one backwards."""
    kinds = (Relu, LeakyRelu, Clip, Sigmoid, Tanh, Elu, Gelu)
    found = [node for node in gateable(network) if isinstance(node.operator, kinds)]
    return [node for node in reversed(found) if node.name != network.output.name][:LAYERS]


def _repair_layer(session: Session, core: Network, node: Node, places: Sequence[Place]) -> Candidate | None:
    """Overrides of one layer in all places, proved; None if there are none in time."""
    until = session.seconds + SHARE * session.left if np.isfinite(session.left) else np.inf
    last = layer_of(core, node, np.arange(0)).last and node.size <= SMALL
    tasks = [begin(session, place, last) for place in places]
    layer = candidates(core, node, tasks)
    for _ in range(MOST_ROUNDS):
        gates = [gate for task in tasks for gate in [_placed(session, core, layer, task, until)]]
        if any(gate is None for gate in gates):
            return None
        used = [gate for gate in gates if gate is not None and gate.change.count]
        if not used:
            return None
        candidate = prove(session, used, f"layer {node.layer}", SHARE, most=PROOF_SECONDS)
        if candidate.proved:
            return candidate
        tasks = _extended(session, candidate, tasks, last)
        if session.seconds > until or not _learn(session, candidate, tasks):
            return None
    return None


def _placed(session: Session, core: Network, layer: Layer, task: Task, until: float) -> NewGate | None:
    """The gate of one place, right at its samples as far as possible; None if none is found in time."""
    found: Placed | None = None
    for _ in range(MOST_PROGRAMS):
        left = min(SOLVE_SECONDS, until - session.seconds)
        if left <= 0:
            return None
        found = place_gates(
            core, layer, task.wanted(session.decision), most=session.gating.most, solver=session.solver,
            seconds=left, seed=session.seed,
        )  # fmt: skip
        if found is None or found.change.count > found.fewest + MOST_SPARE:
            return None
        task.keeping = task.keeping and found.keeps
        if not learn(task, core, layer, found.change, session.decision):
            break
    assert found is not None
    return NewGate(layer.node.name, layer.node.layer, task.place.lower, task.place.upper, found.change)


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
        inside = [c.input for c in examples if within(task.place, c.input)]
        if inside:
            task.counterexamples.append(np.array(inside[:8]))
            task.margin *= REFUTED
            learned = True
        elif verdict.status is not VerifyStatus.VIOLATED:
            task.margin *= GROWTH if verdict.proved_volume > 0.5 else HOPELESS
            learned = True
    return learned


def _extended(session: Session, candidate: Candidate, tasks: list[Task], last: bool) -> list[Task]:
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
    return [begin(session, place, last) for place in places]
