"""One repair by gates, checked from its saved files, and measured: a row of the results."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import LOWER, UPPER, Pair, load_pair, violated
from benchmarks.gates.greedy import greedy_gates
from benchmarks.gates.latency import in_batches, ratios
from benchmarks.gates.whole import shield_alone

BOX_SAMPLES, DOMAIN_SAMPLES = 10_000, 100_000

COLUMNS = (
    "network",
    "property",
    "method",
    "status",
    "certificate",
    "coverage",
    "boxes",
    "gates",
    "changes",
    "box_fidelity",
    "box_unchanged",
    "domain_fidelity",
    "volume",
    "seconds",
    "cpu_seconds",
    "check_seconds",
    "latency_1",
    "latency_1000",
    "timeout",
    "message",
)

Make = Callable[[rs.Network, rs.Property, float, int], rs.Repair]


def _gated(place: str) -> Make:
    def make(network: rs.Network, prop: rs.Property, seconds: float, seed: int) -> rs.Repair:
        return rs.repair(
            network, prop, method="gate", place=place, decision="min", limits=rs.Limits(seconds=seconds),  # type: ignore[arg-type]
            seed=seed, certificate=True,
        )  # fmt: skip

    return make


METHODS: dict[str, Make] = {
    "auto": _gated("auto"),
    "output": _gated("output"),
    "inner": _gated("inner"),
    "shield": shield_alone,
    "greedy": greedy_gates,
}
"""Ours: `auto`, `output`, `inner`. `shield`: scores corrected in whole regions. `greedy`: the paper's."""


def run(folder: Path, pair: Pair, method: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Repair one network, save it with its certificate, have the files checked, and measure."""
    network, prop = load_pair(folder, pair)
    started, busy = time.perf_counter(), time.process_time()
    fix = METHODS[method](network, prop, arguments.timeout, arguments.seed)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    row: dict[str, object] = dict.fromkeys(COLUMNS)
    row |= {"network": pair.network, "property": pair.prop, "method": method, "status": fix.status}
    row |= {"seconds": seconds, "cpu_seconds": busy, "timeout": arguments.timeout, "message": fix.message}
    if fix.network is None or not isinstance(fix.edit, rs.Gates):
        return row
    prop_file = folder / "vnnlib" / f"prop_{pair.prop}.vnnlib"
    stem = f"acasxu_{pair.network}_property_{pair.prop}_{method}"
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.save or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        checked, check_seconds = _checked(fix, place / f"{stem}.onnx", prop_file)
        gated = rs.load_network(place / f"{stem}.onnx")
    coverage = 1.0 if checked == "valid" else 0.0 if fix.verdict is None else fix.verdict.proved_volume
    latency = ratios(network, gated)
    return row | {
        "certificate": checked,
        "coverage": coverage,
        "boxes": fix.edit.boxes,
        "gates": len(fix.edit.gates),
        "changes": fix.edit.count,
        **_fidelity(network, gated, prop, arguments.seed),
        "volume": _volume(fix.edit, prop),
        "check_seconds": check_seconds,
        "latency_1": latency[1],
        "latency_1000": latency[1000],
    }


def _checked(fix: rs.Repair, path: Path, prop: Path) -> tuple[str, float | None]:
    """What `check` says of the saved files, and its seconds."""
    if fix.certificate is None:
        fix.save(path)
        return "none", None
    certificate = path.with_suffix(".cert")
    fix.save(path, certificate=certificate)
    answer = rs.check(certificate, network=path, property=prop)
    return "valid" if answer.valid else f"invalid: {answer.reason}", answer.seconds


def _fidelity(before: rs.Network, after: rs.Network, prop: rs.Property, seed: int) -> dict[str, float]:
    """Unchanged advisories, by onnxruntime: in the box, where the property held; and on the whole domain."""
    rng = np.random.default_rng([seed, 5])
    old_scores, new_scores = in_batches(before), in_batches(after)
    region, kept = prop.regions[0], np.zeros((0, 5))
    while len(kept) < BOX_SAMPLES:
        points = rng.uniform(region.lower, region.upper, (BOX_SAMPLES, 5)).astype(np.float32).astype(float)
        points = np.clip(points, region.lower, region.upper)
        kept = np.concatenate([kept, points[~violated(prop, points, old_scores(points))]])
    kept = kept[:BOX_SAMPLES]
    domain = rng.uniform(LOWER, UPPER, (DOMAIN_SAMPLES, 5))
    old, new = old_scores(kept), new_scores(kept)
    same = old_scores(domain).argmin(axis=1) == new_scores(domain).argmin(axis=1)
    return {
        "box_fidelity": float((old.argmin(axis=1) == new.argmin(axis=1)).mean()),
        "box_unchanged": float((old == new).all(axis=1).mean()),
        "domain_fidelity": float(same.mean()),
    }


def _volume(edit: rs.Gates, prop: rs.Property) -> float:
    """The share of the property's box in which some gate may be on (boxes may overlap)."""
    region = prop.regions[0]
    width = region.upper - region.lower
    boxes = [pair for gate in edit.gates for pair in zip(gate.lower, gate.upper, strict=True)]
    shares = [
        np.clip((np.minimum(high, region.upper) - np.maximum(low, region.lower)) / width, 0, 1).prod()
        for low, high in boxes
    ]
    return float(min(1.0, np.sum(shares)))
