"""Verdicts of random networks with random properties against z3, and against sampling where z3 has no say."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.record import Recorder
from repairsolver.network import Network, replay
from repairsolver.property import Property
from repairsolver.results import Limits, Verdict, VerifyStatus
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property
from tests.exact_oracle import can_be_violated
from tests.random_networks import random_network, random_property, sample

RESULTS = Path(__file__).parent / "results" / "verdicts.csv"
COLUMNS = (
    "number",
    "kind",
    "inputs",
    "nodes",
    "status",
    "oracle",
    "truth",
    "agrees",
    "methods",
    "boxes",
    "seconds",
)
KINDS = ("piecewise", "piecewise", "smooth", "softmax")
EFFORT = Effort(samples=8, restarts=2, steps=2, keep=2)
POINTS = 20_000
# Violations below this depend on how onnxruntime rounds in float32.
FLOAT32 = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="time limit of a verification")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.first, resume=arguments.resume)
    for number in range(arguments.first, arguments.first + arguments.count):
        if not recorder.has(number=number):
            recorder.add(examine(number, arguments.seconds))
    print_summary(recorder.rows)


def examine(number: int, seconds: float) -> dict[str, object]:
    """Verify one random network and compare."""
    kind = KINDS[number % len(KINDS)]
    last = kind == "softmax"
    network = random_network(number, smooth=kind == "smooth", softmax=last, outputs=3 if last else None)
    prop = random_property(number, network, ordering=last)
    verdict = verify_property(network, prop, limits=Limits(seconds=seconds), seed=number, effort=EFFORT)
    oracle, truth = judged(network, prop, kind, number)
    return {
        "number": number,
        "kind": kind,
        "inputs": network.input_size,
        "nodes": len(network.nodes),
        "status": verdict.status.value,
        "oracle": oracle,
        "truth": {True: "violated", False: "holds", None: "open"}[truth],
        "agrees": agreement(network, prop, kind, verdict, truth),
        "methods": " + ".join(verdict.methods),
        "boxes": verdict.boxes,
        "seconds": round(verdict.seconds, 4),
    }


def judged(network: Network, prop: Property, kind: str, number: int) -> tuple[str, bool | None]:
    """Who knows whether the property can be violated, and the answer; None if nobody does."""
    exact = None if kind == "smooth" else can_be_violated(bare(network, kind), prop)
    if exact is not None:
        return "z3", exact
    rng = np.random.default_rng([number, 1])
    for region in prop.regions:
        points = sample(rng, region.lower, region.upper, POINTS)
        if region.violation(points, bare(network, kind)(points)).max() >= 0:
            return "sampling", True
    return "sampling", None


def bare(network: Network, kind: str) -> Network:
    """Without the final softmax, which leaves the order of outputs as it is."""
    return replace(network, nodes=network.nodes[:-1]) if kind == "softmax" else network


def agreement(network: Network, prop: Property, kind: str, verdict: Verdict, truth: bool | None) -> str:
    if verdict.status is VerifyStatus.HOLDS:
        return "wrong holds" if truth else "yes"
    if verdict.status is not VerifyStatus.VIOLATED:
        return "open"
    point = verdict.counterexample.input[None]  # type: ignore[union-attr]
    genuine = prop.violation(point, replay(network, point))[0] >= 0
    near = truth is not False or can_be_violated(bare(network, kind), prop, relaxed=FLOAT32) is not False
    return "yes" if genuine and near else "wrong violated"


def print_summary(rows: list[dict[str, str]]) -> None:
    for (kind, status), count in sorted(Counter((r["kind"], r["status"]) for r in rows).items()):
        print(f"{kind:10s} {status:9s} {count:6d}")
    wrong = [f"{r['number']} ({r['agrees']})" for r in rows if r["agrees"].startswith("wrong")]
    print(f"{len(rows)} networks, {len(wrong)} wrong verdicts: {', '.join(wrong) or 'none'}")
    if wrong:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
