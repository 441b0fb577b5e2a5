"""Imitation, then a proof: `python -m benchmarks.imitation.handover`; see the README beside this file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER, Pair, load_pair
from benchmarks.acasxu_repair.measure import check_saved
from benchmarks.imitation.measure import agreement
from benchmarks.record import Recorder, data_folder
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property

PAIRS = (
    Pair("2_1", 2), Pair("2_2", 2), Pair("1_9", 7), Pair("2_9", 8), Pair("3_4", 2), Pair("4_5", 2),
    Pair("3_3", 2, strengthened=True), Pair("5_9", 2),
)  # fmt: skip
METHOD = "imitation, --prove"
SAMPLES, GLOBAL = 100_000, 200_000
COLUMNS = (
    "network", "property", "method", "status", "proved_by", "start", "learnt", "delta_rounds",
    "certificate", "domain_agree", "region_agree", "entries", "seconds", "cpu_seconds", "allowed",
)  # fmt: skip


def main() -> None:
    """Repair each pair from samples and counterexamples alone, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imitation.handover", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for one repair")
    parser.add_argument("--only", help="pairs such as 1_9/7,2_9/8")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "handover.csv")
    arguments = parser.parse_args()
    folder = data_folder("acasxu")
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for pair in PAIRS:
        network, prop = load_pair(folder, pair)
        if arguments.only and f"{pair.network}/{pair.prop}" not in arguments.only.split(","):
            continue
        if recorder.has(network=pair.network, property=pair.stated):
            continue
        row = run(pair, network, prop, arguments.seconds)
        recorder.add({"network": pair.network, "property": pair.stated, "method": METHOD, **row})
        print(pair.name, row, flush=True)


def run(pair: Pair, network: Network, prop: Property, seconds: float) -> dict[str, object]:
    """One repair, its proof checked by the independent checker, its fidelity on points of its own."""
    how = rs.Imitation(domain=(LOWER, UPPER), samples=SAMPLES, prove=True)
    started, cpu = time.perf_counter(), time.process_time()
    learnt: list[str] = []

    def note(event: rs.Event) -> None:
        if event.stage == "imitate" and event.message.startswith("round "):
            learnt.append(event.message)

    fix = rs.repair(
        network, prop, method="imitation", imitation=how, decision="min", certificate=True,
        limits=rs.Limits(seconds=seconds), on_event=note,
    )  # fmt: skip
    spent, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert fix.network is not None
    domain = np.random.default_rng(99).uniform(LOWER, UPPER, (GLOBAL, 5))
    kept = rs.fidelity(
        network, fix.network, LOWER, UPPER, decision="min", property=prop, samples=50_000, seed=1
    )
    region = kept.region_agreement
    return {
        "status": fix.status.value,
        "proved_by": "" if not fix.proved else "examples" if fix.rounds == len(learnt) else "delta",
        "start": fix.message.partition("method delta started from ")[2],
        "learnt": len(learnt),
        "delta_rounds": fix.rounds - len(learnt),
        "certificate": check_saved(fix, prop, pair, None)[0],
        "domain_agree": agreement(network, fix.network, domain),
        "region_agree": None if region is None else region.value,
        "entries": None if fix.edit is None else fix.edit.count,
        "seconds": spent,
        "cpu_seconds": cpu,
        "allowed": seconds,
    }


if __name__ == "__main__":
    main()
