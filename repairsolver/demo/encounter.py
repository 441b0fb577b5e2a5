"""The encounter of the demo: two aircraft in the plane, five advisories, and what each one costs.

Own ship flies at a constant speed along its heading; the intruder keeps its course and speed. An
advisory is a turn rate that own ship holds. Its cost grows with how close the two come and with how
much is asked of the pilot, so that the cheapest advisory is the gentlest one that keeps them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repairsolver.results import Array

OWN_SPEED = 150.0  # m/s
HORIZON = 40.0  # s
STEP = 0.25  # s
SAFE_DISTANCE = 450.0  # m
SOFTNESS = 100.0  # m


@dataclass(frozen=True, slots=True)
class Quantity:
    """One input of the controller in physical units; the network sees it scaled to [-1, 1]."""

    name: str
    unit: str
    lower: float
    upper: float

    def normalise(self, values: Array | float) -> Array:
        """Physical units to [-1, 1]."""
        return np.asarray(2.0 * (np.asarray(values) - self.lower) / (self.upper - self.lower) - 1.0)

    def physical(self, values: Array | float) -> Array:
        """[-1, 1] to physical units."""
        return np.asarray(self.lower + (np.asarray(values) + 1.0) / 2.0 * (self.upper - self.lower))


QUANTITIES = (
    Quantity("distance", "m", 500.0, 5500.0),
    Quantity("bearing", "deg", -120.0, 120.0),
    Quantity("intruder's heading", "deg", 0.0, 360.0),
    Quantity("intruder's speed", "m/s", 50.0, 250.0),
)
ADVISORIES = ("clear of conflict", "weak left", "weak right", "strong left", "strong right")
TURN_RATES = np.deg2rad([0.0, 2.5, -2.5, 5.0, -5.0])  # rad/s, anticlockwise
EFFORT = np.array([0.0, 0.1, 0.1, 0.25, 0.25])
NUISANCE = 0.4  # of an advisory where there is no conflict


def closest_approach(states: Array, step: float = STEP) -> Array:
    """The least distance within the horizon under each advisory.

    Own ship starts at the origin heading along x and turns at the rate w, so that after time t it is at
    (v / w) (sin wt, 1 - cos wt); the intruder moves along a straight line.

    Args:
        states: [b, 4] distance (m), bearing and relative heading (degrees, anticlockwise from own
            heading), intruder's speed (m/s).
        step: seconds between the times that are looked at.

    Returns:
        [b, 5], metres.
    """
    distance, speed = states[:, :1], states[:, 3:]
    bearing, heading = np.deg2rad(states[:, 1:2]), np.deg2rad(states[:, 2:3])
    times = np.arange(0.0, HORIZON + step, step)
    intruder_x = distance * np.cos(bearing) + speed * np.cos(heading) * times
    intruder_y = distance * np.sin(bearing) + speed * np.sin(heading) * times
    least = np.empty((len(states), len(TURN_RATES)))
    for column, rate in enumerate(TURN_RATES):
        # chord of the turn, by sinc so that straight flight (rate 0) needs no case of its own
        half = rate * times / 2.0
        chord = OWN_SPEED * times * np.sinc(half / np.pi)
        gap = np.hypot(intruder_x - chord * np.cos(half), intruder_y - chord * np.sin(half))
        least[:, column] = gap.min(axis=1)
    return least


def costs(states: Array, step: float = STEP) -> Array:
    """The cost of each advisory, [b, 5]: risk, plus effort, plus what needless advisories cost.

    The risk of an advisory is 1 / (1 + exp((d - safe) / softness)), with d its closest approach; any
    advisory but "clear of conflict" also costs nuisance * (1 - the risk without an advisory).

    Args:
        states, step: as for `closest_approach`.
    """
    risk = 1.0 / (1.0 + np.exp((closest_approach(states, step) - SAFE_DISTANCE) / SOFTNESS))
    needless = NUISANCE * (1.0 - risk[:, :1]) * (EFFORT > 0)
    return np.asarray(risk + EFFORT + needless)


def physical(points: Array) -> Array:
    """Network inputs [b, 4] in physical units."""
    return np.column_stack([q.physical(points[:, i]) for i, q in enumerate(QUANTITIES)])


def normalised(states: Array) -> Array:
    """Physical states [b, 4] as network inputs."""
    return np.column_stack([q.normalise(states[:, i]) for i, q in enumerate(QUANTITIES)])
