r"""Probabilities far below one in the number of samples, by multilevel splitting of the violation's margin.

Levels $L_1 < \dots < L_m = 0$ of the margin g make the violation a chain of less rare events,
$P(g \ge 0) = \prod_j P(g \ge L_j \mid g \ge L_{j-1})$. N particles are drawn; those at or above a level are
resampled to N, and moved by a Markov chain that keeps the distribution restricted to the level: in
coordinates that are standard normal ($x = T(\Phi(z))$, T the distribution's quantiles) it proposes
$z' = \sqrt{1 - s^2}\, z + s\, \xi$, which is reversible, and accepts where $g \ge L_j$. The estimate is the
product of the shares that survive.

The levels come from a pilot run, each the quantile of its particles that a share survives (adaptive). They
are then kept for R independent repetitions, for which the estimate is unbiased however well the chain mixes;
their mean, its standard error and an interval that knows of their skewness (`skewed`) are returned. **It is
an estimate, no guarantee**: a violation in a place that no particle of any repetition reached is missed, and
the interval does not know of it.

Source: Au and Beck, "Estimation of small failure probabilities in high dimensions by subset simulation",
Probab. Eng. Mech. 16 (2001); Cerou, Del Moral, Furon and Guyader, "Sequential Monte Carlo for rare event
estimation", Stat. Comput. 22 (2012); unbiasedness for fixed levels: Del Moral, "Feynman-Kac Formulae" (2004),
theorem 7.4.2; the chain: Papaioannou et al., "MCMC algorithms for subset simulation", Probab. Eng. Mech. 41
(2015).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from repairsolver.display import result_html
from repairsolver.errors import SamplingError
from repairsolver.network.graph import Network
from repairsolver.property import check_fits
from repairsolver.property.specification import Property
from repairsolver.results import Array, Counterexample, Event, Limits, OnEvent
from repairsolver.sampling.distributions import Draw, Facts, TruncatedNormal, Uniform
from repairsolver.sampling.domain import Domain, domain_of
from repairsolver.sampling.evaluation import Evaluator
from repairsolver.sampling.sampler import source_of
from repairsolver.sampling.skewed import mean_interval
from repairsolver.sampling.statement import SHOWN
from repairsolver.sampling.streams import generator

PARTICLES, REPETITIONS, MOVES, SHARE, MOST_LEVELS = 2000, 20, 10, 0.2, 200
PILOT_SHARE = 0.25
"""Of the time; the repetitions take as long as the pilot run each, and there are at least two."""

FIRST_STEP, LEAST_STEP, WANTED = 0.5, 0.01, 0.4
"""The chain's step at the first level; it follows the share of proposals accepted, in the pilot run alone."""


@dataclass(frozen=True, slots=True, eq=False)
class RareEvent:
    """An estimate of the probability of a violation, with what tells how good it is. No guarantee.

    Args:
        probability: the mean of the repetitions.
        standard_error: of this mean, from their spread.
        interval: 95 %, see `skewed`; it trusts the spread of the repetitions.
        estimates: of each repetition, [r].
        levels: of the margin, ascending; the last is 0, or the highest that was reached.
        reached: whether any particle violates; else `probability` is 0 and says nothing but that.
        distribution: what reproduces it; `text` is for people.
        seed: of the particles.
        particles: how many each repetition moves from level to level.
        evaluations: points at which the network was run.
        evaluation: what computed the outputs.
        seconds: what it took, by the clock.
        notes: what the reader should know besides.
        counterexamples: violations that were met, each run by itself on the network's own file; the worst
            first.
    """

    probability: float
    standard_error: float
    interval: tuple[float, float]
    estimates: Array
    levels: Array
    reached: bool
    distribution: Facts
    seed: int
    particles: int
    evaluations: int
    counterexamples: tuple[Counterexample, ...]
    evaluation: str
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"<RareEvent: P(violation) about {self.probability:.3g} (95 % interval {low:.3g} to {high:.3g}), "
            f"an estimate "
            f"without guarantee; {len(self.levels)} levels, {len(self.estimates)} repetitions, "
            f"{self.seconds:.1f} s>"
        )

    def _repr_html_(self) -> str:
        low, high = self.interval
        rows = {
            "95 % interval": f"{low:.3g} to {high:.3g}",
            "levels": len(self.levels),
            "repetitions": len(self.estimates),
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 2),
        }
        about = f"P(violation) about {self.probability:.3g}"
        return result_html("open", about, "an estimate, without guarantee", rows)

    def sentences(self) -> tuple[str, ...]:
        """What was estimated and how."""
        low, high = self.interval
        first = (
            f"Estimate, no guarantee: P(violation) is about {self.probability:.4g}, standard error "
            f"{self.standard_error:.2g}, 95 % interval {low:.4g} to {high:.4g} from {len(self.estimates)} "
            f"independent "
            f"repetitions over {len(self.levels)} levels of {self.particles} particles ({self.evaluations} "
            f"evaluations)."
        )
        if not self.reached:
            first = (
                f"No violation was reached: the margin came to {self.levels[-1]:.4g} and no further in "
                f"{len(self.levels)} levels. That shows nothing about the probability of one."
            )
        inputs = f"Inputs: {self.distribution['text']}; seed {self.seed}. Evaluated by {self.evaluation}."
        return (first, inputs, *self.notes)


@dataclass(slots=True, eq=False)
class Chain:
    """Particles of one run: normal coordinates z [N, n], their regions [N] and margins g [N]."""

    space: Space
    rng: np.random.Generator
    z: Array
    region: NDArray[np.int64]
    margin: Array

    def select(self, level: float) -> None:
        """Resample those at or above a level to N, systematically after a random shuffle."""
        alive = np.flatnonzero(self.margin >= level)
        count = len(self.margin)
        places = (np.arange(count) + self.rng.random()) * len(alive) / count
        index = self.rng.permutation(alive)[places.astype(np.int64)]
        self.z, self.region, self.margin = self.z[index], self.region[index], self.margin[index]

    def move(self, level: float, step: float) -> float:
        """One step of the chain for every particle; the share that was accepted."""
        noise = self.rng.standard_normal(self.z.shape)
        proposal = math.sqrt(1 - step * step) * self.z + step * noise
        margin = self.space.margins(proposal, self.region)
        accepted = margin >= level
        self.z[accepted], self.margin[accepted] = proposal[accepted], margin[accepted]
        return float(accepted.mean())


@dataclass(slots=True, eq=False)
class Space:
    """A distribution in normal coordinates, with the margin of the violation."""

    evaluator: Evaluator
    domain: Domain
    distribution: Uniform | TruncatedNormal
    worst: list[Counterexample]
    evaluations: int = 0

    def start(self, rng: np.random.Generator, particles: int) -> Chain:
        """Independent particles."""
        region = np.zeros(particles, dtype=np.int64)
        if len(self.domain) > 1:
            region = rng.choice(len(self.domain), size=particles, p=self.distribution.weights_in(self.domain))
        z = rng.standard_normal((particles, self.domain.lower.shape[1]))
        return Chain(self, rng, z, region, self.margins(z, region))

    def margins(self, z: Array, region: NDArray[np.int64]) -> Array:
        """The violation at particles; what is at least 0 was run by itself on the network's own file."""
        draw = self.draw(z, region)
        judged = self.evaluator.judge(draw)
        self.evaluations += len(draw)
        wrong = np.flatnonzero(judged.violated)
        if wrong.size:
            top = wrong[np.argsort(-judged.margin[wrong])[:SHOWN]]
            found = [Counterexample(draw.points[i], judged.outputs[i], float(judged.margin[i])) for i in top]
            unlike = {c.input.tobytes(): c for c in (*self.worst, *found)}
            self.worst = sorted(unlike.values(), key=lambda c: -c.violation)[:SHOWN]
        return judged.margin

    def draw(self, z: Array, region: NDArray[np.int64]) -> Draw:
        """The points that particles stand for."""
        points = self.domain.clipped(self.distribution.transform(self.domain, ndtr(z), region), region)
        single = len(self.domain.unsafe) == 1
        return Draw(points, np.ones((1, len(z)), np.bool_) if single else self.domain.members(points))


def estimate_rare_event(
    network: Network,
    prop: Property,
    *,
    distribution: Uniform | TruncatedNormal | None = None,
    particles: int = PARTICLES,
    repetitions: int = REPETITIONS,
    moves: int = MOVES,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> RareEvent:
    """Estimate the probability of a violation, however small.

    Args:
        distribution: uniform or truncated normal.
        particles: of each run, N.
        repetitions: independent runs, R, at least 2.
        moves: steps of the chain at each level; more mix better and take longer.
        limits: seconds; the repetitions that are finished by then are used, at least two.

    Raises:
        SamplingError: another distribution, too few particles or repetitions; outputs that are not numbers.
    """
    started = time.perf_counter()
    check_fits(prop, network)
    chosen = Uniform() if distribution is None else distribution
    _check(chosen, particles, repetitions, moves)
    domain = domain_of(network, prop)
    facts = chosen.facts(domain)
    key = source_of(network, prop, domain, chosen, seed, "rare event").key
    trial = chosen.draw(domain, generator(key, 0), 64)
    space = Space(Evaluator(network, domain, trial), domain, chosen, [])
    seconds = math.inf if limits is None or limits.seconds is None else limits.seconds
    end = started + seconds
    levels, steps = _pilot(space.start(generator(key, 1), particles), moves, started + PILOT_SHARE * seconds)
    estimates: list[float] = []
    for number in range(repetitions):
        if number >= 2 and time.perf_counter() > end:
            break
        estimates.append(_run(space.start(generator(key, 2 + number), particles), levels, steps, moves))
        if on_event is not None:
            message = f"repetition {number + 1}: {estimates[-1]:.4g}"
            on_event(Event("split", message, time.perf_counter() - started, {"estimate": estimates[-1]}))
    found = np.array(estimates)
    mean, error = float(found.mean()), float(found.std(ddof=1) / math.sqrt(len(found)))
    low, high = mean_interval(found)
    return RareEvent(
        mean, error, (low, min(1.0, high)), found, levels, bool(found.any()),
        facts, int(seed), particles, space.evaluations, tuple(space.worst), space.evaluator.name,
        time.perf_counter() - started, _notes(found, repetitions),
    )  # fmt: skip


def _notes(found: Array, repetitions: int) -> tuple[str, ...]:
    notes = []
    if len(found) < repetitions:
        notes.append("The time was up before all repetitions.")
    if len(found) < REPETITIONS:
        notes.append(
            f"Intervals of {len(found)} repetitions may be too narrow: of 100 of 10 repetitions "
            f"92 held the probability, of 100 of {REPETITIONS} 95 (measured)."
        )
    died = int((found == 0).sum())
    if 0 < died < len(found):
        notes.append(
            f"{died} of {len(found)} repetitions died out before they reached a violation: the interval may "
            "be too narrow; give more particles."
        )
    return tuple(notes)


def _check(distribution: object, particles: int, repetitions: int, moves: int) -> None:
    if not isinstance(distribution, Uniform | TruncatedNormal):
        raise SamplingError(
            "rare events are estimated for uniform and truncated-normal inputs alone: particles are moved in "
            "their "
            "quantiles"
        )
    if particles < 50 or repetitions < 2 or moves < 1:
        raise SamplingError(
            f"expected at least 50 particles, 2 repetitions and 1 move, got {particles}, {repetitions}, "
            f"{moves}"
        )


def _pilot(chain: Chain, moves: int, end: float) -> tuple[Array, Array]:
    """The levels, and the chain's step at each, from one run of its own; no new level begins after `end`."""
    levels: list[float] = []
    steps: list[float] = []
    step = FIRST_STEP
    while len(levels) < MOST_LEVELS and (not levels or time.perf_counter() < end):
        level = float(np.quantile(chain.margin, 1 - SHARE))
        if levels and level <= levels[-1]:
            # Where the network is constant, many particles have one margin: go on with what lies above it.
            above = chain.margin[chain.margin > levels[-1]]
            if not above.size:
                break
            level = float(above.min())
        level = min(0.0, level)
        levels.append(level)
        if level >= 0:
            steps.append(step)
            break
        chain.select(level)
        for _ in range(moves):
            accepted = chain.move(level, step)
            step = min(1.0, max(LEAST_STEP, step * math.exp(accepted - WANTED)))
        steps.append(step)
    return np.array(levels), np.array(steps)


def _run(chain: Chain, levels: Array, steps: Array, moves: int) -> float:
    """The estimate of one run with given levels: unbiased."""
    product = 1.0
    for level, step in zip(levels, steps, strict=True):
        product *= float((chain.margin >= level).mean())
        if product == 0 or level >= 0:
            break
        chain.select(level)
        for _ in range(moves):
            chain.move(level, step)
    return product if levels[-1] >= 0 else product * float((chain.margin >= 0).mean())
