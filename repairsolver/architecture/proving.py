"""Whether anything is cheaper: bounds by sweeps first, which also yield what is cheaper, then z3."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from layerwise.shapes import RankMismatch
from repairsolver.architecture.bounding.deadline import Deadline, TimeUpError
from repairsolver.architecture.bounding.grid import LIMITS, Limits
from repairsolver.architecture.bounding.grid_sweep import TreeSweep, is_tree
from repairsolver.architecture.bounding.grid_trace import Trace, UnrealisedError
from repairsolver.architecture.bounding.sweep import lower_bound, ranks_of
from repairsolver.architecture.collapse import collapsing
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Model
from repairsolver.architecture.search import layouts
from repairsolver.architecture.transitions import Step, sized, step, weight_edits

Variants = Sequence[tuple[Model, Step]]


@dataclass(frozen=True)
class Proof:
    """The cheapest repair that is known, and what is known of cheaper ones.

    Args:
        best: the repair.
        lower_bound: no repair is cheaper than this.
        engine: which engine closed the gap: grids, boxes or z3; "" where none did.
        ranks: the ranks that all tensors were allowed to have.
    """

    best: Step
    lower_bound: int = 0
    engine: str = ""
    ranks: tuple[int, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the repair is proved to be the cheapest."""
        return self.lower_bound >= self.best.cost


def prove_cheapest(model: Model, costs: Costs, best: Step, seconds: float) -> Proof:
    """Bound the price of all repairs from below, and adopt what turns out to be cheaper.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        best: the cheapest repair so far.
        seconds: time for each engine.
    """
    variants = list(layouts(model, costs))
    ranks = ranks_of(model, apply_edits(model, best.edits))
    proof = Proof(best, ranks=ranks)
    for engine in _engines(model, ranks):
        proof = engine(model, costs, variants, proof, seconds)
        if proof.closed:
            break
    return proof


def _engines(model: Model, ranks: tuple[int, ...]) -> Iterator[Callable[..., Proof]]:
    """Grids for trees of small tensors, boxes for others; z3 where they leave a gap."""
    if is_tree(model, ranks) and _small(model):
        yield from (_by_grids, _by_finer_grids)
    else:
        yield _by_boxes
    yield _by_z3


def _small(model: Model) -> bool:
    shapes = [*model.inputs.values(), *diagnose_model(model).shapes.values()]
    return all(size <= LIMITS[-1][len(shape)] for shape in shapes for size in shape)


def _by_grids(model: Model, costs: Costs, variants: Variants, proof: Proof, seconds: float) -> Proof:
    try:
        room = proof.best.cost - 1
        return _swept(model, costs, variants, proof, room, LIMITS[0], Deadline(seconds), seconds)
    except TimeUpError:
        return proof


def _by_finer_grids(model: Model, costs: Costs, variants: Variants, proof: Proof, seconds: float) -> Proof:
    """Budgets rise from the bound of the coarse grids: little room leaves few shapes to look at."""
    deadline, more = Deadline(seconds), 2
    try:
        while True:
            room = min((proof.lower_bound or proof.best.cost // 2) + more, proof.best.cost - 1)
            proof = _swept(model, costs, variants, proof, room, LIMITS[-1], deadline, seconds)
            if room >= proof.best.cost - 1 or proof.lower_bound <= room:
                return proof
            more = 2 * more + 1
    except TimeUpError:
        return proof


def _swept(
    model: Model,
    costs: Costs,
    variants: Variants,
    proof: Proof,
    room: int,
    limits: Limits,
    deadline: Deadline,
    seconds: float,
) -> Proof:
    """What grids say of repairs up to the price `room`: at least `room` + 1 where there are none."""
    sweeps = []
    for variant, first in variants:
        if room >= first.cost:
            sweep = TreeSweep(variant, costs, room - first.cost, proof.ranks, limits, deadline)
            sweeps.append((first.cost + sweep.run(), first, sweep))
    bound = min([*(reached for reached, _, _ in sweeps), room + 1.0])
    proof = Proof(proof.best, max(int(bound), proof.lower_bound), "grids", proof.ranks)
    for reached, first, sweep in sweeps:
        if reached == bound <= room:
            proof = _adopted(model, costs, proof, first, sweep, seconds)
    return proof


def _adopted(
    model: Model, costs: Costs, proof: Proof, first: Step, sweep: TreeSweep, seconds: float
) -> Proof:
    """The repair that the grids lead to, if numbers exist for it."""
    try:
        edits = Trace(sweep, Deadline(seconds)).edits()
    except (UnrealisedError, TimeUpError):
        return proof
    better = refitted(model, (*first.edits, *edits), costs)
    if better is None or better.cost >= proof.best.cost:
        return proof
    return Proof(better, proof.lower_bound, proof.engine, proof.ranks)


def _by_boxes(model: Model, costs: Costs, variants: Variants, proof: Proof, seconds: float) -> Proof:
    deadline = Deadline(seconds)
    bound = float(proof.best.cost)
    for variant, first in variants:
        room = proof.best.cost - 1 - first.cost
        if room >= 0:
            bound = min(bound, first.cost + lower_bound(variant, costs, room, proof.ranks, deadline))
    return Proof(proof.best, max(int(bound), proof.lower_bound), "boxes", proof.ranks)


def _by_z3(model: Model, costs: Costs, variants: Variants, proof: Proof, seconds: float) -> Proof:
    """Budgets from the bound upwards are refused until one is met; without a bound the one below the best."""
    from repairsolver.architecture.exact import refuse

    end = time.perf_counter() + seconds
    while not proof.closed and time.perf_counter() < end:
        budget = proof.lower_bound or proof.best.cost - 1
        answer = refuse(variants, costs, budget, end - time.perf_counter(), proof.ranks)
        if answer.status == "unknown":
            break
        if answer.status == "refused":
            proof = Proof(proof.best, budget + 1, "z3", proof.ranks)
            continue
        better = refitted(model, answer.edits, costs)
        if better is None or better.cost >= proof.best.cost:
            break
        proof = Proof(better, proof.lower_bound, "z3", proof.ranks)
    return proof


def refitted(model: Model, edits: tuple[Edit, ...], costs: Costs) -> Step | None:
    """Edits with given weights brought to what their layers then need; None if a fault is left.

    Also None if they make an axis collapse though the prices do not allow it.
    """
    draft = apply_edits(model, edits)
    shapes = diagnose_model(draft).shapes
    refits: list[Edit] = []
    for layer in draft.layers:
        if layer.weights and all(name in shapes for name in layer.inputs):
            try:
                outcome = draft.rule(layer)([shapes[name] for name in layer.inputs], layer.args)
            except RankMismatch:
                return None
            refits += weight_edits(layer, outcome, costs)
    found = step((*sized(model, edits), *refits))
    if not diagnose_model(apply_edits(model, found.edits)).valid:
        return None
    return found if costs.collapse or not collapsing(model, found.edits) else None
