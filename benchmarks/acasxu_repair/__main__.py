"""Repair ACAS Xu networks: `python -m benchmarks.acasxu_repair`; see the README beside this file."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import repairsolver as rs
from benchmarks.acasxu_repair.instances import (
    LOWER,
    UPPER,
    Pair,
    kept_samples,
    load_pair,
    point_shares,
    violated_pairs,
)
from benchmarks.record import Recorder, data_folder
from repairsolver.metrics import fidelity
from repairsolver.network.graph import Network
from repairsolver.verification.searching import processors

KEPT = 2000
"""Uniform samples of the whole domain whose advisory the repair must keep."""

SHARES = ("agreement", "region_agreement", "efficacy", "generalisation", "drawdown", "advisory")
COLUMNS = (
    "network",
    "property",
    "norm",
    "status",
    "certificate",
    "cost",
    "lower_bound",
    "entries",
    *SHARES,
    "rounds",
    "seconds",
    "total_seconds",
    "check_seconds",
    "timeout",
    "kept_points",
    "threads",
)


def main() -> None:
    """Repair the pairs that have no row yet, one row each."""
    arguments = _arguments()
    folder = data_folder("acasxu")
    pairs = violated_pairs(folder, everything=arguments.everything)
    wanted = set(arguments.only.split(",")) if arguments.only else set()
    chosen = [pair for pair in pairs if not wanted or {pair.network, pair.name.replace(",", "_")} & wanted]
    if not chosen:
        raise SystemExit(f"no pair matches {arguments.only}: try 2_1 or N2_9/8")
    threads = str(max(1, processors() // arguments.jobs))
    arguments.threads = os.environ.setdefault("REPAIRSOLVER_THREADS", threads)
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    left = [
        pair
        for pair in chosen
        if not recorder.has(network=pair.network, property=pair.prop, norm=arguments.norm)
    ]
    for row in _run(folder, left, arguments):
        recorder.add(row)
        print({key: row[key] for key in COLUMNS if row[key] is not None}, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acasxu_repair", description=__doc__)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one property 2 repair")
    parser.add_argument("--hard-timeout", type=float, default=300.0, help="seconds for properties 7 and 8")
    parser.add_argument("--norm", default="l1", help="as for `repairsolver repair`")
    parser.add_argument("--keep", type=int, default=KEPT, help="samples whose advisory is kept")
    parser.add_argument("--only", default="", help="networks or pairs to run, e.g. 2_1,N2_9/8")
    parser.add_argument("--everything", action="store_true", help="all 47 violated pairs, not the usual 36")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at once; they share the cores (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--save", type=Path, help="folder for the repaired networks and certificates")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "repairs.csv")
    return parser.parse_args()


def _run(folder: Path, pairs: list[Pair], arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Rows as they are finished: in this process, or in `jobs` fresh ones."""
    if arguments.jobs == 1:
        yield from (run(folder, pair, arguments) for pair in pairs)
        return
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run, folder, pair, arguments) for pair in pairs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def run(folder: Path, pair: Pair, arguments: argparse.Namespace) -> dict[str, object]:
    """Repair one network, save it with its certificate, and have the saved files checked."""
    network, prop = load_pair(folder, pair)
    timeout = arguments.timeout if pair.prop == 2 else arguments.hard_timeout
    started = time.perf_counter()
    fix = rs.repair(
        network,
        prop,
        norm=arguments.norm,
        keep=kept_samples(arguments.keep, arguments.seed),
        decision="min",
        limits=rs.Limits(seconds=timeout),
        seed=arguments.seed,
        certificate=True,
    )
    total = time.perf_counter() - started
    checked, seconds = check_saved(fix, folder / "vnnlib" / f"prop_{pair.prop}.vnnlib", pair, arguments.save)
    return {
        "network": pair.network,
        "property": pair.prop,
        "norm": arguments.norm,
        "status": fix.status,
        "certificate": checked,
        "cost": fix.cost,
        "lower_bound": fix.lower_bound,
        "entries": None if fix.edit is None else fix.edit.count,
        **_shares(folder, pair, network, fix, arguments.seed),
        "rounds": fix.rounds,
        "seconds": fix.seconds,
        "total_seconds": total,
        "check_seconds": seconds,
        "timeout": timeout,
        "kept_points": arguments.keep,
        "threads": arguments.threads,
    }


def check_saved(fix: rs.Repair, prop: Path, pair: Pair, save: Path | None) -> tuple[str, float | None]:
    """What `repairsolver check`, run on the saved files, says first, and its seconds."""
    if fix.network is None:
        return "no network", None
    with tempfile.TemporaryDirectory() as temporary:
        folder = save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"acasxu_{pair.network}_property_{pair.prop}"
        network, certificate = folder / f"{stem}.onnx", folder / f"{stem}.cert"
        if fix.certificate is None:
            fix.save(network)
            return "none", None
        fix.save(network, certificate=certificate)
        started = time.perf_counter()
        command = [sys.executable, "-m", "repairsolver.cli.main", "check", certificate, "--network", network]
        done = subprocess.run([*command, "--property", prop], capture_output=True, text=True, check=False)
        said = (done.stdout or done.stderr).partition("\n")[0]
        return said, time.perf_counter() - started


def _shares(folder: Path, pair: Pair, network: Network, fix: rs.Repair, seed: int) -> dict[str, object]:
    """Same advisory on fresh samples of the whole domain and of the region, and the point sets."""
    if fix.network is None:
        return dict.fromkeys(SHARES)
    prop = load_pair(folder, pair)[1]
    whole = fidelity(network, fix.network, LOWER, UPPER, decision="min", seed=seed + 1, prop=prop)
    return {
        "agreement": None if whole.agreement is None else whole.agreement.value,
        "region_agreement": None if whole.region_agreement is None else whole.region_agreement.value,
        **point_shares(folder.parent, pair, prop, network, fix.network),
    }


if __name__ == "__main__":
    main()
