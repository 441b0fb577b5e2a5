"""One repair, saved, checked from its files, and measured: a row of the results."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER, Pair, kept_samples, load_pair, point_shares
from benchmarks.clock import CLOCK, children_seconds
from repairsolver.metrics import fidelity
from repairsolver.network.graph import Network

SHARES = ("agreement", "region_agreement", "efficacy", "generalisation", "drawdown", "advisory")
DOMAIN = 100_000
"""Samples of the whole domain whose decision imitation keeps."""

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
    "clock",
)


def run(folder: Path, pair: Pair, arguments: argparse.Namespace) -> dict[str, object]:
    """Repair one network, save it with its certificate, and have the saved files checked."""
    network, prop = load_pair(folder, pair)
    timeout = arguments.timeout if pair.prop == 2 else arguments.hard_timeout
    started = time.perf_counter()
    fix = rs.repair(
        network,
        prop,
        norm=arguments.norm,
        **examples(pair, prop, arguments),
        decision="min",
        limits=rs.Limits(seconds=timeout),
        seed=arguments.seed,
        certificate=True,
    )
    total = time.perf_counter() - started
    checked, seconds = check_saved(fix, prop, pair, arguments.save)
    return {
        "network": pair.network,
        "property": pair.stated,
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
        "kept_points": arguments.keep if arguments.method == "delta" else DOMAIN,
        "threads": arguments.threads,
        "clock": CLOCK,
    }


def examples(pair: Pair, prop: rs.Property, arguments: argparse.Namespace) -> dict[str, Any]:
    """What each method knows of the domain outside the property's region."""
    if arguments.method == "imitation":
        how = rs.Imitation(domain=(LOWER, UPPER), samples=DOMAIN, prove=True)
        return {"method": "imitation", "imitation": how}
    # A strengthened property may ask for another advisory than the network gives throughout its box.
    outside = prop if pair.strengthened else None
    return {
        "keep": kept_samples(arguments.keep, arguments.seed, outside),
        "keep_soft": arguments.keep_soft,
    }


def check_saved(fix: rs.Repair, prop: rs.Property, pair: Pair, save: Path | None) -> tuple[str, float | None]:
    """What `repairsolver check`, run on the saved files, says first, and its seconds."""
    if fix.network is None:
        return "no network", None
    with tempfile.TemporaryDirectory() as temporary:
        folder = save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"acasxu_{pair.network}_property_{pair.stated.replace(' ', '_')}"
        network, certificate = folder / f"{stem}.onnx", folder / f"{stem}.cert"
        stated = folder / f"{stem}.vnnlib"
        stated.write_text(prop.text, encoding="utf-8")
        if fix.certificate is None:
            fix.save(network)
            return "none", None
        fix.save(network, certificate=certificate)
        started = children_seconds()
        command = [sys.executable, "-m", "repairsolver.cli.main", "check", certificate, "--network", network]
        done = subprocess.run([*command, "--property", stated], capture_output=True, text=True, check=False)
        said = (done.stdout or done.stderr).partition("\n")[0]
        return said, children_seconds() - started


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
