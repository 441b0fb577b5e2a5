"""Retraining: gradient steps on all chosen weights, until nothing violates and decisions are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from repairsolver.network.graph import Network
from repairsolver.repairing.delta.unknowns import Block
from repairsolver.repairing.imitation.behaviour import Behaviours, Seen, values_at
from repairsolver.repairing.imitation.budget import Budget
from repairsolver.repairing.imitation.descent import Adam
from repairsolver.repairing.imitation.idle import woken
from repairsolver.repairing.imitation.labels import relabelled
from repairsolver.repairing.imitation.learner import Learner
from repairsolver.repairing.imitation.lessons import Lessons, lessons
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.results import Array
from repairsolver.verification.engine import single_threaded

LOOK = 40
"""Steps between two looks at all points."""

STRIDES = (1.0, 4.0, 16.0)
"""Of the steps in each cycle, in multiples of the rate."""

ACCEPTABLE = 0.01
"""The share of kept points lost, with no negative wrong, at which no further cycle begins."""

WORSE = 10.0
"""How many kept points a negative counts for, where a change is to be chosen."""

Say = Callable[[str], None]


def imitated(
    core: Network, behaviours: Behaviours, how: Imitation, seen: Seen | None = None
) -> tuple[Array, Array]:
    """The behaviours that negatives are to imitate [k, m], and those of the points to keep [p + d, m].

    Args:
        seen: the values of all tensors at negatives and at points to keep, where they are known.
    """
    before, kept = seen or values_at(core, behaviours)
    count, output = len(behaviours.positives), core.output
    features = output.inputs[0]
    targets = relabelled(
        behaviours,
        (before[output.name], kept[output.name][:count]),
        (before[features], kept[features][:count]),
        how.retraining,
    )
    return targets, kept[output.name]


def retrained(
    network: Network,
    core: Network,
    blocks: Callable[[Network], Sequence[Block]],
    behaviours: Behaviours,
    how: Imitation,
    *,
    seconds: float,
    seed: int,
    say: Say,
) -> Network:
    """The network after retraining.

    Args:
        core: without a final softmax.
        blocks: what may change, of a network with this graph.
        seconds: no step begins after this time.
    """
    budget = Budget.of(seconds, how.seconds)
    seen = values_at(core, behaviours)
    targets, kept = imitated(core, behaviours, how, seen)
    if how.retraining.wake:
        free = {block.node.name for block in blocks(network) if _whole(block)}
        fresh = woken(network, core, behaviours, targets, seen, free, seed)
        say("no idle neurons were woken" if fresh is network else "idle neurons were woken")
        core = fresh if core is network else _without_softmax(fresh)
        network = fresh
    learner = Learner(network, core, blocks(network))
    with single_threaded(), torch.inference_mode(False):
        steps = learner.optimiser()
        study = lessons(behaviours, targets, kept)
        return _trained(learner, steps, study, how, budget, seed, say)


def _trained(
    learner: Learner,
    steps: Adam,
    study: Lessons,
    how: Imitation,
    budget: Budget,
    seed: int,
    say: Say,
) -> Network:
    """Cycles of steps, each larger than the one before, until no negative is wrong and little is lost."""
    rng = np.random.default_rng([seed, 9])
    best, least = learner.snapshot(), np.inf
    most = how.retraining.steps
    total = max(len(study.inputs) - study.wrong, 1)
    for stride in STRIDES:
        for number in range(most + 1):
            over = number == most or budget.over
            if number % LOOK == 0 or over:
                first, second, wrong, lost = study.focus(learner.outputs(study.inputs))
                focus, score = (first, second), WORSE * wrong / study.wrong + lost / total
                if score < least:
                    best, least = learner.snapshot(), score
                if over or (wrong == 0 and 1 - lost / total >= how.fidelity):
                    break
            negatives, kept = study.batch(rng, focus)
            index = torch.from_numpy(np.concatenate([negatives, kept]))
            loss = study.loss(learner.graph().forward(study.inputs[index]), negatives, kept)
            warm = min(1.0, (number + 1) / LOOK)
            steps.step(loss, stride * warm * (1 + math.cos(math.pi * number / most)) / 2)
        say(f"{number} steps: {wrong} of {study.wrong} negatives wrong, {lost} of {total} kept points lost")
        if least <= ACCEPTABLE or budget.over:
            break
    return learner.written(best)


def _whole(block: Block) -> bool:
    """Whether all weights and biases of a layer may change."""
    return len(block.parameters) == 2 and block.size == sum(p.stored.size for p in block.parameters)


def _without_softmax(network: Network) -> Network:
    from dataclasses import replace

    return replace(network, nodes=network.nodes[:-1])
