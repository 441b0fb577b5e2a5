r"""Which layer to repair: the one whose cheap trial repair changes other decisions least.

For every layer alone, a change that meets the worst counterexamples and the given points is sought for a
few seconds (`sequential.least`). Layers are compared by

1. whether such a change was found,
2. the share of sampled inputs (of the regions, and the points to keep) that it decides as before, where
   differences of less than a percent do not count,
3. its norm, relative to the same norm of the layer's stored numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.decision import Decision, moved
from repairsolver.errors import EditError
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice, editable_nodes, label
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import Layer
from repairsolver.repairing.delta.loop import Session, search
from repairsolver.repairing.delta.sequential import least
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

AUTO = "auto"

WORST = 30
"""Counterexamples of the trial, worst first."""

SAMPLES = 1000
"""Inputs of each region whose decisions are compared."""

MARGIN = 0.1
"""Of the trial, as a share of what is missing at the worst."""

SHARE, MOST_SECONDS = 0.2, 60.0
"""The share of the time limit, and the most time, for all trials."""

ATTACK_SECONDS = 2.0

CLOSE = 0.01
"""Agreements that differ by less count as equal."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one layer did.

    Args:
        layer: its name in the network's graph.
        label: its name for people.
        cost: the objective of the change, relative to that of the stored numbers; infinite without one.
        agreement: the share of samples decided as before.
    """

    layer: str
    label: str
    cost: float
    agreement: float

    def __str__(self) -> str:
        if np.isinf(self.cost):
            return f"{self.label}: no change was found"
        return f"{self.label}: {self.agreement:.1%} of decisions kept, {self.cost:.3g} of its norm"


def choose_layer(begin: Callable[[Choice], Session], network: Network, choice: Choice) -> tuple[Choice, str]:
    """The choice with the most promising layer in place of "auto", and why, in a sentence.

    Args:
        begin: starts the repair of a choice, with the given points.

    Raises:
        EditError: neurons or entries are chosen, which makes sense for a given layer only.
    """
    if choice.neurons is not None or choice.mask is not None:
        raise EditError("neurons and entries are chosen in a given layer: name it instead of layers='auto'")
    nodes = editable_nodes(network)
    first = begin(replace(choice, layers=nodes[-1].name))
    found = search(first, network, 0.0, min(ATTACK_SECONDS, first.remaining))[:WORST]
    seconds = min(SHARE * first.remaining, MOST_SECONDS) / len(nodes)
    trials = []
    for node in nodes:
        try:
            session = begin(replace(choice, layers=node.name))
        except EditError as error:
            first.emit("localise", f"{label(node)}: left out: {error}")
            continue
        trials.append(_trial(session, found, seconds, label(node)))
        first.emit("localise", str(trials[-1]))
    if not trials:
        raise EditError(f"{network.name}: no layer can be edited with parameters={choice.parameters!r}")
    best = max((trial.agreement for trial in trials if np.isfinite(trial.cost)), default=0.0)
    good = [t for t in trials if np.isfinite(t.cost) and t.agreement >= best - CLOSE] or trials[-1:]
    chosen = min(good, key=lambda trial: trial.cost)
    why = f"layer {chosen.label} was chosen among {len(trials)} ({chosen})"
    first.emit("localise", why)
    return replace(choice, layers=chosen.layer), why


def _trial(session: Session, found: Array, seconds: float, name: str) -> Trial:
    """A change of one layer that meets the counterexamples, for a few seconds."""
    layer, requirements = session.layer, session.requirements
    node = layer.blocks[0].node.name
    if len(found):
        requirements.forbid(session.prop, found)
    problem = session.problem(0.0, seconds)
    problem = replace(problem, margin=MARGIN * problem.scale())
    delta = least(problem, shared=True).delta
    if delta is None:
        return Trial(node, name, np.inf, 0.0)
    stored = session.objective.value(layer.gathered({p.source.tensor: p.stored for p in layer.parameters}))
    relative = session.objective.value(delta) / stored if stored > 0 else session.objective.value(delta)
    return Trial(node, name, relative, agreement_of(session, layer, delta))


def agreement_of(session: Session, layer: Layer, delta: Array, decision: Decision = "both") -> float:
    """The share of samples whose decision stays: of both, the largest and the smallest score."""
    network = session.network
    kept = [group.inputs for group in session.requirements.groups.values() if group.kept]
    inputs = np.concatenate([_samples(network, session.prop, session.seed), *kept])
    if not len(inputs):
        return 1.0
    changed = HiddenLayers(network, layer.blocks, layer.scores).edited(delta)
    before, after = (activations(net, inputs)[layer.scores] for net in (network, changed))
    return 1.0 - float(moved(before, after, decision).mean())


def _samples(network: Network, prop: Property, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    parts = [np.zeros((0, network.input_size))]
    for region in prop.regions:
        points = rng.uniform(region.lower, region.upper, size=(SAMPLES, network.input_size))
        parts.append(into_box(points, region, network.element))
    return np.concatenate(parts)
