"""The cheapest repair of a layer graph, with a proof that no cheaper one exists, and its equals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repairsolver.architecture.collapse import collapsing
from repairsolver.architecture.costs import Costs, default_costs
from repairsolver.architecture.diagnosis import Diagnosis, diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Model
from repairsolver.architecture.proving import Proof, prove_cheapest
from repairsolver.architecture.ranking import irredundant, without
from repairsolver.architecture.search import search
from repairsolver.architecture.transitions import Step
from repairsolver.errors import SoundnessError

if TYPE_CHECKING:
    from repairsolver.architecture.torch_module.writing import RepairedModule


REACH = 3
"""A repair that collapses no axis is looked for up to so many times the price of one that does."""
SHOWN = 12
"""No more repairs than these are kept of what the search finds."""


@dataclass(frozen=True)
class Reason:
    """Why an edit is needed: the fault that remains without it."""

    edit: Edit
    fault: str

    def __str__(self) -> str:
        return f"{self.edit}\n    without it: {self.fault}"


@dataclass(frozen=True)
class ArchitectureRepair:
    """A repaired layer graph.

    Args:
        status: valid (nothing to do), repaired, or unknown (no repair was found).
        model: the model after the edits; the given one where there are none.
        edits: the changes.
        cost: their price.
        lower_bound: no edits of a smaller price repair the model.
        engine: what proved that the price is the least: grids, boxes, z3; "" where nothing did.
        reasons: for every edit the fault that remains without it.
        alternatives: other repairs, cheapest first.
        listed: what `every` came to: all repairs of this price, all but for their numbers, some, or "".
        diagnosis: what is wrong with the given model.
        seconds: what the search and the proof took.
        given: the model before the edits.
        collapses: whether edits leave one position of a spatial axis where there are several, as no other
            repair was found.
    """

    status: Literal["valid", "repaired", "unknown"]
    model: Model
    diagnosis: Diagnosis
    edits: tuple[Edit, ...] = ()
    cost: int = 0
    lower_bound: int = 0
    engine: str = ""
    reasons: tuple[Reason, ...] = ()
    alternatives: tuple[tuple[Edit, ...], ...] = ()
    listed: Literal["", "all", "all kinds", "some"] = ""
    seconds: tuple[float, float] = (0.0, 0.0)
    given: Model | None = None
    collapses: bool = False

    def save(self, path: str | Path) -> tuple[str, ...]:
        """Write the repaired model, as ONNX if it was read from ONNX and else as a JSON layer list.

        Returns: what became of given weights that did not fit, a line each.

        Raises:
            OSError: the path cannot be written to.
        """
        from repairsolver.architecture.saving import save_repair

        return save_repair(self, path)

    def module(self) -> RepairedModule:
        """The repaired copy of a torch module, with the lines of source that change.

        Raises:
            ArchitectureError: the model was not read from a torch module.
        """
        from repairsolver.architecture.torch_module.writing import write_module

        return write_module(self.given or self.model, self.edits)

    @property
    def proved(self) -> bool:
        """Whether the repair is proved to be the cheapest."""
        return self.status == "valid" or (self.status == "repaired" and self.lower_bound >= self.cost)

    @property
    def equals(self) -> tuple[tuple[Edit, ...], ...]:
        """The alternatives of the same price."""
        return tuple(edits for edits in self.alternatives if sum(e.cost for e in edits) == self.cost)

    def __repr__(self) -> str:
        proof = "proved to be the cheapest" if self.proved else f"proved lower bound {self.lower_bound}"
        head = f"ArchitectureRepair: {self.status}, price {self.cost}, {proof}"
        return "\n  ".join([head, *map(str, self.edits)])


def repair_model(
    model: Model,
    costs: Costs | None = None,
    *,
    prove: bool = True,
    seconds: float = 10.0,
    every: int = 0,
) -> ArchitectureRepair:
    """Find the cheapest edits that make a layer graph valid.

    Args:
        model: the layer graph.
        costs: prices of the edits; by default those of `default_costs`.
        prove: decide whether something cheaper exists; what is found so is adopted.
        seconds: time for each engine that decides this.
        every: list all repairs of the least price, up to so many; needs the proof.

    Raises:
        SoundnessError: an edited model still has faults; please report it.
    """
    prices = costs or default_costs(model.framework)
    start = time.perf_counter()
    diagnosis = diagnose_model(model)
    if diagnosis.valid:
        return ArchitectureRepair("valid", model, diagnosis, given=model)
    steps = _searched(model, prices)
    if not steps and not prices.collapse:
        prices, steps = _collapsing(model, prices, seconds if prove else 0.0)
    searched = time.perf_counter()
    if not steps:
        return ArchitectureRepair("unknown", model, diagnosis, seconds=(searched - start, 0.0))
    proof = prove_cheapest(model, prices, steps[0], seconds) if prove else Proof(steps[0])
    best, ways = proof.best, sorted({way.words: way for way in (proof.best, *steps)}.values())
    done = time.perf_counter()
    listed: Literal["", "all", "all kinds", "some"] = ""
    if every:
        ways, listed = _every(model, prices, proof, ways, every, seconds)
        best = ways[0]
    repaired = _checked(model, best.edits)
    return ArchitectureRepair(
        "repaired",
        repaired,
        diagnosis,
        best.edits,
        best.cost,
        proof.lower_bound,
        proof.engine if proof.closed else "",
        tuple(_reasons(model, best.edits)),
        tuple(way.edits for way in ways[1:]),
        listed,
        seconds=(searched - start, done - searched),
        given=model,
        collapses=prices.collapse and bool(collapsing(model, best.edits)),
    )


def _searched(model: Model, costs: Costs) -> list[Step]:
    return list(islice(irredundant(model, search(model, costs)), SHOWN))


def _collapsing(model: Model, prices: Costs, seconds: float) -> tuple[Costs, list[Step]]:
    """Repairs for a model of which the search finds none that keeps all spatial axes.

    The engines are asked for one that does, up to `REACH` times the price.
    """
    free = replace(prices, collapse=True)
    steps = _searched(model, free)
    if steps and seconds:
        other = prove_cheapest(model, prices, Step(REACH * steps[0].cost), seconds).best
        if other.edits:
            return prices, [other]
    return free, steps


def _every(
    model: Model, costs: Costs, proof: Proof, met: list[Step], limit: int, seconds: float
) -> tuple[list[Step], Literal["all", "all kinds", "some"]]:
    """What the search met, and what z3 lists, of one price first."""
    from repairsolver.architecture.listing import list_repairs

    if not proof.closed:
        return met, "some"
    price = proof.best.cost
    found = list_repairs(model, costs, price, limit=limit, seconds=seconds, ranks=proof.ranks)
    known = {way.words for way in met}
    new = [way for way in found.repairs if way.words not in known]
    room = limit - sum(way.cost == price for way in met)
    ways = sorted([*met, *islice(irredundant(model, new), max(room, 0))])
    return ways, "all" if found.complete else "all kinds" if found.kinds else "some"


def _checked(model: Model, edits: tuple[Edit, ...]) -> Model:
    repaired = apply_edits(model, edits)
    left = diagnose_model(repaired)
    if not left.valid:
        raise SoundnessError(f"after the edits there is still a fault: {left.faults[0]}: report this")
    return repaired


def _reasons(model: Model, edits: tuple[Edit, ...]) -> Iterable[Reason]:
    for edit in edits:
        faults = diagnose_model(apply_edits(model, without(edits, edit))).faults
        yield Reason(edit, str(faults[0]) if faults else "none: its price is paid by another edit")
