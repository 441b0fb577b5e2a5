"""Boxes proved by construction, on and off: `python -m benchmarks.acasxu_repair.ablation`; see the README."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER, Pair, kept_samples, load_pair, violated_pairs
from benchmarks.acasxu_repair.measure import check_saved
from benchmarks.clock import CLOCK
from benchmarks.record import Recorder, data_folder
from repairsolver.metrics import fidelity
from repairsolver.repairing.delta import robust
from repairsolver.results import Event

RESULTS = Path(__file__).parent / "results" / "ablation.csv"

PAIRS = "2_1/2,2_9/2,3_4/2,4_6/2,5_3/2,5_8/2,1_9/7,2_9/8"

COLUMNS = (
    "network",
    "property",
    "boxes",
    "status",
    "certificate",
    "cost",
    "lower_bound",
    "agreement",
    "first_round",
    "first_seconds",
    "first_cost",
    "rounds",
    "seconds",
    "timeout",
    "kept_points",
    "clock",
)


def main() -> None:
    """Repair every pair with the search over boxes and without it, one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acasxu_repair.ablation", description=__doc__)
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for one property 2 repair")
    parser.add_argument("--hard-timeout", type=float, default=60.0, help="seconds for properties 7 and 8")
    parser.add_argument("--only", default=PAIRS, help="pairs to run, with commas")
    parser.add_argument("--keep", type=int, default=2000, help="samples whose advisory is kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    folder = data_folder("acasxu")
    for pair in _chosen(folder, arguments.only):
        for boxes in ("on", "off"):
            if not recorder.has(network=pair.network, property=pair.stated, boxes=boxes):
                row = _run(folder, pair, boxes, arguments)
                recorder.add(row)
                print(row, flush=True)


def _chosen(folder: Path, only: str) -> Iterator[Pair]:
    known = {f"{pair.network}/{pair.prop}": pair for pair in violated_pairs(folder, everything=True)}
    for name in only.split(","):
        if name not in known:
            raise SystemExit(f"no violated pair {name!r}: one of {', '.join(known)}")
        yield known[name]


def _run(folder: Path, pair: Pair, boxes: str, arguments: argparse.Namespace) -> dict[str, object]:
    network, prop = load_pair(folder, pair)
    first: dict[str, float] = {}
    rounds, begun = 0, time.perf_counter()

    def watch(event: Event) -> None:
        nonlocal rounds
        rounds += event.stage == "solve"
        if event.stage == "proved" and not first:
            first.update(round=rounds, seconds=event.seconds, cost=event.numbers["best"])

    timeout = arguments.timeout if pair.prop == 2 else arguments.hard_timeout
    off = patch.object(robust, "applicable", return_value=False)
    with off if boxes == "off" else nullcontext():
        fix = rs.repair(
            network,
            prop,
            keep=kept_samples(arguments.keep, arguments.seed, None),
            decision="min",
            limits=rs.Limits(seconds=timeout),
            seed=arguments.seed,
            certificate=True,
            on_event=watch,
        )
    seconds = time.perf_counter() - begun
    same = None
    if fix.network is not None:
        whole = fidelity(
            network, fix.network, LOWER, UPPER, decision="min", seed=arguments.seed + 1, prop=prop
        )
        same = None if whole.agreement is None else whole.agreement.value
    return {
        "network": pair.network,
        "property": pair.stated,
        "boxes": boxes,
        "status": fix.status,
        "certificate": check_saved(fix, prop, pair, None)[0],
        "cost": fix.cost,
        "lower_bound": fix.lower_bound,
        "agreement": same,
        "first_round": first.get("round"),
        "first_seconds": first.get("seconds"),
        "first_cost": first.get("cost"),
        "rounds": fix.rounds,
        "seconds": seconds,
        "timeout": timeout,
        "kept_points": arguments.keep,
        "clock": CLOCK,
    }


if __name__ == "__main__":
    main()
