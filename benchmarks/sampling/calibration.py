"""How often statements are wrong, and how many samples they take."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.sampling.corners import corner, depth_for, sum_network
from repairsolver.metrics import Share
from repairsolver.sampling.binomial import Fixed, zero_failure_size
from repairsolver.sampling.sampler import FIRST_PIECE, make_test, sample_property
from repairsolver.sampling.sequential import Sequential, looks

Row = dict[str, object]

RUNS, POWER_RUNS, EPSILON = 2000, 1000, 0.05
RATIOS = (0.25, 0.8, 1.0, 1.001, 1.25, 2.0, 10.0)
CALIBRATION = (
    "test", "ratio", "probability", "epsilon", "eta", "runs", "accepted", "rejected", "undecided", "wrong",
    "wrong_low", "wrong_high", "exact_wrong", "upper_missed", "lower_missed", "mean_samples", "seconds",
)  # fmt: skip
POWER = (
    "ratio", "epsilon", "eta", "runs", "accepted", "rejected", "mean_samples", "median_samples",
    "q90_samples",
    "zero_failure_samples", "zero_failure_accepts",
)  # fmt: skip


def calibration(seed: int) -> Iterator[Row]:
    """The whole sampler on a network with a known corner, run after run with another seed."""
    for eta in (0.05, 0.01):
        for test in ("fixed", "sequential"):
            for ratio in RATIOS:
                yield _runs(test, ratio, eta, seed)


def _runs(test: str, ratio: float, eta: float, seed: int) -> Row:
    network = sum_network(2)
    prop, p = corner(2, depth_for(2, ratio * EPSILON))
    # twice the least size, so that a few violations are allowed
    samples = 2 * zero_failure_size(EPSILON, eta) if test == "fixed" else int(20 * -np.log(eta) / EPSILON)
    started = time.perf_counter()
    found = [
        sample_property(
            network, prop, epsilon=EPSILON, eta=eta, sequential=test == "sequential", samples=samples,
            seed=seed + run,
        )
        for run in range(RUNS)
    ]  # fmt: skip
    count = {word: sum(s.status == word for s in found) for word in ("accepted", "rejected", "undecided")}
    wrong = Share(count["accepted" if ratio > 1 else "rejected"], RUNS)
    return {
        "test": test, "ratio": ratio, "probability": p, "epsilon": EPSILON, "eta": eta, "runs": RUNS, **count,
        "wrong": wrong.value, "wrong_low": wrong.interval[0], "wrong_high": wrong.interval[1],
        "exact_wrong": exactly_wrong(test, ratio, eta, samples),
        "upper_missed": sum(s.upper < p for s in found) / RUNS,
        "lower_missed": sum(s.lower > p for s in found) / RUNS,
        "mean_samples": float(np.mean([s.samples for s in found])), "seconds": time.perf_counter() - started,
    }  # fmt: skip


def exactly_wrong(test: str, ratio: float, eta: float, samples: int) -> float:
    """The probability of a wrong statement, from all outcomes of the test."""
    p = ratio * EPSILON
    made = make_test(EPSILON, eta, test == "sequential", samples)
    looked = {samples} if isinstance(made, Fixed) else _looks(samples)
    alive, wrong = np.ones(1), 0.0
    for n in range(1, samples + 1):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        if n not in looked:
            continue
        k = np.arange(n + 1)
        if isinstance(made, Fixed):
            bounds = np.array([made.bounds(n, int(j)) for j in k])
            accepted, rejected = bounds[:, 1] <= EPSILON, bounds[:, 0] > EPSILON
        else:
            accepted, rejected = made.accepts(n, k), made.rejects(n, k)
        wrong += float(alive[accepted if ratio > 1 else rejected].sum())
        alive = np.where(accepted | rejected, 0.0, alive)
    return wrong


def _looks(samples: int) -> set[int]:
    """After which samples the sampler looks, within its first block."""
    found: set[int] = set()
    drawn = 0
    while drawn < samples:
        size = min(max(FIRST_PIECE, drawn), samples - drawn)
        found |= {drawn + int(place) + 1 for place in looks(size, drawn)}
        drawn += size
    return found


def power(seed: int) -> Iterator[Row]:
    """Samples until an answer, by p / epsilon, from simulated violations; looks as in `sequential.looks`."""
    epsilon, eta, runs = 1e-3, 1e-3, POWER_RUNS
    size = zero_failure_size(epsilon, eta)
    for ratio in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0):
        rng, p = np.random.default_rng([seed, int(1000 * ratio)]), ratio * epsilon
        test = Sequential(epsilon, eta, 10**9)
        ends = [_until(test, p, rng) for _ in range(runs)]
        taken = np.array([n for n, _ in ends])
        accepted = sum(yes for _, yes in ends)
        yield {
            "ratio": ratio, "epsilon": epsilon, "eta": eta, "runs": runs, "accepted": accepted,
            "rejected": runs - accepted, "mean_samples": float(taken.mean()),
            "median_samples": float(np.median(taken)), "q90_samples": float(np.quantile(taken, 0.9)),
            "zero_failure_samples": size, "zero_failure_accepts": (1 - p) ** size,
        }  # fmt: skip


def _until(test: Sequential, p: float, rng: np.random.Generator) -> tuple[int, bool]:
    """After how many samples a simulated run ends, and whether it accepts."""
    n, k = 0, 0
    while True:
        steps = np.full(256, max(1, n // 128))
        counts = rng.binomial(steps, p)
        at, seen = n + np.cumsum(steps), k + np.cumsum(counts)
        end = test.first(at, seen)
        if end is not None:
            return int(at[end]), bool(test.accepts(int(at[end]), int(seen[end])))
        n, k = int(at[-1]), int(seen[-1])
