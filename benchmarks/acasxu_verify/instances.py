"""The instances with their known verdicts, and the verification of one of them."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path

import repairsolver as rs
from repairsolver.verification.engine import verify_property

LIST, VERDICTS = "acasxu_instances.csv", "acasxu_ground_truth.csv"


@dataclass(frozen=True, slots=True)
class Instance:
    """A network, a property, and the verdict that is known: `holds` or `violated`."""

    network: str
    prop: str
    expected: str

    @property
    def short(self) -> str:
        """`N2,9 prop_8`."""
        first, second = self.network.removeprefix("ACASXU_run2a_").split("_")[:2]
        return f"N{first},{second} {self.prop.removesuffix('.vnnlib')}"


def load_instances(folder: Path) -> list[Instance]:
    """The instance list joined with the known verdicts.

    Raises:
        SystemExit: an instance has no known verdict.
    """
    with (folder / VERDICTS).open(newline="") as file:
        known = {(row["onnx"], row["vnnlib"]): row["status"] for row in csv.DictReader(file)}
    with (folder / LIST).open(newline="") as file:
        listed = [(row[0], row[1]) for row in csv.reader(file)]
    if unknown := [pair for pair in listed if pair not in known]:
        raise SystemExit(f"{folder / VERDICTS} has no verdict for {unknown}")
    return [Instance(network, prop, known[network, prop]) for network, prop in listed]


def verify_instance(folder: Path, instance: Instance, timeout: float, seed: int) -> dict[str, object]:
    """Load and verify one instance; a row of the results.

    `seconds` is the verification alone, `total_seconds` includes reading both files and comparing the
    network that was read with onnxruntime. Starting Python and importing torch count in neither.
    """
    started = time.perf_counter()
    network = rs.load_network(folder / "onnx" / instance.network)
    prop = rs.load_property(folder / "vnnlib" / instance.prop, network=network)
    loaded = time.perf_counter()
    verdict = verify_property(network, prop, limits=rs.Limits(seconds=timeout), seed=seed)
    ended = time.perf_counter()
    return {
        "network": instance.network,
        "property": instance.prop,
        "expected": instance.expected,
        "verdict": verdict.status.value,
        "seconds": round(ended - loaded, 4),
        "total_seconds": round(ended - started, 4),
        "boxes": verdict.boxes,
        "methods": " + ".join(verdict.methods),
        "proved_volume": round(verdict.proved_volume, 6),
    }
