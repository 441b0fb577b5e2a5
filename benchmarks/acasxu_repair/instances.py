"""The pairs to repair, with the samples they must keep and the point sets they are measured on."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import repairsolver as rs
from repairsolver.network.graph import Network
from repairsolver.network.replay import replay
from repairsolver.property import write_property
from repairsolver.property.specification import Conjunction, Property
from repairsolver.results import Array

LOWER = np.array([-0.328422877, -0.5, -0.5, -0.5, -0.5])
UPPER = np.array([0.679857769, 0.5, 0.5, 0.5, 0.5])
"""The networks' input ranges, normalised."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A network and a property that it is known to violate.

    Args:
        strengthened: property 2 as several papers state it: clear of conflict must be the *best* advisory.
    """

    network: str
    prop: int
    strengthened: bool = False

    @property
    def name(self) -> str:
        """`N2,9/8`."""
        return f"N{self.network.replace('_', ',')}/{self.prop}"

    @property
    def stated(self) -> str:
        """The property as rows name it."""
        return f"{self.prop} strengthened" if self.strengthened else str(self.prop)


def violated_pairs(folder: Path, *, everything: bool = False) -> list[Pair]:
    """The 36 pairs that repair tools are measured on, or all violated ones of the 186 instances.

    The 36 are property 2 on every network that violates it except N1,1 to N1,9, and the two networks
    that violate properties 7 and 8.
    """
    with (folder / "acasxu_ground_truth.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "violated"]
    pairs = [Pair(_short(row["onnx"]), int(row["vnnlib"][len("prop_") : -len(".vnnlib")])) for row in rows]
    usual = [p for p in pairs if p.prop in (7, 8) or (p.prop == 2 and not p.network.startswith("1_"))]
    return sorted(pairs if everything else usual, key=lambda pair: (pair.prop, pair.network))


def strengthened_pairs(data: Path) -> list[Pair]:
    """Property 2 strengthened, on the 35 networks that the published point sets are of."""
    with (data / "acasxu_repair" / "set_statistics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["property"] == "prop_2"]
    return [Pair(row["network"], 2, strengthened=True) for row in rows]


def _short(file: str) -> str:
    return "_".join(file.removeprefix("ACASXU_run2a_").split("_")[:2])


def load_pair(folder: Path, pair: Pair) -> tuple[Network, Property]:
    """The network and the property: as published, or strengthened."""
    network = rs.load_network(folder / "onnx" / f"ACASXU_run2a_{pair.network}_batch_2000.onnx")
    prop = rs.load_property(folder / "vnnlib" / f"prop_{pair.prop}.vnnlib", network=network)
    return network, strengthened(prop) if pair.strengthened else prop


def strengthened(prop: Property) -> Property:
    """Violated where another score is at most that of clear of conflict, in the same box."""
    scores = np.eye(prop.output_size)
    unsafe = tuple(
        Conjunction((scores[other] - scores[0])[None], np.zeros((1, prop.input_size)), np.zeros(1))
        for other in range(1, prop.output_size)
    )
    regions = tuple(replace(region, unsafe=unsafe) for region in prop.regions)
    stated = Property(regions, prop.input_size, prop.output_size, name=f"{prop.name}, strengthened")
    return replace(stated, text=write_property(stated))


def kept_samples(count: int, seed: int, outside: Property | None = None) -> rs.PointSet | None:
    """Uniform samples of the whole input domain, or of what lies outside a property's regions."""
    if not count:
        return None
    samples = np.random.default_rng([seed, 1]).uniform(LOWER, UPPER, (count, 5))
    for region in () if outside is None else outside.regions:
        samples = samples[~region.contains(samples)]
    return rs.PointSet(samples, name="uniform samples")


def point_shares(
    data: Path, pair: Pair, prop: Property, before: Network, after: Network
) -> dict[str, object]:
    """What became of the published point sets, in shares from 0 to 1; empty where there is no set.

    - efficacy, generalisation: of the counterexamples (and those for testing) that violate the property as
      VNN-LIB states it, those that no longer do;
    - drawdown: of the points that satisfied it, those that violate it now;
    - advisory: of the same points, those with the same advisory as before.
    """
    path = data / "acasxu_repair" / "sets" / f"N{pair.network}_prop_{pair.prop}.npz"
    names = ("efficacy", "generalisation", "drawdown", "advisory")
    if not path.exists():
        return dict.fromkeys(names)
    with np.load(path) as sets:
        repair, test, good = (sets[key] for key in ("counterexample", "counterexample_test", "drawdown_test"))
    efficacy, generalisation = (_repaired(prop, before, after, points) for points in (repair, test))
    old, new = replay(before, good), replay(after, good)
    fine = ~violated(prop, good, old)
    return {
        "efficacy": efficacy,
        "generalisation": generalisation,
        "drawdown": float(violated(prop, good, new)[fine].mean()),
        "advisory": float((old.argmin(axis=1) == new.argmin(axis=1)).mean()),
    }


def _repaired(prop: Property, before: Network, after: Network, points: Array) -> float | None:
    wrong = points[violated(prop, points, replay(before, points))]
    return float(1 - violated(prop, wrong, replay(after, wrong)).mean()) if len(wrong) else None


def violated(prop: Property, points: Array, outputs: Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which points [b, n] with outputs [b, m] lie in a region and in one of its unsafe conjunctions."""
    found = np.zeros(len(points), dtype=bool)
    for region in prop.regions:
        inside = ((points >= region.lower) & (points <= region.upper)).all(axis=1)
        for unsafe in region.unsafe:
            reached = outputs @ unsafe.output.T + points @ unsafe.input.T <= unsafe.bound
            found |= inside & reached.all(axis=1)
    return found
