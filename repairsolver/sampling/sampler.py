"""Sampling a property: draw, evaluate, count, and stop when the test allows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from repairsolver.errors import SamplingError
from repairsolver.network.graph import Network
from repairsolver.property import check_fits
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample, Event, Interrupted, Limits, OnEvent
from repairsolver.sampling.binomial import Fixed, check_level, zero_failure_size
from repairsolver.sampling.distributions import Distribution, Draw, Uniform
from repairsolver.sampling.domain import Domain, domain_of
from repairsolver.sampling.evaluation import Evaluator, Judged
from repairsolver.sampling.part import property_of_part
from repairsolver.sampling.sequential import Sequential, looks
from repairsolver.sampling.statement import SHOWN, Part, SampleStatus, Statement
from repairsolver.sampling.streams import block_size, generator, key_of
from repairsolver.verification.record import property_sha256

FIRST_PIECE = 256
"""Samples that a sequential test evaluates at first; then as many as it had, up to a block."""

PATIENCE = 100.0
"""The most samples of a sequential test that is given no number: so many times ln(1/eta) / epsilon."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Samples by number: block k is always the same."""

    domain: Domain
    distribution: Distribution
    key: int
    size: int

    def block(self, number: int) -> Draw:
        return self.distribution.draw(self.domain, generator(self.key, number), self.size)


@dataclass(slots=True, eq=False)
class Tally:
    """What was counted so far."""

    shown: int = SHOWN
    n: int = 0
    k: int = 0
    alone: int = 0
    worst: list[Counterexample] = field(default_factory=list)

    def add(self, draw: Draw, judged: Judged, count: int) -> None:
        """The first `count` samples of a block."""
        wrong = np.flatnonzero(judged.violated[:count])
        self.n, self.k = self.n + count, self.k + wrong.size
        self.alone += int(np.count_nonzero(judged.alone[:count]))
        for index in wrong[np.argsort(-judged.margin[wrong], kind="stable")][: self.shown]:
            found = draw.points[index], judged.outputs[index], float(judged.margin[index])
            self.worst.append(Counterexample(*found))
        self.worst = sorted(self.worst, key=lambda c: -c.violation)[: self.shown]


def sample_property(
    network: Network,
    prop: Property,
    *,
    epsilon: float,
    eta: float,
    distribution: Distribution | None = None,
    sequential: bool = True,
    samples: int | None = None,
    alone: bool = False,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
    part: Part | None = None,
    purpose: str = "statement",
    spent: float = 1.0,
    shown: int = SHOWN,
) -> Statement:
    """Is the probability of a violation at most epsilon, with confidence 1 - eta?

    Args:
        distribution: of the inputs; uniform on the property's regions without it.
        sequential: stop as soon as one of the two answers is shown; else draw a fixed number and look once.
        samples: that number, by default the least that can show p <= epsilon; or the most of a sequential
            test.
        alone: run every sample by itself, so that nothing is assumed about batches.
        limits: seconds; a statement that is not finished is `undecided`, with bounds that hold all the same.
        part: sample only there, uniformly; the property is proved on the rest.
        purpose: statements of another purpose have other samples.
        spent: the share of eta for this test.
        shown: how many violations are kept, the worst ones.

    Raises:
        SamplingError: epsilon or eta outside (0, 1); the regions have no volumes to compare; the distribution
            leaves them; the network's outputs are not numbers.
        SoundnessError: batches and single runs differ by more than rounding.
        Interrupted: Ctrl-C; its result is the statement so far.
    """
    started = time.perf_counter()
    check_fits(prop, network)
    check_level("eta", eta)
    test = make_test(epsilon, spent * eta, sequential, samples)
    domain = domain_of(network, prop if part is None else property_of_part(prop, part))
    source = source_of(network, prop, domain, distribution or Uniform(), seed, purpose)
    trial = source_of(network, prop, domain, distribution or Uniform(), seed, "trial")
    evaluator = Evaluator(network, domain, trial.block(0), alone=alone, device=device)
    end = math.inf if limits is None or limits.seconds is None else started + limits.seconds
    tally = Tally(shown)

    def say(message: str) -> None:
        if on_event is not None:
            numbers = {"samples": float(tally.n), "violations": float(tally.k)}
            on_event(Event("sample", message, time.perf_counter() - started, numbers))

    stopped = False
    try:
        decided = count(test, source, evaluator, tally, lambda: time.perf_counter() > end, say)
    except KeyboardInterrupt:
        decided, stopped = False, True
    status, lower, upper = outcome(test, tally, decided)
    late = not decided and tally.n < test.samples
    statement = Statement(
        status=status,
        samples=tally.n,
        violations=tally.k,
        epsilon=test.epsilon,
        eta=float(eta),
        lower=lower,
        upper=upper,
        test=test.name,
        limit=test.samples,
        distribution=source.distribution.facts(domain),
        seed=int(seed),
        network_sha256=network.sha256,
        property_sha256=property_sha256(prop),
        names=(network.name, prop.name),
        evaluation=evaluator.name,
        alone=tally.alone,
        counterexamples=tuple(tally.worst),
        part=part,
        spent=spent,
        seconds=time.perf_counter() - started,
        notes=_notes(late, stopped),
    )
    if stopped:
        raise Interrupted(statement)
    return statement


def _notes(late: bool, stopped: bool) -> tuple[str, ...]:
    if stopped:
        return ("Interrupted before the test ended; the bounds hold all the same.",)
    return ("The time was up before the test ended.",) if late else ()


def source_of(
    network: Network, prop: Property, domain: Domain, distribution: Distribution, seed: int, purpose: str
) -> Source:
    """The samples that follow from what is sampled, how, with which seed and why."""
    about = {
        "network": network.sha256,
        "property": property_sha256(prop),
        "distribution": distribution.facts(domain),
        "seed": int(seed),
        "purpose": purpose,
    }
    return Source(domain, distribution, key_of(about), block_size(network.input_size))


def make_test(epsilon: float, eta: float, sequential: bool, samples: int | None) -> Fixed | Sequential:
    """The test, with its number of samples."""
    eps, level = check_level("epsilon", epsilon), check_level("eta", eta)
    if samples is not None:
        if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 1:
            raise SamplingError(f"samples: expected a whole number from 1, got {samples!r}")
        samples = int(samples)
    if sequential:
        return Sequential(eps, level, samples or math.ceil(PATIENCE * -math.log(level) / eps))
    return Fixed(eps, level, samples or zero_failure_size(eps, level))


def count(
    test: Fixed | Sequential,
    source: Source,
    evaluator: Evaluator,
    tally: Tally,
    late: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Draw block after block; whether the test came to its end."""
    number = 0
    while tally.n < test.samples:
        block = source.block(number)[: test.samples - tally.n]
        number, at = number + 1, 0
        while at < len(block):
            if late():
                return False
            # A sequential test may end with the first samples: no more than that is evaluated in vain.
            size = len(block) if isinstance(test, Fixed) else max(FIRST_PIECE, tally.n)
            piece = block[at : at + size]
            judged = evaluator.judge(piece)
            stop = None if isinstance(test, Fixed) else _stop(test, tally, judged.violated)
            tally.add(piece, judged, len(piece) if stop is None else stop)
            say(f"{tally.k} of {tally.n} samples violate")
            if stop is not None:
                return True
            at += len(piece)
    return isinstance(test, Fixed)


def _stop(test: Sequential, tally: Tally, violated: NDArray[np.bool_]) -> int | None:
    """After how many samples of a block the test is decided."""
    places = looks(len(violated), tally.n)
    n, k = tally.n + places + 1, tally.k + np.cumsum(violated)[places]
    found = test.first(n, k)
    return None if found is None else int(places[found]) + 1


def bounds_of(test: Fixed | Sequential, n: int, k: int) -> tuple[float, float]:
    """The bounds that hold: a fixed test that was not finished has those that hold at all times."""
    if isinstance(test, Fixed) and n < test.samples:
        test = Sequential(test.epsilon, test.eta, test.samples)
    return test.bounds(n, k)


def outcome(test: Fixed | Sequential, tally: Tally, decided: bool) -> tuple[SampleStatus, float, float]:
    """The answer that the counts allow, with its lower and upper bound."""
    lower, upper = bounds_of(test, tally.n, tally.k)
    if isinstance(test, Sequential):
        below = decided and bool(test.accepts(tally.n, tally.k))
        above = decided and not below
    else:
        below, above = decided and upper <= test.epsilon, decided and lower > test.epsilon
    if below:
        return SampleStatus.ACCEPTED, lower, min(upper, test.epsilon)
    return SampleStatus.REJECTED if above else SampleStatus.UNDECIDED, lower, upper
