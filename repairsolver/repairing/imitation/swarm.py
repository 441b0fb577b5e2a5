r"""Particle swarm optimisation, as the published fine-tuning uses it.

Every particle has position, velocity and its best position; all know the best of the swarm:

$$ v \leftarrow w v + c_1 r_1 (p - x) + c_2 r_2 (g - x), \qquad x \leftarrow x + v, $$

with fresh uniform \(r_1, r_2\) for each particle and coordinate, and positions that leave the bounds put back
inside (periodically, as the library that the paper used does). Written here, in numpy: that library
(pyswarms) has had no release since 2021, and needs nothing that these lines do not do.

Source: Kennedy and Eberhart, Particle swarm optimization, ICNN 1995; inertia: Shi and Eberhart 1998.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from repairsolver.repairing.imitation.budget import UNLIMITED, Budget
from repairsolver.results import Array


@dataclass(frozen=True, slots=True)
class Swarm:
    """The settings; the defaults are those of the published fine-tuning.

    Args:
        low, high, start: bounds of every coordinate, and where all particles begin.
        tolerance, patience: stop when the best cost has moved by less than the first, relative to 1 plus
            itself, for so many iterations.
    """

    particles: int = 20
    iterations: int = 100
    own: float = 0.41
    common: float = 0.41
    inertia: float = 0.8
    low: float = -1.0
    high: float = 1.0
    start: float = 0.0
    tolerance: float = 1e-3
    patience: int = 10


def swarm_minimum(
    cost: Callable[[Array], float], size: int, how: Swarm, seed: int, budget: Budget = UNLIMITED
) -> tuple[Array, float, int]:
    """The best position [size] found, its cost, and how often costs were asked for.

    No iteration begins after the budget is spent.
    """
    rng = np.random.default_rng(seed)
    shape = (how.particles, size)
    place = np.full(shape, how.start)
    velocity = rng.uniform(0.0, 1.0, shape)
    best, least = place.copy(), np.full(how.particles, np.inf)
    leader, lowest, calls, still = place[0].copy(), np.inf, 0, 0
    for _ in range(how.iterations):
        costs = np.array([cost(row) for row in place])
        calls += len(costs)
        better = costs < least
        best[better], least[better] = place[better], costs[better]
        before = lowest
        if least.min() < lowest:
            lowest, leader = float(least.min()), best[least.argmin()].copy()
        still = still + 1 if abs(lowest - before) < how.tolerance * (1 + abs(lowest)) else 0
        if still >= how.patience or budget.over:
            break
        first, second = rng.uniform(size=shape), rng.uniform(size=shape)
        velocity = (
            how.inertia * velocity + how.own * first * (best - place) + how.common * second * (leader - place)
        )
        place = _inside(place + velocity, how)
    return leader, lowest, calls


def _inside(place: Array, how: Swarm) -> Array:
    """Positions beyond a bound come in again at the other."""
    wide = how.high - how.low
    return np.where((place < how.low) | (place > how.high), how.low + np.mod(place - how.low, wide), place)
