"""Statements about ACAS Xu against known verdicts, and repairs by samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER, kept_samples, load_pair, violated_pairs
from benchmarks.acasxu_verify.instances import load_instances
from repairsolver.metrics import fidelity
from repairsolver.sampling.sampler import sample_property

Row = dict[str, object]
Done = Callable[..., bool]
VERDICTS = (
    "network",
    "property",
    "expected",
    "samples",
    "violations",
    "upper",
    "lower",
    "agrees",
    "alone",
    "seconds",
)
REPAIRS = (
    "network", "property", "status", "epsilon", "eta", "cost", "lower_bound", "entries", "rounds", "samples",
    "agreement", "region_agreement", "seconds", "fresh_samples", "fresh_violations", "certificate", "verdict",
)  # fmt: skip
SAMPLES, FRESH, KEPT = 100_000, 300_000, 2000


def verdicts(folder: Path, seed: int, done: Done) -> Iterator[Row]:
    """Samples of each of the 186 instances: none may violate where the property is proved."""
    for instance in load_instances(folder):
        if done(network=instance.network, property=instance.prop):
            continue
        network = rs.load_network(folder / "onnx" / instance.network)
        prop = rs.load_property(folder / "vnnlib" / instance.prop, network=network)
        found = sample_property(
            network, prop, epsilon=1e-5, eta=1e-3, sequential=False, samples=SAMPLES, seed=seed
        )
        yield {
            "network": instance.network, "property": instance.prop, "expected": instance.expected,
            "samples": found.samples, "violations": found.violations, "upper": found.upper,
            "lower": found.lower,
            "agrees": instance.expected == "violated" or found.violations == 0, "alone": found.alone,
            "seconds": found.seconds,
        }  # fmt: skip


def repairs(folder: Path, seed: int, scratch: Path, done: Done) -> Iterator[Row]:
    """The 36 pairs repaired by samples, each sampled again with another seed, and verified for 3 s."""
    epsilon, eta = 1e-4, 1e-3
    for pair in violated_pairs(folder):
        if done(network=pair.network, property=pair.prop):
            continue
        network, prop = load_pair(folder, pair)
        started = time.perf_counter()
        fix = rs.repair(
            network, prop, guarantee="pac", epsilon=epsilon, eta=eta, decision="min", seed=seed,
            keep=kept_samples(KEPT, seed), limits=rs.Limits(seconds=60),
        )  # fmt: skip
        seconds = time.perf_counter() - started
        row: Row = {
            "network": pair.network, "property": pair.prop, "status": fix.status.value, "epsilon": epsilon,
            "eta": eta, "cost": fix.cost, "lower_bound": fix.lower_bound, "rounds": fix.rounds,
            "seconds": seconds,
            "entries": None if fix.edit is None else fix.edit.count,
        }  # fmt: skip
        if fix.network is not None and fix.statement is not None and fix.statement.accepted:
            row |= _judged(network, fix, prop, seed, scratch)
        yield {name: row.get(name) for name in REPAIRS}


def _judged(network: rs.Network, fix: rs.Repair, prop: rs.Property, seed: int, scratch: Path) -> Row:
    assert fix.network is not None
    assert fix.statement is not None
    fix.statement.save(scratch / "statement.json")
    answer = rs.check(scratch / "statement.json", network=fix.network, property=prop)
    fresh = sample_property(
        fix.network, prop, epsilon=1e-5, eta=1e-3, sequential=False, samples=FRESH, seed=seed + 1
    )
    kept = fidelity(network, fix.network, LOWER, UPPER, decision="min", prop=prop, samples=100_000, seed=seed)
    proof = rs.verify(fix.network, prop, limits=rs.Limits(seconds=3), seed=seed)
    shares = (kept.agreement, kept.region_agreement)
    return {
        "samples": fix.statement.samples, "fresh_samples": fresh.samples,
        "fresh_violations": fresh.violations,
        "certificate": "valid" if answer.valid else answer.reason, "verdict": proof.status.value,
        "agreement": None if shares[0] is None else shares[0].value,
        "region_agreement": None if shares[1] is None else shares[1].value,
    }  # fmt: skip
