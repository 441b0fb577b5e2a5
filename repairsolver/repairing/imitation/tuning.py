"""Fine-tuning: only the neurons that are responsible change, by linear programs, gradients or a swarm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.network.graph import Network
from repairsolver.repairing.imitation.behaviour import Behaviours
from repairsolver.repairing.imitation.budget import Budget
from repairsolver.repairing.imitation.descent import Adam
from repairsolver.repairing.imitation.lessons import Lessons, lessons
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.repairing.imitation.responsibility import Localisation
from repairsolver.repairing.imitation.retraining import LOOK, WORSE, Say, imitated
from repairsolver.repairing.imitation.scaling import Chosen, chosen_neurons, scaled_forward, with_factors
from repairsolver.repairing.imitation.swarm import Swarm, swarm_minimum
from repairsolver.results import Array
from repairsolver.verification.engine import single_threaded

STEPS, RATE, LIMIT = 300, 0.02, 1.0
"""Of Adam on the factors; and how far a factor may go from 1, as published."""


def tuned_factors(
    network: Network,
    core: Network,
    behaviours: Behaviours,
    found: Localisation,
    how: Imitation,
    *,
    seconds: float,
    seed: int,
    say: Say,
) -> Network:
    """The network with one factor for each responsible neuron, by gradient or swarm.

    Args:
        found: the neurons to choose from, ranked.
        seconds: no step begins after this time.

    Raises:
        EditError: a factor has no place in the weights.
    """
    chosen = chosen_neurons(found.layers, found.chosen(how.tuning.neurons))
    size, budget = chosen[-1].place.stop, Budget.of(seconds, how.seconds)
    with single_threaded(), torch.inference_mode(False):
        graph = tensor_graph(core, torch.float32)
        if how.tuning.optimiser == "swarm":
            cost = swarm_cost(graph, chosen, behaviours, how.tuning.alpha)
            change, least, calls = swarm_minimum(cost, size, Swarm(), seed, budget)
            say(f"swarm: cost {least:.4g} after {calls} evaluations")
        else:
            study = lessons(behaviours, *imitated(core, behaviours, how))
            change = _descended(graph, chosen, study, how, budget, seed, say)
    return with_factors(network, core, chosen, 1.0 + change)


def swarm_cost(
    graph: TensorGraph,
    chosen: tuple[Chosen, ...],
    behaviours: Behaviours,
    alpha: float,
    base: float = 1.0,
) -> Callable[[Array], float]:
    """(1 - alpha) viol(N) + alpha viol(P) of the factors, less `base`.

    viol is the share of points that violate the property (whose decision is not their label). Points of the
    domain take no part, as published.
    """
    wrong = torch.tensor(behaviours.negatives, dtype=torch.float32)
    right = torch.tensor(behaviours.positives, dtype=torch.float32)

    def cost(change: Array) -> float:
        factors = torch.tensor(base + change, dtype=torch.float32)
        with torch.no_grad():
            first = scaled_forward(graph, chosen, wrong, factors).double().numpy()
            second = scaled_forward(graph, chosen, right, factors).double().numpy()
        failing = float((behaviours.lack(first) >= 0).mean())
        lost = float((behaviours.prop.violation(behaviours.positives, second) >= 0).mean())
        return (1 - alpha) * failing + alpha * lost

    return cost


def _descended(
    graph: TensorGraph,
    chosen: tuple[Chosen, ...],
    study: Lessons,
    how: Imitation,
    budget: Budget,
    seed: int,
    say: Say,
) -> Array:
    """The factors, less 1, by gradient steps on the loss of retraining."""
    rng = np.random.default_rng([seed, 10])
    change = torch.zeros(chosen[-1].place.stop, requires_grad=True)
    steps = Adam({"factors": change}, {"factors": RATE})
    best, least, focus = change.detach().numpy().copy(), np.inf, (np.zeros(0, dtype=np.int64),) * 2
    total = max(len(study.inputs) - study.wrong, 1)
    for number in range(STEPS + 1):
        over = number == STEPS or budget.over
        if number % LOOK == 0 or over:
            first, second, wrong, lost = study.focus(_outputs(graph, chosen, study.inputs, 1 + change))
            focus = first, second
            if (score := WORSE * wrong / study.wrong + lost / total) < least:
                best, least = change.detach().numpy().copy(), score
            if over or (wrong == 0 and 1 - lost / total >= how.fidelity):
                say(f"{number} steps: {wrong} of {study.wrong} negatives wrong, {lost} of {total} lost")
                break
        negatives, kept = study.batch(rng, focus)
        index = torch.from_numpy(np.concatenate([negatives, kept]))
        outputs = scaled_forward(graph, chosen, study.inputs[index], 1 + change)
        share = (1 + math.cos(math.pi * number / STEPS)) / 2
        steps.step(study.loss(outputs, negatives, kept), share)
        with torch.no_grad():
            change.clamp_(-LIMIT, LIMIT)
    return best.astype(np.float64)


def _outputs(graph: TensorGraph, chosen: tuple[Chosen, ...], points: Tensor, factors: Tensor) -> Array:
    with torch.no_grad():
        parts = [scaled_forward(graph, chosen, part, factors).double().numpy() for part in points.split(8192)]
    return np.concatenate(parts)
