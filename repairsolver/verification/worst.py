r"""A proved upper bound on the violation: no input violates by more than t.

Whether any input violates by more than t is a property itself, with every right-hand side lowered by t; the
verifier proves it, finds a worse input, or returns a bound b <= 0 from which
$\max_x \min_r (d_r - C_r f(x) - D_r x) \le t - b$ follows. The first t is what was found, plus the
tolerance; where that takes too long, larger ones are tried, between it and the bound known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.errors import SoundnessError
from repairsolver.network.graph import Network
from repairsolver.network.operators import Softmax
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample, Limits, Verdict, VerifyStatus
from repairsolver.verification.attack import Effort, climb_from
from repairsolver.verification.engine import verify_property

# The gap that counts as closed: relative to the violation, and to the outputs, which are float32.
RELATIVE, ROUNDING = 1e-3, 1e-6
# A replay may exceed a bound of real arithmetic by so much, relative to the outputs, for rounding.
SLACK = 1e-4
# Of the time left, for one proof; and where there is no limit of time, seconds of the first that fails.
SHARE, FIRST_SECONDS = 0.3, 10.0
# Proofs that may fail in succession where there is no limit of time.
MOST_FAILURES = 4
EFFORT = Effort(samples=1024, restarts=16, steps=12, rounds=1)


@dataclass(frozen=True, slots=True, eq=False)
class Worst:
    """The worst input found, and the bound proved; infinite if none was."""

    found: Counterexample
    upper: float
    methods: tuple[str, ...]


def tolerance(found: Counterexample) -> float:
    """The gap between bound and violation that counts as closed."""
    return max(RELATIVE * found.violation, ROUNDING * float(np.abs(found.output).max(initial=0.0)))


def bound_violation(
    network: Network,
    prop: Property,
    found: Counterexample,
    *,
    limits: Limits,
    left: Callable[[], float],
    say: Callable[[str, float, float], None],
    seed: int = 0,
    device: str = "cpu",
) -> Worst:
    """Prove upper bounds on the violation, and look for worse inputs, until both meet or time is up.

    Args:
        found: a counterexample, better the worst that an attack finds.
        left: seconds left, infinite without a limit.
        say: called with a sentence, the largest violation, and the bound.

    Raises:
        SoundnessError: a bound contradicts a replay.
    """
    if isinstance(network.output.operator, Softmax):
        return Worst(found, _on_simplex(prop), ("largest of probabilities",))
    worst, failed, failures, last = Worst(found, math.inf, ()), -math.inf, 0, False
    while left() > 0 and worst.upper - worst.found.violation > tolerance(worst.found):
        target = _next(worst, failed)
        if target is None and not last and math.isfinite(left()):
            # Nothing easier is left to try: what was too hard gets all the time there is.
            failed, last = -math.inf, True
            continue
        if target is None or (math.isinf(left()) and failures >= MOST_FAILURES):
            break
        seconds = FIRST_SECONDS * 2**failures if math.isinf(left()) else left() * (1.0 if last else SHARE)
        verdict = verify_property(
            network, beyond(prop, target), seed=seed, device=device, effort=EFFORT,
            limits=replace(limits, seconds=max(seconds, 0.05)),
        )  # fmt: skip
        if verdict.status is not VerifyStatus.VIOLATED:
            proved = verdict.status is VerifyStatus.HOLDS
            failed, failures = (failed, 0) if proved else (target, failures + 1)
        worst = _learn(network, prop, worst, target, verdict)
        say(f"no input violates by more than {worst.upper:.6g}", worst.found.violation, worst.upper)
    _check(worst)
    return worst


def beyond(prop: Property, violation: float) -> Property:
    """The property that only inputs violate which violate `prop` by this much or more."""
    regions = tuple(
        replace(r, unsafe=tuple(replace(c, bound=c.bound - violation) for c in r.unsafe))
        for r in prop.regions
    )
    name = f"{prop.name} by more than {violation:.6g}"
    return Property(regions, prop.input_size, prop.output_size, name=name)


def _next(worst: Worst, failed: float) -> float | None:
    """The next violation to exclude; None if there is none between what failed and what is proved."""
    low, size = worst.found.violation, tolerance(worst.found)
    if failed < low:
        return low + 0.75 * size
    if math.isinf(worst.upper):
        return None
    quarter = low + (worst.upper - low) / 4
    target = quarter if quarter > failed else (failed + worst.upper) / 2
    return target if worst.upper - target > size / 2 else None


def _learn(network: Network, prop: Property, worst: Worst, target: float, verdict: Verdict) -> Worst:
    """What a verdict about `beyond(prop, target)` says about the largest violation."""
    methods = tuple(dict.fromkeys([*worst.methods, *(m for m in verdict.methods if m != "attack")]))
    if verdict.status is VerifyStatus.VIOLATED:
        seen = [replace(c, violation=c.violation + target) for c in verdict.counterexamples]
        seen += climb_from(network, prop, np.array([c.input for c in seen]))
        return Worst(max([worst.found, *seen], key=lambda c: c.violation), worst.upper, methods)
    # A proof cuts away what cannot violate, by however little: it excludes the target, not more.
    bound = -math.inf if verdict.best_bound is None else min(0.0, verdict.best_bound)
    bound = 0.0 if verdict.status is VerifyStatus.HOLDS else bound
    upper = math.nextafter(_lowered(prop, target) - bound, math.inf)
    return Worst(worst.found, min(worst.upper, upper), methods)


def _lowered(prop: Property, target: float) -> float:
    """By how much `beyond` lowers a right-hand side at most, rounded up."""
    rows = np.concatenate([c.bound for r in prop.regions for c in r.unsafe])
    lowered = rows - (rows - target)
    return float(np.nextafter(lowered, np.inf).max(initial=-np.inf))


def _on_simplex(prop: Property) -> float:
    """The largest violation that any probabilities allow: rows behind a softmax only compare them."""
    return max(float((-c.output).max(axis=1).min()) for r in prop.regions for c in r.unsafe)


def _check(worst: Worst) -> None:
    size = max(1e-6, float(np.abs(worst.found.output).max(initial=0.0)))
    if worst.found.violation > worst.upper + SLACK * max(size, worst.found.violation):
        raise SoundnessError(
            f"an input violates by {worst.found.violation:.6g} on onnxruntime, but {worst.upper:.6g} was "
            "proved to be the most; please report this with the network and the property"
        )
