"""What a repair is worth: a statement by samples, or as much of a proof as there is time for."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.property.files import check_fits
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.objective import Aim
from repairsolver.repairing.delta.sampled import Level, repair_by_samples
from repairsolver.repairing.engine import METHODS, repair_property
from repairsolver.repairing.result import Repair
from repairsolver.results import Array, Event, Limits, RepairStatus, Verdict, VerifyStatus
from repairsolver.sampling.binomial import check_level
from repairsolver.sampling.part import open_part
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.statement import Statement
from repairsolver.verification.engine import verify_property

GUARANTEES = ("pac", "auto")
"""Besides `exact`, which is `engine.repair_property` by itself."""

EXACT_SHARE, PROOF_SHARE = 0.6, 0.5
"""The share of the time for an exact repair; and of what is left then, for a proof of the final candidate."""


def repair_with_guarantee(
    network: Network,
    prop: Property,
    *,
    guarantee: str,
    epsilon: float,
    eta: float,
    method: str,
    limits: Limits,
    **wishes: Any,
) -> Repair:
    """Repair so that the result is shown by samples (`pac`), or proved as far as possible (`auto`).

    `auto` repairs exactly within its share of the time. If that ends without a proof, its best candidate is
    proved as far as time allows, and the boxes that stay open are sampled; if samples reject it, the change
    is made larger by the violations among them.

    Args:
        epsilon, eta: of the statement P(violation) <= epsilon with confidence 1 - eta.
        wishes: those of `repair_property`.

    Raises:
        EditError: no such guarantee; `auto` without a limit of time; `pac` by a method that cannot.
        SamplingError: epsilon or eta outside (0, 1).
    """
    check_fits(prop, network)
    level = Level(check_level("epsilon", epsilon), check_level("eta", eta))
    if guarantee not in GUARANTEES:
        raise EditError(f"unknown guarantee {guarantee!r}: choose one of exact, {', '.join(GUARANTEES)}")
    if method not in METHODS:
        raise EditError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    if guarantee == "pac":
        if method != "delta":
            raise EditError(
                f"method {method!r} repairs with guarantee 'exact' or 'auto' alone; 'pac' is for 'delta'"
            )
        return _by_samples(network, prop, level, None, limits, wishes)
    return _auto(network, prop, level, method, limits, wishes)


def _auto(
    network: Network, prop: Property, level: Level, method: str, limits: Limits, wishes: dict[str, Any]
) -> Repair:
    started = time.perf_counter()
    if limits.seconds is None:
        raise EditError(
            "guarantee 'auto' needs a limit of time (--timeout), as it turns to samples when the exact "
            "repair's share "
            "of it is over; without one choose 'exact' or 'pac'"
        )

    def left(share: float) -> Limits:
        seconds = share * ((limits.seconds or math.inf) - (time.perf_counter() - started))
        return replace(limits, seconds=max(seconds, 0.1))

    exact = repair_property(network, prop, method=method, limits=left(EXACT_SHARE), **wishes)
    if exact.status in (RepairStatus.REPAIRED, RepairStatus.INFEASIBLE):
        return exact
    known: Array | None = None
    if exact.network is not None:
        judged = _judged(exact, prop, level, left(PROOF_SHARE), wishes)
        if judged.status is not exact.status:
            return replace(judged, seconds=time.perf_counter() - started)
        known = _examples(judged)
        level = replace(level, attempts=level.attempts + 1)
    if method != "delta":
        return replace(exact, message=f"{exact.message}; samples do not accept it either")
    fix = _by_samples(network, prop, level, known, left(1 - PROOF_SHARE), wishes)
    if fix.status is RepairStatus.PAC:
        level = replace(level, attempts=level.attempts + fix.rounds)
        fix = _proved_partly(fix, prop, level, left(PROOF_SHARE), wishes)
    return replace(fix, seconds=time.perf_counter() - started)


def _by_samples(
    network: Network,
    prop: Property,
    level: Level,
    known: Array | None,
    limits: Limits,
    wishes: dict[str, Any],
) -> Repair:
    """The repair by samples, with the wishes as the method has them."""
    given = dict(wishes)
    layers = given.pop("layers") or "last"
    choice = Choice(layers, *(given.pop(name, None) for name in ("parameters", "neurons", "mask")))
    for name in ("gating", "imitation"):
        given.pop(name)
    names = ("norm", "weights", "max_change", "keep_soft", "minimise", "margin")
    norm, weights, most, soft, minimise, margin = (given.pop(name, None) for name in names)
    aim = Aim(norm, weights, most, np.inf if soft is None else soft, minimise, margin)
    return repair_by_samples(
        network, prop, level=level, known=known, choice=choice, aim=aim, limits=limits, **given
    )


def _judged(fix: Repair, prop: Property, level: Level, limits: Limits, wishes: dict[str, Any]) -> Repair:
    """A candidate proved as far as time allows and sampled on the rest; its status changes if that
    suffices."""
    assert fix.network is not None
    verdict = _proof(fix.network, prop, limits, wishes)
    before = fix.verdict
    if before is not None and before.open_boxes is not None and verdict.open_boxes is not None:
        verdict = max(verdict, before, key=lambda found: found.proved_volume)
    if verdict.status is VerifyStatus.HOLDS:
        return replace(
            fix, status=RepairStatus.REPAIRED, verdict=verdict, message="proved, in its second attempt"
        )
    if verdict.status is VerifyStatus.VIOLATED:
        return replace(fix, verdict=verdict)
    statement = _statement(fix.network, prop, verdict, level, limits, wishes)
    if not statement.accepted:
        return replace(fix, verdict=verdict, statement=statement)
    message = f"shown by samples: {statement.claim}"
    return replace(fix, status=RepairStatus.PAC, verdict=verdict, statement=statement, message=message)


def _proved_partly(
    fix: Repair, prop: Property, level: Level, limits: Limits, wishes: dict[str, Any]
) -> Repair:
    """A repair that samples accept, with what can be proved about it in the time left."""
    assert fix.network is not None
    verdict = _proof(fix.network, prop, limits, wishes)
    if verdict.status is VerifyStatus.HOLDS:
        return replace(fix, status=RepairStatus.REPAIRED, verdict=verdict, message="proved after all")
    if verdict.status is VerifyStatus.VIOLATED:
        message = f"{fix.message}; some inputs do violate, as an attack shows"
        return replace(fix, verdict=verdict, message=message)
    statement = _statement(fix.network, prop, verdict, level, limits, wishes)
    best = statement if statement.accepted else fix.statement
    return replace(fix, verdict=verdict, statement=best)


def _proof(network: Network, prop: Property, limits: Limits, wishes: dict[str, Any]) -> Verdict:
    return verify_property(
        network, prop, limits=limits, seed=wishes["seed"], on_event=wishes["on_event"], record=True
    )


def _statement(
    network: Network, prop: Property, verdict: Verdict, level: Level, limits: Limits, wishes: dict[str, Any]
) -> Statement:
    """Of the part that is not proved; of everything where nothing was bounded."""
    part = open_part(prop, verdict)
    if wishes["on_event"] is not None:
        share = 1.0 if part is None else part.share
        wishes["on_event"](
            Event("sample", f"the {share:.2%} of the volume that are not proved", verdict.seconds)
        )
    return sample_property(
        network, prop, epsilon=level.epsilon, eta=level.eta, limits=limits, seed=wishes["seed"],
        on_event=wishes["on_event"], part=part, spent=level.spent, shown=200,
    )  # fmt: skip


def _examples(fix: Repair) -> Array | None:
    """The violations that a judgement found."""
    found = [] if fix.verdict is None else list(fix.verdict.counterexamples)
    found += [] if fix.statement is None else list(fix.statement.counterexamples)
    return np.array([c.input for c in found]) if found else None
