"""The families, their instances with known verdicts, and the verification of one of them."""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import repairsolver as rs
from repairsolver.property import Conjunction, Property, Region
from repairsolver.verification.engine import verify_property

# The CSV file with the known verdicts of every family, in its folder of the benchmark data.
FAMILIES = {
    "mnist_fc_vnncomp": "ground_truth.csv",
    "mnist_conv_verivital": "ground_truth.csv",
    "cifar10_resnet": "ground_truth.csv",
    "mnist": "eran_vnncomp2021_ground_truth.csv",
    "collision_detection": "properties.csv",
}
VERDICTS = {"UNSAT": "holds", "SAT": "violated"}


@dataclass(frozen=True, slots=True)
class Instance:
    """A network, a property file or the name of a row, and the known verdict.

    Args:
        expected: `holds`, `violated`, or anything else where the tools disagree or nobody knows.
    """

    family: str
    network: str
    prop: str
    expected: str

    def load(self, folder: Path) -> tuple[rs.Network, Property]:
        """Read the network and the property."""
        network = rs.load_network(folder / "onnx" / self.network)
        if self.family == "collision_detection":
            return network, _collision(folder, self.prop, network)
        return network, rs.load_property(_stored(folder, self.prop), network=network)


def load_instances(family: str, folder: Path) -> list[Instance]:
    """All instances of a family whose property is in the benchmark data."""
    with (folder / FAMILIES[family]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    if family == "collision_detection":
        network = "collision_detection.onnx"
        return [Instance(family, network, row["name"], VERDICTS[row["status"]]) for row in rows]
    listed = [Instance(family, row["onnx"], row["vnnlib"], _agreed(row)) for row in rows]
    return [instance for instance in listed if _stored(folder, instance.prop).exists()]


def _agreed(row: dict[str, str]) -> str:
    """The majority's verdict, unless two tools or more contradict it.

    Votes come from several years, between which properties changed under the same name.
    """
    dissent = {"holds": "tools_violated", "violated": "tools_holds"}.get(row["status"])
    return "disputed" if dissent and int(row[dissent]) >= 2 else row["status"]


def _stored(folder: Path, prop: str) -> Path:
    plain = folder / "vnnlib" / Path(prop).name
    return plain if plain.exists() else plain.with_name(plain.name + ".gz")


def _collision(folder: Path, name: str, network: rs.Network) -> Property:
    with (folder / FAMILIES["collision_detection"]).open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["name"] == name)
    corners = ([float(row[f"{side}{i}"]) for i in range(network.input_size)] for side in ("lb", "ub"))
    lower, upper = (np.array(corner) for corner in corners)
    parsed = re.fullmatch(r"Y_(\d+) <= Y_(\d+)", row["unsafe_condition"])
    if parsed is None:
        raise SystemExit(f"{name}: expected an unsafe condition Y_i <= Y_j, got {row['unsafe_condition']!r}")
    output = np.zeros((1, network.output_size))
    output[0, int(parsed[1])], output[0, int(parsed[2])] = 1.0, -1.0
    unsafe = Conjunction(output, np.zeros((1, network.input_size)), np.zeros(1))
    return Property((Region(lower, upper, (unsafe,)),), network.input_size, network.output_size, name=name)


@dataclass(frozen=True, slots=True)
class Settings:
    """How instances are verified: seconds for each, seed, device, and how many processes at once."""

    timeout: float
    seed: int = 0
    device: str = "cpu"
    jobs: int = 1


def verify_instances(
    folder: Path, instances: list[Instance], settings: Settings
) -> Iterator[tuple[Instance, dict[str, object]]]:
    """A row of results for each instance, as it is finished.

    With several processes each has one thread, so that none takes the time of another.
    """
    if settings.jobs == 1:
        for instance in instances:
            yield instance, verify_instance(folder, instance, settings)
        return
    pool = ProcessPoolExecutor(settings.jobs, mp_context=get_context("spawn"), initializer=_one_thread)
    try:
        waiting = {pool.submit(verify_instance, folder, i, settings): i for i in instances}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    os.environ["REPAIRSOLVER_THREADS"] = "1"


def verify_instance(folder: Path, instance: Instance, settings: Settings) -> dict[str, object]:
    """One row: `prepare_time` reads both files, `time` is the verification.

    Starting Python and importing torch count in neither.
    """
    started = time.perf_counter()
    network, prop = instance.load(folder)
    loaded = time.perf_counter()
    limits = rs.Limits(seconds=settings.timeout)
    verdict = verify_property(network, prop, limits=limits, seed=settings.seed, device=settings.device)
    ended = time.perf_counter()
    return {
        "category": instance.family,
        "onnx": instance.network,
        "vnnlib": instance.prop,
        "prepare_time": round(loaded - started, 4),
        "result": verdict.status.word,
        "time": round(ended - loaded, 4),
        "expected": instance.expected,
        "boxes": verdict.boxes,
        "bound": "" if verdict.best_bound is None else round(verdict.best_bound, 6),
        "methods": " + ".join(verdict.methods),
        "timeout": settings.timeout,
        "device": settings.device,
        "jobs": settings.jobs,
    }
