"""Prices as a model of choice, fitted to accepted repairs and held close to the tiers.

Users take repair i of a pool with probability exp(-u_i) / sum_j exp(-u_j), where u_i = sum over prices of
(count x price) x beta + gamma x size. A price is its tier times exp(class offset + own offset). Offsets
have normal priors around 0 with standard deviations `Prior.classes` and `Prior.own`: few cases move a price
little.

Source: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974, section II.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from benchmarks.architecture.classes import CLASSES, PRICES, Places, class_of, tiers
from benchmarks.architecture.pools import Pool, Prices

Floats: TypeAlias = npt.NDArray[np.float64]
LEAST: tuple[tuple[str, str], ...] = (
    ("adapters.Scramble", "adapters.Reshape"),
    ("adapters.LargePad", "adapters.Pad"),
    ("adapters.LargeCrop", "adapters.Crop"),
    ("adapters.LargeUpsample", "adapters.Upsample"),
    ("wide_padding", "roles.padding"),
    ("target_total", "roles.target"),
)
"""What goes further is not cheaper: the first price is at least the second."""


@dataclass(frozen=True)
class Prior:
    """Standard deviations of the logarithms: of a class's factor, and of each price's own."""

    classes: float
    own: float


PRIORS = tuple(Prior(a, b) for a, b in ((0, 0), (0.1, 0.1), (0, 0.2), (0.2, 0.2), (0, 0.4), (0.4, 0.4)))


def _offsets(places: Places) -> tuple[Floats, Floats]:
    """(prices, classes) and (prices, own offsets): what moves which price; flattening is a reshape."""
    own = [name.replace("Flatten", "Reshape") for name in PRICES]
    single, belongs = sorted(set(own)), class_of(places)
    classes = np.array([[belongs[name] == c for c in CLASSES] for name in PRICES], dtype=np.float64)
    return classes, np.array([[name == s for s in single] for name in own], dtype=np.float64)


@dataclass(frozen=True)
class Choice:
    """A fitted model: real-valued prices, their weight and that of the size of changes."""

    prices: Floats
    beta: float
    gamma: float

    def log_likelihood(self, pools: Sequence[Pool]) -> float:
        """Of the accepted repairs, over the pools that have one."""
        return -_Stack.of(pools).surprise(self.beta * self.prices, self.gamma)[0]

    def rounded(self) -> Prices:
        """The nearest whole prices, at least 1, in the order that `LEAST` demands."""
        prices = {name: max(1, round(float(x))) for name, x in zip(PRICES, self.prices, strict=True)}
        for large, small in LEAST:
            prices[large] = max(prices[large], prices[small])
        return prices


@dataclass(frozen=True)
class _Stack:
    """Counts (repairs, prices), sizes and what is accepted, of all pools with an accepted repair on end."""

    counts: Floats
    sizes: Floats
    accepted: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.int_]
    pool: npt.NDArray[np.int_]

    @classmethod
    def of(cls, pools: Sequence[Pool]) -> _Stack:
        needed = [[c for c in pool if c.needed] for pool in pools]
        kept = [pool for pool in needed if any(c.accepted for c in pool)]
        flat, lengths = [c for pool in kept for c in pool], [len(pool) for pool in kept]
        counts = np.array([[c.paid.get(name, 0) for name in PRICES] for c in flat], dtype=np.float64)
        return cls(
            counts.reshape(-1, len(PRICES)),
            np.array([c.way.size for c in flat], dtype=np.float64),
            np.array([c.accepted for c in flat], dtype=np.bool_),
            np.cumsum([0, *lengths], dtype=np.int_)[:-1],
            np.repeat(np.arange(len(kept)), lengths),
        )

    def surprise(self, weights: Floats, gamma: float) -> tuple[float, Floats, float]:
        """-log P(accepted) in all pools, and its gradient by the weights and by gamma."""
        utility = -self.counts @ weights - gamma * self.sizes
        chance = np.exp(utility - np.maximum.reduceat(utility, self.begins)[self.pool])
        chance /= np.add.reduceat(chance, self.begins)[self.pool]
        taken = np.where(self.accepted, chance, 0)
        won = np.add.reduceat(taken, self.begins)
        pull = taken / won[self.pool] - chance
        return -float(np.log(won).sum()), pull @ self.counts, float(pull @ self.sizes)


def fitted(pools: Sequence[Pool], prior: Prior, places: Places) -> Choice:
    """First beta and gamma with the tiers as they are, then the most likely offsets."""
    stack, level = _Stack.of(pools), tiers(places)
    start = np.array([level[name] for name in PRICES], dtype=np.float64)

    def scale(v: Floats) -> tuple[float, Floats]:
        beta, gamma = np.exp(v)
        value, slope, by_gamma = stack.surprise(beta * start, gamma)
        return value, np.array([float(slope @ start) * beta, by_gamma * gamma])

    beta, gamma = np.exp(minimize(scale, np.log([0.5, 0.5]), jac=True).x)
    widths = (prior.classes, prior.own)
    spreads = [(matrix, sd) for matrix, sd in zip(_offsets(places), widths, strict=True) if sd]
    if not spreads:
        return Choice(start, beta, gamma)
    moves = np.hstack([sd * matrix for matrix, sd in spreads])

    def posterior(v: Floats) -> tuple[float, Floats]:
        weights = beta * start * np.exp(moves @ v)
        value, slope, _ = stack.surprise(weights, gamma)
        return value + float(v @ v) / 2, moves.T @ (slope * weights) + v

    found = minimize(posterior, np.zeros(moves.shape[1]), jac=True, method="L-BFGS-B").x
    return Choice(start * np.exp(moves @ found), beta, gamma)
