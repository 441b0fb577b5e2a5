"""Repair ACAS Xu networks: `python -m benchmarks.acasxu_repair`; see the README beside this file."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.record import Recorder, data_folder
from repairsolver.metrics import fidelity
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet, load_property
from repairsolver.property.specification import Property
from repairsolver.repairing import Repair, repair_property
from repairsolver.results import Limits
from repairsolver.verification.engine import verify_property

INSTANCES = (
    ("2_1", 2),
    ("2_2", 2),
    ("3_1", 2),
    ("4_1", 2),
    ("5_3", 2),
    ("2_9", 8),
    ("1_9", 7),
)
LOWER = np.array([-0.328422877, -0.5, -0.5, -0.5, -0.5])
UPPER = np.array([0.679857769, 0.5, 0.5, 0.5, 0.5])
"""The networks' input ranges, normalised."""

KEPT = 2000
"""Uniform samples of the whole domain whose advisory the repair must keep."""

COLUMNS = (
    "network",
    "property",
    "norm",
    "status",
    "verified",
    "cost",
    "lower_bound",
    "entries",
    "agreement",
    "region_agreement",
    "rounds",
    "seconds",
    "verify_seconds",
    "timeout",
    "kept_points",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acasxu_repair", description=__doc__)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one property 2 repair")
    parser.add_argument("--hard-timeout", type=float, default=300.0, help="seconds for properties 7 and 8")
    parser.add_argument("--norm", default="l1", choices=("l1", "l2", "linf"))
    parser.add_argument("--keep", type=int, default=KEPT, help="samples whose advisory is kept")
    parser.add_argument("--only", default="", help="networks to run, e.g. 2_1,2_9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--save", type=Path, help="folder for the repaired networks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "repairs.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    chosen = set(arguments.only.split(",")) if arguments.only else {name for name, _ in INSTANCES}
    for name, number in INSTANCES:
        if name in chosen and not recorder.has(network=name, property=number, norm=arguments.norm):
            row = run(name, number, arguments)
            recorder.add(row)
            print({key: row[key] for key in COLUMNS[:12]}, flush=True)


def run(name: str, number: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Repair one network, save it, and verify the saved file."""
    folder = data_folder("acasxu")
    network = load_network(folder / "onnx" / f"ACASXU_run2a_{name}_batch_2000.onnx")
    prop = load_property(folder / "vnnlib" / f"prop_{number}.vnnlib", network=network)
    timeout = arguments.timeout if number == 2 else arguments.hard_timeout
    samples = np.random.default_rng([arguments.seed, 1]).uniform(LOWER, UPPER, (arguments.keep, 5))
    fix = repair_property(
        network,
        prop,
        norm=arguments.norm,
        keep=PointSet(samples, name="uniform samples") if arguments.keep else None,
        decision="min",
        limits=Limits(seconds=timeout),
        seed=arguments.seed,
    )
    verified, seconds = verify_saved(fix, prop, name, number, arguments.save)
    return {
        "network": name,
        "property": number,
        "norm": arguments.norm,
        "status": fix.status,
        "verified": verified,
        "cost": fix.cost,
        "lower_bound": fix.lower_bound,
        "entries": None if fix.edit is None else fix.edit.count,
        **agreement(network, fix, arguments.seed),
        "rounds": fix.rounds,
        "seconds": fix.seconds,
        "verify_seconds": seconds,
        "timeout": timeout,
        "kept_points": arguments.keep,
    }


def verify_saved(
    fix: Repair, prop: Property, name: str, number: int, save: Path | None
) -> tuple[str, float | None]:
    """What the verifier says about the file; an unproved candidate is not verified again."""
    if fix.network is None:
        return "no network", None
    with tempfile.TemporaryDirectory() as temporary:
        folder = save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"acasxu_{name}_property_{number}.onnx"
        fix.save(path)
        if not fix.proved:
            return "not proved", None
        started = time.perf_counter()
        verdict = verify_property(load_network(path), prop, limits=Limits(seconds=600.0))
        return str(verdict.status), time.perf_counter() - started


def agreement(network: Network, fix: Repair, seed: int) -> dict[str, float | None]:
    """Same advisory on fresh samples of the whole domain and of the property's region."""
    if fix.network is None:
        return {"agreement": None, "region_agreement": None}
    whole = fidelity(network, fix.network, LOWER, UPPER, decision="min", seed=seed + 1)
    inside = None if fix.fidelity is None else fix.fidelity.region_agreement
    return {
        "agreement": None if whole.agreement is None else whole.agreement.value,
        "region_agreement": None if inside is None else inside.value,
    }


if __name__ == "__main__":
    main()
