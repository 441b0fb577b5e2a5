"""Method `imitation`: repair from examples, then verify; with `prove`, go on until it is proved."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.decision import Decision
from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice, find_blocks
from repairsolver.repairing.delta.method import repair_delta
from repairsolver.repairing.delta.objective import Aim
from repairsolver.repairing.imitation.answer import answer, holds, measured
from repairsolver.repairing.imitation.behaviour import ATTACK, Behaviours, collect
from repairsolver.repairing.imitation.exact import least_tuning, tunable
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.repairing.imitation.responsibility import Localisation, responsibility
from repairsolver.repairing.imitation.retraining import retrained
from repairsolver.repairing.imitation.tuning import tuned_factors
from repairsolver.repairing.result import Repair
from repairsolver.results import (
    Array,
    Event,
    Interrupted,
    Limits,
    OnEvent,
    RepairStatus,
    Verdict,
    VerifyStatus,
)
from repairsolver.verification.attack import attack
from repairsolver.verification.engine import verify_property
from repairsolver.verification.paused import Paused
from repairsolver.verification.query import strip_softmax

LEARN_SHARE = 0.5
"""The share of what is left for one repair from examples, at most."""

VERIFY_SECONDS, VERIFY_SHARE = 20.0, 0.8
"""The longest verification without a limit of time, and the share of what is left with one."""

HANDOVER_SHARE = 0.4
"""With `prove`, the share of a limited time after which method `delta` takes over."""

ROUNDS, PROVING_ROUNDS = 3, 10
"""Repairs from examples at most: the counterexamples of each verification are negatives of the next."""

DELTA_POINTS = 2000
"""Points to keep that are handed on to method `delta`."""

ORIGIN_SECONDS, ORIGIN_SHARE = 2.0, 0.1
"""The longest attack on a network learnt before method `delta` begins, and its share of what is left."""


@dataclass(slots=True, eq=False)
class Course:
    """One repair in progress.

    `solved`: the solver had a program to solve; `origin`: what `delta` changed; `paused`: where the proof of
    the newest network learnt stopped; `reached`: the newest network learnt, and its verdict if there is one.
    """

    network: Network
    prop: Property
    core: Network
    how: Imitation
    choice: Choice
    aim: Aim
    solver: str
    limits: Limits
    seed: int
    on_event: OnEvent | None
    started: float = field(default_factory=time.perf_counter)
    rounds: int = 0
    solved: bool = False
    origin: str = ""
    paused: Paused = field(default_factory=Paused)
    reached: tuple[Network, Verdict | None] = field(init=False)

    def __post_init__(self) -> None:
        self.reached = self.network, None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        return np.inf if self.limits.seconds is None else self.limits.seconds - self.seconds

    @property
    def learning_left(self) -> float:
        """What is left for repairs from examples and their proofs."""
        if self.limits.seconds is None or not self.how.prove:
            return self.left
        return HANDOVER_SHARE * self.limits.seconds - self.seconds

    def say(self, message: str) -> None:
        if self.on_event is not None:
            self.on_event(Event("imitate", message, self.seconds))

    @staticmethod
    def begin(network: Network, prop: Property, how: Imitation, *, seed: int = 0) -> Course:
        """A course without limits, for repairs from examples alone."""
        core, _ = strip_softmax(network, prop)
        return Course(network, prop, core, how, Choice("all"), Aim(), "highs", Limits(), seed, None)

    def verify(self, network: Network) -> Verdict:
        left = self.learning_left
        seconds = VERIFY_SECONDS if np.isinf(left) else max(VERIFY_SHARE * left, 0.1)
        limits = replace(self.limits, seconds=seconds)
        self.paused = Paused()
        return verify_property(
            network, self.prop, limits=limits, seed=self.seed, record=True, paused=self.paused
        )

    def resume(self, network: Network, verdict: Verdict | None) -> Verdict | None:
        """The verdict of the newest network learnt, after all the time that is left where it ran out."""
        if verdict is None or verdict.status is not VerifyStatus.TIMEOUT or not 0 < self.left < np.inf:
            return verdict
        self.say("the proof of the network learnt goes on")
        limits = replace(self.limits, seconds=self.left)
        return verify_property(
            network, self.prop, limits=limits, seed=self.seed, record=True, paused=self.paused
        )


def learned(course: Course, behaviours: Behaviours) -> Network:
    """A repair from examples; nothing is verified."""
    course.rounds += 1
    network, how, seed = course.network, course.how, course.seed
    seconds = max(LEARN_SHARE * course.learning_left, 0.1)
    if how.variant == "retrain":
        return retrained(
            network,
            course.core,
            lambda changed: find_blocks(changed, course.choice),
            behaviours,
            how,
            seconds=seconds,
            seed=seed,
            say=course.say,
        )
    found = among(responsibility(course.core, behaviours, how.tuning.measure), network, course.choice)
    if how.tuning.optimiser != "exact":
        if course.choice.parameters != "both":
            raise EditError(
                f"factors scale weights and biases: parameters={course.choice.parameters!r} is for "
                "optimiser 'exact'"
            )
        return tuned_factors(
            network, course.core, behaviours, found, how, seconds=seconds, seed=seed, say=course.say
        )
    course.solved = True
    last, names = network.affine_layers[-1].name, [layer.affine.name for layer in found.layers]
    return least_tuning(
        network,
        course.prop,
        behaviours,
        tunable(network, found, how.tuning.neurons, course.choice.parameters),
        Choice("last", course.choice.parameters) if last in names else None,
        course.aim,
        solver=course.solver,
        seconds=min(seconds, how.seconds),
        seed=seed,
        say=course.say,
    )


def repair_imitation(
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
    how: Imitation,
) -> Repair:
    """See `repairsolver.repairing.engine.repair_property` and `options.Imitation`.

    Raises:
        EditError: an option that imitation has no meaning for.
        PointSetError: points that are no negatives or positives of this network and property.
    """
    _check_options(choice, aim)
    core, _ = strip_softmax(network, prop)
    course = Course(network, prop, core, how, choice, aim, solver, limits, seed, on_event)
    behaviours = collect(network, prop, points, keep, how, decision=decision, seed=seed)
    course.say(
        f"{len(behaviours.negatives)} negatives, {len(behaviours.positives)} positives, "
        f"{len(behaviours.domain)} points of the domain"
    )
    best, verdict = network, None
    try:
        if len(behaviours.negatives):
            best, verdict, behaviours = _imitated(course, behaviours)
        else:
            verdict = course.verify(network)
        if how.prove and not holds(verdict):
            best, verdict = _closed(course, best, verdict, behaviours, gap, decision)
    except KeyboardInterrupt as stopped:
        raise Interrupted(_stopped(course, behaviours, stopped)) from None
    kept = measured(course, best, behaviours, points, keep, decision)
    return answer(course, best, verdict, behaviours, kept)


def _stopped(course: Course, behaviours: Behaviours, stopped: KeyboardInterrupt) -> Repair:
    """What was reached at Ctrl-C: a repair that `delta` has proved, or the newest network learnt."""
    closed = stopped.result if isinstance(stopped, Interrupted) else None
    if isinstance(closed, Repair) and closed.proved and closed.network is not None:
        course.reached = closed.network, closed.verdict
    else:
        course.origin = ""
    fix = answer(course, *course.reached, behaviours, None, "interrupted; ")
    return fix if fix.proved else replace(fix, status=RepairStatus.TIMEOUT)


def among(found: Localisation, network: Network, choice: Choice) -> Localisation:
    """The chosen layers alone.

    Raises:
        EditError: there are none, or the choice names no layer of the network.
    """
    names = {block.node.name for block in find_blocks(network, choice)}
    layers = tuple(layer for layer in found.layers if layer.affine.name in names)
    return replace(found, layers=layers)


def _imitated(course: Course, behaviours: Behaviours) -> tuple[Network, Verdict, Behaviours]:
    """Repairs from examples until the verifier finds no counterexample that is new."""
    best, verdict = course.network, None
    for _ in range(min(PROVING_ROUNDS if course.how.prove else ROUNDS, course.limits.rounds)):
        best = learned(course, behaviours)
        course.reached = best, None
        verdict = course.verify(best)
        course.reached = best, verdict
        found = np.array([c.input for c in verdict.counterexamples]).reshape(-1, course.network.input_size)
        course.say(f"round {course.rounds}: {verdict.status}")
        late = course.learning_left <= 0
        if verdict.status is not VerifyStatus.VIOLATED or behaviours.labels is not None or late:
            break
        fresh = behaviours.with_negatives(found)
        if len(fresh.negatives) == len(behaviours.negatives):
            break
        behaviours = fresh
    assert verdict is not None
    return best, verdict, behaviours


def _closed(
    course: Course,
    candidate: Network,
    verdict: Verdict | None,
    behaviours: Behaviours,
    gap: float,
    decision: Decision,
) -> tuple[Network, Verdict | None]:
    """Method `delta` from the candidate on, or from the original where the candidate has nothing to teach.

    Rounds of `delta` begin with counterexamples. A network learnt that is neither proved nor violated at any
    input that an attack finds has none to offer, and its margins are too thin for a proof.
    """
    start = candidate
    if candidate is not course.network and not _attackable(course, candidate, verdict):
        start = course.network
    course.origin = "the network learnt" if start is candidate else "the original network"
    course.say(f"method delta starts from {course.origin}")
    rng = np.random.default_rng([course.seed, 12])
    kept = behaviours.kept[rng.permutation(len(behaviours.kept))[:DELTA_POINTS]]
    wished = _labelled(course.network, start, kept, behaviours)
    left = replace(course.limits, seconds=None if np.isinf(course.left) else max(course.left, 0.1))
    wanted = None
    if behaviours.labels is not None:
        wanted = PointSet(behaviours.negatives, behaviours.labels, name="negatives")
    fix = repair_delta(
        start,
        course.prop,
        choice=Choice("last"),
        aim=course.aim,
        gap=gap,
        solver=course.solver,
        points=wanted,
        keep=wished,
        decision=decision,
        limits=left,
        seed=course.seed,
        on_event=course.on_event,
    )
    course.rounds += fix.rounds
    course.solved |= fix.rounds > 0
    if fix.network is None or (start is not candidate and not holds(fix.verdict)):
        verdict = course.resume(candidate, verdict)
        if holds(verdict):
            course.origin = ""  # delta has no part in the answer
        return candidate, verdict
    return fix.network, fix.verdict


def _labelled(original: Network, start: Network, kept: Array, behaviours: Behaviours) -> PointSet | None:
    """Points with the decisions of the original; of two decisions, those at which `start` has both still."""
    if not len(kept):
        return None
    before = behaviours.decided(original(kept))
    if behaviours.decision != "both":
        return PointSet(kept, before[:, 0], name="kept")
    same = kept[(behaviours.decided(start(kept)) == before).all(axis=1)]
    return PointSet(same, name="kept") if len(same) else None


def _attackable(course: Course, candidate: Network, verdict: Verdict | None) -> bool:
    """Whether a counterexample of the candidate is known or quickly found."""
    if verdict is not None and verdict.status is VerifyStatus.VIOLATED:
        return True
    seconds = min(ORIGIN_SECONDS, max(ORIGIN_SHARE * course.left, 0.1))
    return bool(attack(candidate, course.prop, seed=course.seed, seconds=seconds, effort=ATTACK))


def _check_options(choice: Choice, aim: Aim) -> None:
    unknown = {
        "neurons": choice.neurons is not None,
        "mask (--entries)": choice.mask is not None,
        "weights": aim.weights is not None,
        "max_change": aim.max_change is not None,
        "keep_soft": bool(np.isfinite(aim.keep_penalty)),
        "minimise": aim.minimise != "weights",
        "prefer": aim.prefer is not None,
    }
    wrong = [name for name, given in unknown.items() if given]
    if wrong:
        raise EditError(f"method 'imitation' has no option {', '.join(wrong)}: use method 'delta'")
