"""The collision detection boxes as properties, and the labelled points."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repairsolver.network import Network
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.results import Array

INPUTS, OUTPUTS = 6, 2


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """One box, in which a class must be decided.

    Args:
        violated: whether the original network decides the other class somewhere in it.
    """

    prop: Property
    violated: bool


def load_boxes(folder: Path) -> list[Box]:
    """All boxes, in the order of the file."""
    with (folder / "properties.csv").open(newline="") as file:
        return [_box(row) for row in csv.DictReader(file)]


def _box(row: dict[str, str]) -> Box:
    lower, upper = (np.array([float(row[f"{end}{i}"]) for i in range(INPUTS)]) for end in ("lb", "ub"))
    wanted = int(row["desired_argmax"])
    order = np.zeros((1, OUTPUTS))
    order[0, wanted], order[0, 1 - wanted] = 1.0, -1.0
    unsafe = Conjunction(order, np.zeros((1, INPUTS)), np.zeros(1))
    prop = Property((Region(lower, upper, (unsafe,)),), INPUTS, OUTPUTS, name=row["name"])
    return Box(prop, row["status"] == "SAT")


def load_labelled(folder: Path) -> tuple[Array, Array]:
    """The points [b, n] and their labels [b]."""
    rows = np.loadtxt(folder / "collisions.csv", delimiter=",", skiprows=1)
    return rows[:, :INPUTS].astype(np.float32).astype(np.float64), rows[:, INPUTS]


def accuracy(network: Network, points: Array, labels: Array) -> float:
    """The share of the points that are decided as labelled."""
    return float((network(points).argmax(axis=1) == labels).mean())
