"""Method `delta`: the least change of the chosen layers that repairs a network, proved."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from repairsolver.decision import Decision
from repairsolver.metrics import Fidelity, fidelity
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta import giving_up, robust
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.attempts import attempt
from repairsolver.repairing.delta.behaviour import behavioural
from repairsolver.repairing.delta.candidate import Candidate, edit_of
from repairsolver.repairing.delta.core import find_core
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.localise import AUTO, choose_layer
from repairsolver.repairing.delta.loop import (
    BOUND_SECONDS,
    Session,
    learn,
    search,
    update_bound,
    verify,
)
from repairsolver.repairing.delta.margin_search import first_margin, search_margins
from repairsolver.repairing.delta.objective import Aim, check_solver, objective_for
from repairsolver.repairing.delta.one_margin import one_margin
from repairsolver.repairing.delta.points import add_points, missed_labels, strays_of
from repairsolver.repairing.delta.pressing import press_bound
from repairsolver.repairing.delta.requirements import Requirements, only_compares
from repairsolver.repairing.delta.resumed import Resumed, without_basis
from repairsolver.repairing.delta.sequential import least_bound
from repairsolver.repairing.delta.sparing import spare_decisions
from repairsolver.repairing.delta.squared_moves import squared_moves
from repairsolver.repairing.explanation import Core
from repairsolver.repairing.result import Delta, Repair
from repairsolver.results import (
    Array,
    Counterexample,
    Interrupted,
    Limits,
    OnEvent,
    RepairStatus,
    Verdict,
    VerifyStatus,
    counted,
)
from repairsolver.solvers import Feature, SolutionStatus, get_solver
from repairsolver.verification.replay import replayed

FIRST_ATTACK_SECONDS = 3.0

FIDELITY_SECONDS = 20.0
"""Longest measurement of the fidelity on many regions with many inputs: hundreds would take minutes."""

QUADRATIC = "projection"
"""Instead of HiGHS for l2: its quadratic solver ends in errors on a third of these programs."""

TIE_SHARE = 0.5
"""The share of the gap that may be spent on choosing among almost equal changes."""

SHOWN_REGIONS = 20
"""Of those that are not proved."""

CORE_SECONDS, CORE_SHARE = 5.0, 0.1
"""The most time, and the share of it, for a contradiction that nothing hints at."""

MOST_SHOWN = 20
"""Counterexamples of the original network that a result keeps."""

NO_MARGIN = (
    "no candidate met every point found so far with a margin; there is none where a property or a label can "
    "at best be met with equality, which violates it"
)


def repair_delta(
    network: Network,
    prop: Property,
    *,
    choice: Choice,
    aim: Aim,
    gap: float,
    solver: str,
    points: PointSet | None,
    keep: PointSet | None,
    decision: Decision,
    limits: Limits,
    seed: int,
    on_event: OnEvent | None,
) -> Repair:
    """See `repairsolver.repairing.engine.repair_property`."""
    begin = partial(
        begin_session, network, prop, started=time.perf_counter(), aim=aim, gap=gap, solver=solver,
        points=points, keep=keep, decision=decision, limits=limits, seed=seed, on_event=on_event,
    )  # fmt: skip
    missed = missed_labels(network, keep, decision)
    strays = (*strays_of(prop, points), *missed, *without_basis(solver))
    if choice.layers == AUTO:
        choice, why = choose_layer(begin, network, choice)
        fix = _finished(begin(choice), points, keep, decision)
        return replace(fix, message=f"{fix.message}; {why}", remarks=strays)
    fix = _finished(begin(choice), points, keep, decision)
    return replace(fix, remarks=strays)


def begin_session(
    network: Network,
    prop: Property,
    choice: Choice,
    *,
    started: float,
    aim: Aim,
    gap: float,
    solver: str,
    points: PointSet | None,
    keep: PointSet | None,
    decision: Decision,
    limits: Limits,
    seed: int,
    on_event: OnEvent | None,
) -> Session:
    """The repair of a choice as it starts, with the given points."""
    layer = find_layers(network, choice, comparing=only_compares(prop))
    requirements = Requirements(network, layer)
    objective = objective_for(layer, aim)
    used = QUADRATIC if (objective.norm, solver) == ("l2", "highs") else solver
    check_solver(used, objective)
    if aim.minimise == "behaviour":
        measured = squared_moves if aim.norm == "l2" else behavioural
        objective = measured(objective, requirements, prop, keep, decision, seed)
    session = Session(network, prop, layer, requirements, objective, gap, used, limits, seed, on_event)
    session.started = started
    session.margin, session.give_up = aim.margin, aim.give_up
    giving_up.check(session, keep)
    session.resumed = Resumed(used, seed, session.watch) if layer.affine else None
    add_points(requirements, prop, points, keep, decision, aim.keep_penalty, aim.prefer, aim.prefer_penalty)
    return session


def _finished(session: Session, points: PointSet | None, keep: PointSet | None, decision: Decision) -> Repair:
    """The repair, or what Ctrl-C leaves of it."""
    try:
        return giving_up.told(session, _repaired(session, points, keep, decision))
    except KeyboardInterrupt:
        raise Interrupted(giving_up.told(session, _stopped(session))) from None


def _repaired(session: Session, points: PointSet | None, keep: PointSet | None, decision: Decision) -> Repair:
    requirements = session.requirements
    verdict = find_violations(session)
    if not requirements.missed(session.network):
        return _nothing_to_do(session, verdict)
    if (end := _overlap(session) or _contradiction(session, points, keep)) is not None:
        return end
    if attempt(session) or (session.remaining <= 0 and not session.layer.affine):
        return _result(session, decision, points, keep)
    if session.objective.squares is None:
        spare_decisions(session, decision, TIE_SHARE * session.gap)
    plain = all(group.plain for group in requirements.groups.values())
    if not one_margin(session):
        start = first_margin(session)
        if robust.applicable(session):
            robust.search_boxes(session, start)
        if not session.finished:
            search_margins(session, start, shared=True)
        if not session.finished and not plain:
            search_margins(session, start, shared=False)
    if session.best is None and (end := _contradiction(session, points, keep)) is not None:
        return end
    press_bound(session)
    update_bound(session)
    return _result(session, decision, points, keep)


def _stopped(session: Session) -> Repair:
    """What Ctrl-C leaves: the cheapest proved candidate, if there is one, without its fidelity."""
    if session.best is None:
        message = "interrupted before a repair was proved"
        return result_of(session, RepairStatus.TIMEOUT, session.last, session.lower, None, message)
    message = "interrupted: the cheapest repair proved so far; a smaller one may exist"
    return result_of(session, RepairStatus.REPAIRED, session.best, session.lower, None, message)


def find_violations(session: Session) -> Verdict | None:
    """Attack the original network, and verify it if the attack finds nothing."""
    seconds = min(FIRST_ATTACK_SECONDS, session.remaining)
    found = search(session, session.network, 0.0, seconds)
    session.emit(
        "attack", f"{counted(len(found), 'counterexample')} of the original network", points=len(found)
    )
    if len(found):
        session.found = _shown(session, found)
        session.requirements.forbid(session.prop, found)
        return None
    verdict = verify(session, session.network, session.left)
    if verdict.status is VerifyStatus.VIOLATED:
        session.found = verdict.counterexamples[:MOST_SHOWN]
        learn(session, verdict)
    return verdict


def _shown(session: Session, inputs: Array) -> tuple[Counterexample, ...]:
    """The worst of these inputs as counterexamples, for people and pictures."""
    regions = [(region, inputs[region.contains(inputs)]) for region in session.prop.regions]
    return tuple(replayed(session.network, regions)[:MOST_SHOWN])


def _infeasible(session: Session) -> bool:
    """Whether no change of any size meets the requirements, without margin and free in every choice."""
    bounded = bool(np.isfinite(session.objective.reach).all())
    if not session.layer.affine and not bounded:
        return False  # programs of hidden layers need a bound of the change
    problem = session.problem(0.0, session.remaining if session.layer.affine else BOUND_SECONDS)
    return least_bound(problem, gap=session.gap, known=np.inf).status is SolutionStatus.INFEASIBLE


def _contradiction(session: Session, points: PointSet | None, keep: PointSet | None) -> Repair | None:
    """The answer `infeasible`, with the reason where it is found in time; None if that is not proved."""

    def reason(seconds: float) -> Core | None:
        if not session.layer.affine:
            return None
        return find_core(session.requirements, session.objective.reach, points, keep, seconds)

    core = reason(min(CORE_SECONDS, CORE_SHARE * session.remaining))
    if core is None:
        if not _infeasible(session):
            return None
        core = reason(session.remaining)
    size = ", whatever its size" if np.isinf(session.objective.reach).all() else " within the bounds of each"
    why = "" if core is None else f": {core.reason[0].lower()}{core.reason[1:]}"
    message = (
        f"no change of layer {session.layer.name!r} meets the {len(session.requirements)} requirements found "
        f"so far{size}{why}"
    )
    result = result_of(session, RepairStatus.INFEASIBLE, None, np.inf, None, message)
    return replace(result, core=core)


def _overlap(session: Session) -> Repair | None:
    """The answer `infeasible` where regions meet that no output at all is right for."""
    if len(session.prop.regions) < 2:
        return None
    from repairsolver.repairing.delta.overlap import overlapping_contradiction

    core = overlapping_contradiction(session.prop)
    if core is None:
        return None
    parts = dict.fromkeys(demand.part.partition(",")[0] for demand in core.demands)
    message = (
        f"no network has the property: {' and '.join(parts)} meet in an input that no output is right for"
    )
    return replace(result_of(session, RepairStatus.INFEASIBLE, None, np.inf, None, message), core=core)


def _nothing_to_do(session: Session, verdict: Verdict | None) -> Repair:
    """The original network meets every requirement known: done if it is proved, else unknown."""
    holds = verdict is not None and verdict.status is VerifyStatus.HOLDS
    candidate = Candidate(session.network, np.zeros(session.layer.size), 0.0, 0.0, verdict)
    if holds:
        message = "the network has the property already: nothing was changed"
        return result_of(session, RepairStatus.REPAIRED, candidate, 0.0, None, message)
    late = verdict is not None and verdict.status is VerifyStatus.TIMEOUT
    status = RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
    message = "no violation was found, and none was excluded: there is nothing to repair, but no proof"
    return result_of(session, status, None, 0.0, None, message)


def _result(session: Session, decision: Decision, points: PointSet | None, keep: PointSet | None) -> Repair:
    chosen = session.best or session.closest or session.last
    if session.best is not None:
        status, message = (
            RepairStatus.REPAIRED,
            f"the repaired network is proved to have the property; {_least(session)}",
        )
    else:
        late = session.remaining <= 0
        status = RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
        message = "the best candidate meets every point found so far, but is not proved"
        if (regions := _regions(session, chosen)) is not None:
            message = f"the best candidate is proved on {regions}"
        if chosen is None:
            message = "the time was up before there was a candidate" if late else NO_MARGIN
        elif np.isfinite(session.excessive):
            message += (
                f"; no margin from {session.excessive:.3g} was tried: it would take a change far larger than "
                "what the layer holds"
            )
    kept = None
    if chosen is not None and session.prop.regions:
        kept = fidelity(
            session.network,
            chosen.network,
            decision=decision,
            seed=session.seed,
            prop=session.prop,
            points=points,
            keep=keep,
            seconds=_fidelity_seconds(session),
        )
    return result_of(session, status, chosen, session.lower, kept, message)


def _fidelity_seconds(session: Session) -> float | None:
    from repairsolver.verification.regionwise import many_regions

    seconds = min(session.left, FIDELITY_SECONDS) if many_regions(session.prop) else session.left
    return None if np.isinf(seconds) else seconds


def _regions(session: Session, chosen: Candidate | None) -> str | None:
    """On how many regions a candidate is proved, where they were verified one by one, and on which not."""
    if chosen is None or chosen.verdict is None or chosen.verdict.proved_regions is None:
        return None
    proved, count = set(chosen.verdict.proved_regions), len(session.prop.regions)
    left = [str(number + 1) for number in range(count) if number not in proved]
    shown = ", ".join(left[:SHOWN_REGIONS]) + (", ..." if len(left) > SHOWN_REGIONS else "")
    return f"{len(proved)} of {count} regions{f'; not on {shown}' if left else ''}"


def _least(session: Session) -> str:
    """How small the change is, in words."""
    if session.best is not None and session.best.cost - session.lower <= session.gap * session.best.cost:
        return f"its change is minimal up to {session.gap:.2%}"
    why = f" ({session.failure})" if session.failure else ""
    if session.lower > 0:
        return f"its change is not proved minimal: at least {session.lower:.6g}{why}"
    if not why and Feature.DUAL_BOUND not in get_solver(session.solver).features:
        why = f" (solver {session.solver!r} gives none)"
    return f"its change is not proved minimal, and no lower bound is known{why}"


def result_of(
    session: Session,
    status: RepairStatus,
    candidate: Candidate | None,
    lower: float,
    kept: Fidelity | None,
    message: str,
) -> Repair:
    cost = None if candidate is None else candidate.cost
    relative = None if cost is None else (cost - lower) / cost if cost > 0 else 0.0
    edit: Delta | None = None
    if candidate is not None:
        edit = edit_of(session.network, session.layer, candidate.delta)
    return Repair(
        status=status,
        network=None if candidate is None else candidate.network,
        edit=edit,
        norm=session.objective.name,
        cost=cost,
        lower_bound=lower,
        gap=relative,
        fidelity=kept,
        verdict=None if candidate is None else candidate.verdict,
        rounds=session.rounds,
        seconds=session.seconds,
        seed=session.seed,
        solver=session.solver,
        message=message,
        counterexamples=session.found,
        minimal=status is RepairStatus.REPAIRED and relative is not None and relative <= session.gap,
        unbroken=session.unbroken if cost is not None and session.unbroken < cost else None,
    )
