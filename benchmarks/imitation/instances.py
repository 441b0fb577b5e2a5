"""Networks with the property and the point sets that imitation is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import Pair, load_pair
from repairsolver.network.graph import Network
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.results import Array

HARD = (Pair("1_9", 7), Pair("2_9", 8), Pair("3_3", 2))
"""The three that BIRDNN and CARE repair."""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One network, and its sets for repairing and for testing."""

    pair: Pair
    network: Network
    prop: Property
    negatives: rs.PointSet
    positives: rs.PointSet
    negatives_test: Array
    positives_test: Array


def pairs(folder: Path) -> list[Pair]:
    """The three, and the other networks with sets for property 2."""
    found = sorted(path.stem for path in (folder / "sets").glob("N*_prop_2.npz"))
    others = [Pair(stem[1:].removesuffix("_prop_2"), 2) for stem in found]
    return [*HARD, *(pair for pair in others if pair not in HARD)]


def load(data: Path, pair: Pair) -> Instance:
    """An instance; negatives outside the property's box, in float32, are left out (they violate nothing)."""
    network, prop = load_pair(data / "acasxu", pair)
    prop = strengthened(prop) if pair.prop == 2 else prop
    with np.load(data / "acasxu_repair" / "sets" / f"N{pair.network}_prop_{pair.prop}.npz") as sets:
        arrays = {name: sets[name].astype(np.float64) for name in sets.files}
    wrong = {
        name: _violating(prop, network, arrays[name]) for name in ("counterexample", "counterexample_test")
    }
    return Instance(
        pair,
        network,
        prop,
        rs.PointSet(wrong["counterexample"], name="counterexample"),
        rs.PointSet(arrays["drawdown"], name="drawdown"),
        wrong["counterexample_test"],
        arrays["drawdown_test"],
    )


def strengthened(prop: Property) -> Property:
    """Property 2 as the point sets have it: clear of conflict (output 0) must be the least score."""
    identity, size = np.eye(prop.output_size), prop.input_size
    rows = tuple(
        Conjunction(identity[[other]] - identity[[0]], np.zeros((1, size)), np.zeros(1))
        for other in range(1, prop.output_size)
    )
    regions = tuple(Region(region.lower, region.upper, rows) for region in prop.regions)
    fresh = Property(regions, size, prop.output_size, name="strengthened property 2")
    from dataclasses import replace

    from repairsolver.property import write_property

    return replace(fresh, text=write_property(fresh))


def _violating(prop: Property, network: Network, points: Array) -> Array:
    return points[prop.violation(points, rs.replay(network, points)) >= 0]
