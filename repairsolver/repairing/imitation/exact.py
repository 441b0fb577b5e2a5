r"""Fine-tuning by linear programs: the least change of the responsible neurons' weights and biases.

All negatives are to be right with a margin, all decisions at positives and domain to stay: rows that are
affine in the change for a last layer, and a sequence of affine models for others (`delta.sequential`). The
programs start with some of the points; those that their solution gets wrong are added, until none is. Where
no change of these neurons is found, the last layer is changed; where it cannot meet all points either, points
to keep may be lost, at a price.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from repairsolver.decision import SIDES, Side
from repairsolver.errors import SolverError
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import ROLES, Choice, sources
from repairsolver.repairing.delta.candidate import make_candidate
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements, only_compares
from repairsolver.repairing.delta.sequential import least
from repairsolver.repairing.imitation.behaviour import Behaviours, Ids
from repairsolver.repairing.imitation.responsibility import Localisation
from repairsolver.repairing.imitation.retraining import Say
from repairsolver.repairing.stored import stored_tensors
from repairsolver.results import Array

FIRST, MORE, ROUNDS = 500, 300, 8
"""Points of each kind that a program starts with; those that are added after each; programs at most."""

MARGIN = 0.05
"""Of negatives, as a share of what is missing at the worst."""

SHARE = 0.4
"""The share of the time for the chosen neurons; then the last layer is tried, whose program is convex."""

PRICE = 100.0
"""Of losing a point to keep by one unit of output, in units of the change's norm over the worst violation."""


def least_tuning(
    network: Network,
    prop: Property,
    behaviours: Behaviours,
    choice: Choice,
    outputs: Choice | None,
    aim: Aim,
    *,
    solver: str,
    seconds: float,
    seed: int,
    say: Say,
) -> Network:
    """The network after the least change found; the network itself where there was none in time.

    Args:
        choice: the entries that may change, see `tunable`.
        outputs: those that may, where no change of the first is found; None: no others.
    """
    end = time.perf_counter() + seconds
    outputs = choice if outputs is None else outputs
    for what, penalty, share in ((choice, np.inf, SHARE), (outputs, np.inf, 0.5), (outputs, PRICE, 1.0)):
        until = time.perf_counter() + share * (end - time.perf_counter())
        found = _tuned(network, prop, behaviours, what, aim, penalty, solver, until, seed, say)
        if found is not None:
            return found
        say(f"no change of {what.layers} meets all points that count")
    return network


def tunable(network: Network, found: Localisation, count: int, parameters: str = "both") -> Choice:
    """The incoming weights and the biases (or one of the two) of the most responsible neurons."""
    stored, chosen = stored_tensors(network), found.chosen(count)
    mask: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]] = {}
    for layer in found.layers:
        for role, source in sources(layer.affine) if layer.name in chosen else ():
            if role not in ROLES[parameters]:
                continue
            entries = np.zeros(stored[source.tensor].shape, dtype=bool)
            if role == "bias":
                entries.reshape(-1)[chosen[layer.name]] = True
            elif source.transposed:
                entries[:, chosen[layer.name]] = True
            else:
                entries[chosen[layer.name]] = True
            mask[source.tensor] = entries
    names = [layer.affine.name for layer in found.layers if layer.name in chosen]
    return Choice(tuple(names), parameters, None, mask)


def _tuned(
    network: Network,
    prop: Property,
    behaviours: Behaviours,
    choice: Choice,
    aim: Aim,
    penalty: float,
    solver: str,
    until: float,
    seed: int,
    say: Say,
) -> Network | None:
    rng = np.random.default_rng([seed, 11])
    layer = find_layers(network, choice, comparing=only_compares(prop) or behaviours.labels is not None)
    objective = objective_for(layer, aim)
    requirements = Requirements(network, layer)
    wrong, kept = behaviours.negatives, behaviours.kept
    before = behaviours.decided(network(kept)) if network.output_size > 1 else None
    _demand(requirements, prop, behaviours, _some(rng, len(wrong)), _some(rng, len(kept)), before, penalty)
    best: tuple[float, Network] | None = None
    for _ in range(ROUNDS):
        problem = LeastChange(requirements, 0.0, objective, solver, until, np.inf, seed)
        scale = problem.scale()
        problem = replace(problem, margin=MARGIN * scale)
        try:
            optimum = least(problem, shared=True)
        except SolverError as error:
            say(f"{solver} gave up on a program of {len(requirements)} points: {error}")
            break
        if optimum.delta is None:
            break
        made = make_candidate(network, layer, optimum.delta, problem.cost, problem.margin).network
        failing = np.flatnonzero(behaviours.lack(made(wrong)) >= 0)
        lost = np.zeros(0, dtype=np.int64)
        if before is not None:
            lost = np.flatnonzero((behaviours.decided(made(kept)) != before).any(axis=1))
        score = 10 * len(failing) / len(wrong) + len(lost) / max(len(kept), 1)
        say(
            f"{len(requirements)} points: {len(failing)} of {len(wrong)} negatives wrong, {len(lost)} of "
            f"{len(kept)} kept points lost"
        )
        if best is None or score < best[0]:
            best = score, made
        if (not len(failing) and (not len(lost) or np.isfinite(penalty))) or time.perf_counter() > until:
            break
        count = len(requirements)
        _demand(requirements, prop, behaviours, failing[:MORE], lost[:MORE], before, penalty)
        if len(requirements) == count:
            break
    return None if best is None else best[1]


def _some(rng: np.random.Generator, count: int) -> Ids:
    return np.sort(rng.permutation(count)[:FIRST])


def _demand(
    requirements: Requirements,
    prop: Property,
    behaviours: Behaviours,
    wrong: Ids,
    kept: Ids,
    before: Ids | None,
    penalty: float,
) -> None:
    """Ask for these negatives and these points to keep."""
    negatives: Array = behaviours.negatives[wrong]
    if behaviours.labels is not None:
        side: Side = "min" if behaviours.decision == "min" else "max"
        requirements.decide(negatives, behaviours.labels[wrong], side, role="repair")
    elif len(negatives):
        requirements.forbid(prop, negatives)
    if before is not None and len(kept):
        inputs = behaviours.kept[kept]
        for side, own in zip(SIDES[behaviours.decision], before[kept].T, strict=True):
            requirements.decide(inputs, own, side, role="keep", penalty=penalty)
