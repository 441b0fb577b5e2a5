r"""The counterexample-guided loop: least change for the points so far, proof or more points, next margin.

For one margin m: solve min ||delta|| over all requirements with margin m; round, write, replay; attack
the property tightened by m/2, so that points are found before they are violations; verify. New points
start over; a proof or the end of the time ends the margin. `margin_search` chooses the next one.

The lower bound is the optimum with margin 0 over all points collected, every point free in its choice of
row. Every correct repair of the layer satisfies that program, because its points are inputs of the
property's regions and the network of the program is the real one in real arithmetic; so the optimum of
the program, and each dual bound on it, bounds the norm of every correct repair from below (up to float64
rounding of the program's coefficients and the solver's feasibility tolerance, about 1e-7 relative).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from repairsolver.errors import SoundnessError
from repairsolver.network.graph import Network
from repairsolver.network.operators import Softmax
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.candidate import Candidate, make_candidate, tightened
from repairsolver.repairing.delta.layer import Layer
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.program import Entries, LeastChange, Row
from repairsolver.repairing.delta.pursuit import pursue
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.resumed import Resumed
from repairsolver.repairing.delta.sequential import least, least_bound
from repairsolver.results import Array, Counterexample, Event, Limits, OnEvent, Verdict, VerifyStatus
from repairsolver.solvers import Progress, SolutionStatus
from repairsolver.verification.paused import Paused
from repairsolver.verification.replay import belongs, replayed

MOST_POINTS = 200
"""Counterexamples taken from one attack, worst first."""

TIGHTENING = 0.5
"""The share of the margin within which points count as counterexamples of a candidate."""

ATTACK_SECONDS = 2.0
"""Longest attack on one candidate."""

EFFORT = {"samples": 2048, "restarts": 128, "steps": 40, "keep": 64}
"""How hard each conjunction is attacked: wider than for a mere answer, since every point helps."""

WORTH = 0.5
"""A candidate must be cheaper than the proved one by this share of the gap to be worth a proof."""

ENOUGH = 10
"""Of many regions: so many found violated end a verification, since they change the candidate anyway."""

BOUND_SECONDS = 10.0
"""Longest search for one lower bound."""

TELLING = 2.0
"""Seconds between two reports on one program."""

END_SHARE, END_SECONDS = 0.1, 10.0
"""The share of the time limit, and the most of it, that is kept for the last lower bound and the fidelity."""


@dataclass(slots=True, eq=False)
class Session:
    """One repair in progress.

    Args:
        weights: of the unknowns where a candidate is chosen, close to 1; see `ties`.
        best: the cheapest proved candidate; or else `last`, the newest unproved one.
        lower: the largest lower bound so far.
        rounds: how many candidates were made.
        closest: of many regions, the candidate with most of them proved.
        doubtful: of many regions, those that were not proved of the newest candidate verified.
        paused: proofs that ran out of time; a margin tried again gives the same candidate.
        found: counterexamples of the original network, worst first.
        margin: the only one to try; None: the search's choice.
        failure: of the solver at the last program for a lower bound; empty if there was none.
        unbroken: the cost of the least change that no attack breaks, where one was looked for; no proof.
        excessive: the least margin that would take a change far larger than what the layer holds.
        give_up, given_up: how many regions may be given up, and the numbers of those that are.
        resumed: programs that the next ones go on from, for layers with a linear tail.
        told: when a program's progress was told last, in seconds.
        gradients, active: of these layers' programs, the rows that have been part of any.
    """

    network: Network
    prop: Property
    layer: Layer
    requirements: Requirements
    objective: Objective
    gap: float
    solver: str
    limits: Limits
    seed: int
    on_event: OnEvent | None
    weights: Array | float = 1.0
    started: float = field(default_factory=time.perf_counter)
    best: Candidate | None = None
    last: Candidate | None = None
    lower: float = 0.0
    rounds: int = 0
    doubtful: list[int] = field(default_factory=list)
    closest: Candidate | None = None
    paused: Paused = field(default_factory=Paused)
    found: tuple[Counterexample, ...] = ()
    margin: float | None = None
    failure: str = ""
    unbroken: float = np.inf
    excessive: float = np.inf
    give_up: int = 0
    given_up: tuple[int, ...] = ()
    resumed: Resumed | None = None
    told: float = 0.0
    gradients: dict[Row, Entries] = field(default_factory=dict)
    active: dict[Row, None] = field(default_factory=dict)

    @property
    def layer_size(self) -> float:
        """The objective of a change as large as what is stored."""
        stored = {p.source.tensor: p.stored for p in self.layer.parameters}
        return self.objective.value(self.layer.gathered(stored))

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return np.inf if self.limits.seconds is None else self.limits.seconds - self.seconds

    @property
    def remaining(self) -> float:
        """Seconds until the search has to end, so that what follows it stays within the limit."""
        return self.left - min(END_SHARE * (self.limits.seconds or 0.0), END_SECONDS)

    @property
    def finished(self) -> bool:
        """Whether nothing more can or need be done."""
        close = self.best is not None and self.best.cost - self.lower <= self.gap * self.best.cost
        return close or self.remaining <= 0 or self.rounds >= self.limits.rounds

    def emit(self, stage: str, message: str, **numbers: float) -> None:
        if self.on_event is not None:
            self.on_event(Event(stage, message, self.seconds, numbers))

    def relay(self, event: Event) -> None:
        """Pass on what a verification inside the repair reports, on the repair's clock."""
        self.emit(event.stage, event.message, **event.numbers)

    def problem(self, margin: float, seconds: float, limit: float = np.inf) -> LeastChange:
        deadline = None if np.isinf(seconds) else time.perf_counter() + max(seconds, 0.0)
        problem = LeastChange(
            self.requirements, margin, self.objective, self.solver, deadline, limit, self.seed
        )
        problem.watch = self.watch
        if self.layer.affine:  # gradients stay what they are, and rows that mattered may matter again
            problem.resumed, problem._rows, problem._active = self.resumed, self.gradients, self.active
        return problem

    def watch(self, progress: Progress) -> bool:
        """Tell how a long program fares, now and then; it ends by its own limits."""
        if self.seconds < self.told + TELLING:
            return False
        self.told = self.seconds
        best = np.inf if progress.objective is None else progress.objective
        bound = -np.inf if progress.bound is None else progress.bound
        self.emit(
            "program",
            f"program over integers: best {best:.6g}, at least {bound:.6g}, {progress.nodes} nodes",
            objective=best,
            bound=bound,
            nodes=progress.nodes,
        )
        return False

    def candidate(self, optimum: Optimum, margin: float) -> Candidate:
        """Write a change into the file; counts as a round."""
        assert optimum.delta is not None
        cost = self.problem(0.0, np.inf).cost
        made = make_candidate(self.network, self.layer, optimum.delta, cost, margin)
        self.rounds += 1
        self.last = made
        self.emit(
            "solve",
            f"candidate {self.rounds}: {self.objective.name} norm {made.cost:.6g}, margin {margin:.3g}, "
            f"{len(self.requirements)} requirements",
            cost=made.cost,
            margin=margin,
            requirements=len(self.requirements),
        )
        return made

    def judge(self, candidate: Candidate, verdict: Verdict) -> None:
        """Keep a candidate as the newest, and as the closest if it is proved on the most regions so far."""
        self.last = replace(candidate, verdict=verdict)
        known = None if self.closest is None else self.closest.verdict
        most = -1 if known is None or known.proved_regions is None else len(known.proved_regions)
        if verdict.proved_regions is not None and len(verdict.proved_regions) > most:
            self.closest = self.last

    def accept(self, candidate: Candidate) -> None:
        """Keep a proved candidate if it is the cheapest."""
        if self.best is None or candidate.cost < self.best.cost:
            self.best = candidate
            self.emit(
                "proved", f"proved with {self.objective.name} norm {candidate.cost:.6g}", best=candidate.cost
            )


class Outcome(StrEnum):
    """How a margin fared."""

    PROVED = "proved"
    UNPROVED = "not proved in time"
    UNREACHABLE = "out of reach, or not worth a proof"
    EXCESSIVE = "it would take a change far larger than what the layer holds"


def try_margin(
    session: Session, margin: float, seconds: float, *, shared: bool, most: float = np.inf
) -> Outcome:
    """Collect points until the least change with this margin is proved or the time is up.

    Args:
        shared: see `branching.optimise`.
        most: the largest change that is worth a proof, by the objective.
    """
    end = time.perf_counter() + seconds
    known = np.inf if session.best is None else session.best.cost * (1 - WORTH * session.gap)
    while True:
        problem = session.problem(margin, end - time.perf_counter())
        problem.weights = session.weights
        optimum = least(problem, shared=shared, known=known)
        if optimum.delta is None:
            # Behind activations a change may be hard to find at all: a smaller margin is easier.
            late = optimum.status is SolutionStatus.TIMEOUT and session.layer.affine
            return Outcome.UNPROVED if late else Outcome.UNREACHABLE
        if session.objective.value(optimum.delta) > most:
            return Outcome.EXCESSIVE
        candidate = session.candidate(optimum, margin)
        left = end - time.perf_counter()
        late = left <= 0 and bool(session.prop.regions)  # points alone are decided by the replay that follows
        if late or session.rounds >= session.limits.rounds:
            return Outcome.UNPROVED
        if refine(session, candidate, left):
            continue
        verdict = verify(session, candidate.network, end - time.perf_counter())
        session.judge(candidate, verdict)
        if verdict.status is VerifyStatus.VIOLATED:
            learn(session, verdict)
        elif verdict.status is VerifyStatus.HOLDS:
            session.accept(replace(candidate, verdict=verdict))
            return Outcome.PROVED
        else:
            return Outcome.UNPROVED


def refine(session: Session, candidate: Candidate, seconds: float) -> bool:
    """Add what a replay and an attack find wrong with a candidate; whether there was anything."""
    missed = session.requirements.missed(candidate.network)
    if missed:
        session.requirements.raise_floors(missed)
        return True
    nearly = TIGHTENING * candidate.margin
    inputs = search(session, candidate.network, nearly, min(ATTACK_SECONDS, seconds))
    fresh = session.requirements.forbid(session.prop, inputs)
    session.emit("attack", f"{fresh} new requirements", points=fresh)
    return fresh > 0


def learn(session: Session, verdict: Verdict) -> None:
    """Add a verification's counterexamples.

    Raises:
        SoundnessError: all are known, and their replay had passed.
    """
    found = verdict.counterexamples or tuple(filter(None, [verdict.counterexample]))
    inputs = np.array([c.input for c in found]).reshape(-1, session.network.input_size)
    if not session.requirements.forbid(session.prop, inputs):
        raise SoundnessError(
            f"{session.network.name}: the verifier reports a violation at inputs whose replay satisfied "
            "the property; please report this with the network and the property"
        )


def update_bound(session: Session) -> None:
    """Raise the lower bound by the points that there are now."""
    known = np.inf if session.best is None else session.best.cost
    seconds = min(BOUND_SECONDS, max(session.remaining, session.left / 2))
    problem = session.problem(0.0, seconds, limit=known * (1 + 1e-6))
    optimum = least_bound(problem, gap=0.1 * session.gap, known=known)
    session.lower = max(session.lower, min(optimum.bound, known))
    session.failure = optimum.failure
    if optimum.failure:
        session.emit("bound", f"a program for the lower bound failed: {optimum.failure}")
    session.emit("bound", f"no repair below {session.lower:.6g}", lower_bound=session.lower)


def verify(session: Session, network: Network, seconds: float, enough: float = ENOUGH) -> Verdict:
    """Verify the property itself on a network within this time; many regions one by one."""
    from repairsolver.verification.engine import verify_property
    from repairsolver.verification.regionwise import many_regions, splits_inputs, verify_regions

    prop, seed = session.prop, session.seed
    limits = replace(session.limits, seconds=None if np.isinf(seconds) else max(seconds, 0.1))
    if not many_regions(prop):
        paused = session.paused
        return verify_property(
            network, prop, limits=limits, seed=seed, on_event=session.relay, record=True, paused=paused
        )
    others = sorted(set(range(len(prop.regions))) - set(session.doubtful))
    order = [*session.doubtful, *others]
    known = _violated(session, network) if splits_inputs(prop) else []
    verdict = verify_regions(network, prop, limits=limits, seed=seed, order=order, enough=enough, known=known)
    session.doubtful = sorted(set(others + session.doubtful) - set(verdict.proved_regions or ()))
    proved = len(verdict.proved_regions or ())
    session.emit("verify", f"{proved} of {len(prop.regions)} regions proved", proved=proved)
    return verdict


def _violated(session: Session, network: Network) -> list[Counterexample]:
    """Counterexamples in as many regions as an attack finds, worst first."""
    inputs = search(session, network, 0.0, ATTACK_SECONDS)
    held = ((region, belongs(inputs, region, network.element)) for region in session.prop.regions)
    return replayed(network, ((region, inputs[inside]) for region, inside in held))


def search(session: Session, network: Network, margin: float, seconds: float) -> Array:
    """Inputs [b, n] at which a network violates the property or misses it by less than the margin.

    First by `pursue`, from the points known; by gradients if that finds nothing. Worst first.
    """
    from repairsolver.verification.attack import Effort, attack
    from repairsolver.verification.engine import single_threaded
    from repairsolver.verification.regionwise import many_regions

    seed = session.seed + session.rounds
    known = session.requirements.inputs()
    if many_regions(session.prop):
        from repairsolver.repairing.delta.regionwise import attack_regions

        return attack_regions(network, session.prop, known, least=-margin, seed=seed, seconds=seconds)
    inputs = pursue(network, session.prop, known, least=-margin, seed=seed, seconds=seconds)
    if not len(inputs):
        # Behind a softmax only comparisons of outputs can be attacked, none with a margin.
        plain = margin <= 0 or isinstance(network.output.operator, Softmax)
        nearly = session.prop if plain else tightened(session.prop, margin)
        effort = Effort(**EFFORT)
        with single_threaded():
            found = attack(network, nearly, seed=seed, seconds=seconds, effort=effort, worst=True)
        inputs = np.array([c.input for c in found]).reshape(-1, network.input_size)
    return inputs[:MOST_POINTS]
