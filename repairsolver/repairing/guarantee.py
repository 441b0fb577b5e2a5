"""What a repair is worth: a statement by samples, or as much of a proof as there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.property.files import check_fits
from repairsolver.property.specification import Property
from repairsolver.repairing.deciding import settle
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.objective import Aim
from repairsolver.repairing.delta.sampled import Level, repair_by_samples
from repairsolver.repairing.engine import METHODS, repair_property
from repairsolver.repairing.result import Repair
from repairsolver.results import Array, Event, Interrupted, Limits, RepairStatus, Verdict, VerifyStatus
from repairsolver.sampling.binomial import check_level
from repairsolver.sampling.part import open_part
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.statement import Statement
from repairsolver.verification.engine import verify_property

GUARANTEES = ("pac", "auto")
"""Besides `exact`, which is `engine.repair_property` by itself."""

MIN_AGREEMENT = 0.99
"""The share of decisions that a proved repair must keep for `auto` to take it at once."""

EXACT_SHARE, PROOF_SHARE, SAMPLES_SHARE = 0.6, 0.5, 0.75
"""The share of the time for an exact repair; of what is left then, for a proof of the final candidate; and
for a repair by samples where that candidate keeps too few decisions to be wanted."""


def repair_with_guarantee(
    network: Network,
    prop: Property,
    *,
    guarantee: str,
    epsilon: float,
    eta: float,
    method: str,
    limits: Limits,
    min_agreement: float = MIN_AGREEMENT,
    **wishes: Any,
) -> Repair:
    """Repair so that the result is shown by samples (`pac`), or proved as far as possible (`auto`).

    `auto` repairs exactly within its share of the time. If that ends without a proof, its best candidate is
    proved as far as time allows, and the boxes that stay open are sampled; if samples reject it, the change
    is made larger by the violations among them. What agrees with the network less than `min_agreement` on
    the property's domain, proved or not, is not taken where the repair by samples agrees more.

    Args:
        epsilon, eta: of the statement P(violation) <= epsilon with confidence 1 - eta.
        wishes: those of `repair_property`.

    Raises:
        EditError: no such guarantee; `min_agreement` outside [0, 1]; `auto` without a limit of time; `pac` by
            a method that cannot.
        SamplingError: epsilon or eta outside (0, 1).
    """
    check_fits(prop, network)
    level = Level(check_level("epsilon", epsilon), check_level("eta", eta))
    if guarantee not in GUARANTEES:
        raise EditError(f"unknown guarantee {guarantee!r}: choose one of exact, {', '.join(GUARANTEES)}")
    if not 0 <= min_agreement <= 1:
        raise EditError(f"min_agreement is {min_agreement}, expected a share from 0 to 1, such as 0.99")
    if method not in METHODS:
        raise EditError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    settled = settle(
        wishes.get("decision", "auto"), network, prop, (wishes.get("points"),), wishes.get("keep")
    )
    wishes = wishes | {"decision": settled.decision}
    if guarantee == "pac":
        if method != "delta":
            raise EditError(
                f"method {method!r} repairs with guarantee 'exact' or 'auto' alone; 'pac' is for 'delta'"
            )
        return settled.told(_by_samples(network, prop, level, None, limits, wishes), prop)
    return settled.told(_auto(network, prop, level, method, limits, min_agreement, wishes), prop)


def _auto(
    network: Network,
    prop: Property,
    level: Level,
    method: str,
    limits: Limits,
    least: float,
    wishes: dict[str, Any],
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
    shown = exact.status is RepairStatus.REPAIRED
    if exact.status is RepairStatus.INFEASIBLE or (shown and _agreement(exact) >= least):
        return exact
    if shown:
        return _kept_more(exact, network, prop, level, method, left(1.0), least, wishes, started)
    low = ""
    if method == "delta" and exact.network is not None and _agreement(exact) < least:
        low = _low("the best candidate of the exact repair", exact, least)
        fix = _by_samples(network, prop, level, None, left(SAMPLES_SHARE), wishes)
        level = replace(level, attempts=max(fix.rounds, 1))
        if fix.status is RepairStatus.PAC and _agreement(fix) > _agreement(exact):
            fix = _instead(fix, low, prop, level, left(PROOF_SHARE), wishes)
            return replace(fix, seconds=time.perf_counter() - started)
    fix = _unproved(exact, network, prop, level, method, left, wishes)
    if low and fix.network is exact.network:
        fix = _noted(fix, f"{low}; samples accept no repair that keeps more")
    return replace(fix, seconds=time.perf_counter() - started)


def _unproved(
    exact: Repair,
    network: Network,
    prop: Property,
    level: Level,
    method: str,
    left: Callable[[float], Limits],
    wishes: dict[str, Any],
) -> Repair:
    """The candidate of an exact repair if samples accept it; else the change that mends what they found."""
    known: Array | None = None
    if exact.network is not None:
        judged = _judged(exact, prop, level, left(PROOF_SHARE), wishes)
        if judged.status is not exact.status:
            return judged
        known = _examples(judged)
        level = replace(level, attempts=level.attempts + 1)
    if method != "delta":
        return replace(exact, message=f"{exact.message}; samples do not accept it either")
    fix = _by_samples(network, prop, level, known, left(1 - PROOF_SHARE), wishes)
    if fix.status is RepairStatus.PAC:
        level = replace(level, attempts=level.attempts + fix.rounds)
        fix = _proved_partly(fix, prop, level, left(PROOF_SHARE), wishes)
    return fix


def _kept_more(
    exact: Repair,
    network: Network,
    prop: Property,
    level: Level,
    method: str,
    limits: Limits,
    least: float,
    wishes: dict[str, Any],
    started: float,
) -> Repair:
    """A repair by samples where it keeps more decisions than a proved one that keeps too few."""
    low = _low("the proved repair", exact, least)
    if method != "delta":
        return _noted(exact, f"{low}; only method 'delta' repairs by samples")
    share = None if limits.seconds is None else limits.seconds * (1 - PROOF_SHARE)
    try:
        fix = _by_samples(network, prop, level, None, replace(limits, seconds=share), wishes)
    except KeyboardInterrupt:
        raise Interrupted(replace(exact, message=f"{exact.message}; {low}; interrupted")) from None
    if fix.status is not RepairStatus.PAC:
        return _noted(exact, f"{low}; samples accept no other repair in time")
    if _agreement(fix) <= _agreement(exact):
        why = f"the one by samples on {_agreement(fix):.2%}, so that the proved one is kept"
        return _noted(exact, f"{low}; {why}")
    level = replace(level, attempts=fix.rounds)
    fix = _instead(fix, low, prop, level, replace(limits, seconds=share), wishes)
    return replace(fix, seconds=time.perf_counter() - started)


def _low(what: str, fix: Repair, least: float) -> str:
    return f"{what} agrees with the network on {_agreement(fix):.2%}, less than {least:.2%}"


def _instead(
    fix: Repair, why: str, prop: Property, level: Level, limits: Limits, wishes: dict[str, Any]
) -> Repair:
    """A repair by samples with what can be proved of it, taken instead of one that keeps less."""
    fix = _proved_partly(fix, prop, level, limits, wishes)
    return _noted(fix, f"taken since {why}, and this one on {_agreement(fix):.2%}")


def _noted(fix: Repair, why: str) -> Repair:
    """With a reason that the answer names, too."""
    remark = f"{why[0].upper()}{why[1:]}."
    return replace(fix, message=f"{fix.message}; {why}", remarks=(*fix.remarks, remark))


def _agreement(fix: Repair) -> float:
    """The share of inputs of the whole domain whose decision is kept; 1 where there are no decisions."""
    if fix.fidelity is None or fix.fidelity.agreement is None:
        return 1.0
    return fix.fidelity.agreement.value


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
    layers = given.pop("layers")
    layers = "last" if layers is None else layers
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
    verdict = _proof(fix, prop, limits, wishes)
    before = fix.verdict
    if before is not None and before.open_boxes is not None and verdict.open_boxes is not None:
        verdict = max(verdict, before, key=lambda found: found.proved_volume)
    if verdict.status is VerifyStatus.HOLDS:
        return replace(
            fix, status=RepairStatus.REPAIRED, verdict=verdict, message="proved, in its second attempt"
        )
    if verdict.status is VerifyStatus.VIOLATED:
        return replace(fix, verdict=verdict)
    statement = _statement(fix, prop, verdict, level, limits, wishes)
    if not statement.accepted:
        return replace(fix, verdict=verdict, statement=statement)
    message = f"shown by samples: {statement.claim}"
    return replace(fix, status=RepairStatus.PAC, verdict=verdict, statement=statement, message=message)


def _proved_partly(
    fix: Repair, prop: Property, level: Level, limits: Limits, wishes: dict[str, Any]
) -> Repair:
    """A repair that samples accept, with what can be proved about it in the time left."""
    assert fix.network is not None
    verdict = _proof(fix, prop, limits, wishes)
    if verdict.status is VerifyStatus.HOLDS:
        return replace(fix, status=RepairStatus.REPAIRED, verdict=verdict, message="proved after all")
    if verdict.status is VerifyStatus.VIOLATED:
        message = f"{fix.message}; some inputs do violate, as an attack shows"
        return replace(fix, verdict=verdict, message=message)
    statement = _statement(fix, prop, verdict, level, limits, wishes)
    best = statement if statement.accepted else fix.statement
    return replace(fix, verdict=verdict, statement=best)


def _proof(fix: Repair, prop: Property, limits: Limits, wishes: dict[str, Any]) -> Verdict:
    assert fix.network is not None
    told = wishes["on_event"]
    try:
        return verify_property(
            fix.network, prop, limits=limits, seed=wishes["seed"], on_event=told, record=True
        )
    except KeyboardInterrupt:
        raise Interrupted(replace(fix, message=f"{fix.message}; interrupted")) from None


def _statement(
    fix: Repair, prop: Property, verdict: Verdict, level: Level, limits: Limits, wishes: dict[str, Any]
) -> Statement:
    """Of the part that is not proved; of everything where nothing was bounded."""
    part = open_part(prop, verdict)
    if wishes["on_event"] is not None:
        share = 1.0 if part is None else part.share
        wishes["on_event"](
            Event("sample", f"the {share:.2%} of the volume that are not proved", verdict.seconds)
        )
    assert fix.network is not None
    try:
        return sample_property(
            fix.network, prop, epsilon=level.epsilon, eta=level.eta, limits=limits, seed=wishes["seed"],
            on_event=wishes["on_event"], part=part, spent=level.spent, shown=200,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(replace(fix, verdict=verdict, message=f"{fix.message}; interrupted")) from None


def _examples(fix: Repair) -> Array | None:
    """The violations that a judgement found."""
    found = [] if fix.verdict is None else list(fix.verdict.counterexamples)
    found += [] if fix.statement is None else list(fix.statement.counterexamples)
    return np.array([c.input for c in found]) if found else None
