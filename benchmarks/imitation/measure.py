"""One repair from examples, timed and measured on points that it has not seen: a row of the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER
from benchmarks.imitation.instances import Instance
from repairsolver.baselines.birdnn import birdnn_retrained, birdnn_tuned
from repairsolver.baselines.care import care_repaired
from repairsolver.network.graph import Network
from repairsolver.repairing.imitation.behaviour import Behaviours, collect
from repairsolver.repairing.imitation.method import Course, learned
from repairsolver.results import Array

SAMPLES, GLOBAL = 100_000, 200_000
"""Points of the whole domain that repairs may use, and others that they are measured on."""

OURS = {
    "retrain": rs.Imitation(),
    "retrain, none woken": rs.Imitation(retraining=rs.Retraining(wake=False), more=False),
    "tune exact": rs.Imitation(variant="tune", tuning=rs.Tuning(measure="gradient")),
    "tune gradient": rs.Imitation(variant="tune", tuning=rs.Tuning(optimiser="gradient")),
}
PEERS: dict[str, Callable[..., Network]] = {
    "BIRDNN fine-tuning, k=10": birdnn_tuned,
    "BIRDNN retraining": birdnn_retrained,
    "CARE": care_repaired,
}
METHODS = (*OURS, *PEERS)

COLUMNS = (
    "network",
    "property",
    "method",
    "run",
    "negatives",
    "repaired",
    "repaired_unseen",
    "positives_violating",
    "positives_agree",
    "domain_agree",
    "entries",
    "seconds",
    "cpu_seconds",
)


def run(instance: Instance, method: str, seed: int) -> dict[str, object]:
    """Repair with one method and seed; seconds count the collection of points and the repair."""
    started, cpu = time.perf_counter(), time.process_time()
    repaired, negatives = _repaired(instance, method, seed)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    before, prop = instance.network, instance.prop
    good = instance.positives_test
    old, new = rs.replay(before, good), rs.replay(repaired, good)
    fine = prop.violation(good, old) < 0
    domain = np.random.default_rng([seed, 99]).uniform(LOWER, UPPER, (GLOBAL, 5))
    change = rs.fidelity(before, repaired, LOWER, UPPER, decision="min", samples=100).norms
    return {
        "network": instance.pair.network,
        "property": instance.pair.prop,
        "method": method,
        "run": seed,
        "negatives": negatives,
        "repaired": _right(prop, repaired, instance.negatives.inputs),
        "repaired_unseen": _right(prop, repaired, instance.negatives_test),
        "positives_violating": float((prop.violation(good, new)[fine] >= 0).mean()),
        "positives_agree": float((old.argmin(axis=1) == new.argmin(axis=1)).mean()),
        "domain_agree": agreement(before, repaired, domain),
        "entries": None if change is None else change.l0,
        "seconds": seconds,
        "cpu_seconds": cpu,
    }


def _repaired(instance: Instance, method: str, seed: int) -> tuple[Network, int]:
    how = replace(OURS.get(method, rs.Imitation(more=False)), domain=(LOWER, UPPER), samples=SAMPLES)
    points: Behaviours = collect(
        instance.network,
        instance.prop,
        instance.negatives,
        instance.positives,
        how,
        decision="min",
        seed=seed,
    )
    if method in PEERS:
        return PEERS[method](instance.network, points, seed=seed), len(points.negatives)
    course = Course.begin(instance.network, instance.prop, how, seed=seed)
    return learned(course, points), len(points.negatives)


def _right(prop: rs.Property, network: Network, points: Array) -> float:
    return float((prop.violation(points, rs.replay(network, points)) < 0).mean())


def agreement(before: Network, after: Network, points: Array) -> float:
    """Of decisions, by our forward pass: a million runs one by one would take longer than the repair."""
    same = [before(part).argmin(axis=1) == after(part).argmin(axis=1) for part in np.array_split(points, 10)]
    return float(np.concatenate(same).mean())
