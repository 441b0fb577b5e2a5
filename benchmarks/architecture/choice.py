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

from benchmarks.architecture.classes import CLASS_OF, CLASSES, PRICES, TIER_OF
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
_TIERS = np.array([TIER_OF[name] for name in PRICES], dtype=np.float64)


def _offsets() -> tuple[Floats, Floats]:
    """(prices, classes) and (prices, own offsets): what moves which price; flattening is a reshape."""
    own = [name.replace("Flatten", "Reshape") for name in PRICES]
    single = sorted(set(own))
    classes = np.array([[CLASS_OF[name] == c for c in CLASSES] for name in PRICES], dtype=np.float64)
    return classes, np.array([[name == s for s in single] for name in own], dtype=np.float64)


@dataclass(frozen=True)
class Choice:
    """A fitted model: real-valued prices, their weight and that of the size of changes."""

    prices: Floats
    beta: float
    gamma: float

    def log_likelihood(self, pools: Sequence[Pool]) -> float:
        """Of the accepted repairs, over the pools that have one."""
        return -sum(_surprise(pool, self.beta * self.prices, self.gamma)[0] for pool in _arrays(pools))

    def rounded(self) -> Prices:
        """The nearest whole prices, at least 1, in the order that `LEAST` demands."""
        prices = {name: max(1, round(float(x))) for name, x in zip(PRICES, self.prices, strict=True)}
        for large, small in LEAST:
            prices[large] = max(prices[large], prices[small])
        return prices


_Arrays: TypeAlias = tuple[Floats, Floats, npt.NDArray[np.bool_]]


def _arrays(pools: Sequence[Pool]) -> list[_Arrays]:
    """Counts (repairs, prices), sizes and what is accepted, for each pool with an accepted repair."""
    return [
        (
            np.array([[c.paid.get(name, 0) for name in PRICES] for c in pool], dtype=np.float64),
            np.array([c.way.size for c in pool]),
            np.array([c.accepted for c in pool]),
        )
        for pool in pools
        if any(c.accepted for c in pool)
    ]


def _surprise(pool: _Arrays, weights: Floats, gamma: float) -> tuple[float, Floats, float]:
    """-log P(accepted), and its gradient by the weights and by gamma."""
    counts, sizes, accepted = pool
    utility = -counts @ weights - gamma * sizes
    chance = np.exp(utility - utility.max())
    chance /= chance.sum()
    won = chance[accepted].sum()
    pull = np.where(accepted, chance, 0) / won - chance
    return -float(np.log(won)), pull @ counts, float(pull @ sizes)


def fitted(pools: Sequence[Pool], prior: Prior) -> Choice:
    """First beta and gamma with the tiers as they are, then the most likely offsets."""
    arrays = _arrays(pools)

    def scale(v: Floats) -> tuple[float, Floats]:
        beta, gamma = np.exp(v)
        parts = [_surprise(pool, beta * _TIERS, gamma) for pool in arrays]
        by_beta = sum(float(d @ _TIERS) for _, d, _ in parts) * beta
        return sum(f for f, _, _ in parts), np.array([by_beta, sum(g for _, _, g in parts) * gamma])

    beta, gamma = np.exp(minimize(scale, np.log([0.5, 0.5]), jac=True).x)
    spreads = [(matrix, sd) for matrix, sd in zip(_offsets(), (prior.classes, prior.own), strict=True) if sd]
    if not spreads:
        return Choice(_TIERS, beta, gamma)
    moves = np.hstack([sd * matrix for matrix, sd in spreads])

    def posterior(v: Floats) -> tuple[float, Floats]:
        weights = beta * _TIERS * np.exp(moves @ v)
        parts = [_surprise(pool, weights, gamma) for pool in arrays]
        slope = moves.T @ (sum((d for _, d, _ in parts), np.zeros(len(PRICES))) * weights)
        return sum(f for f, _, _ in parts) + float(v @ v) / 2, slope + v

    found = minimize(posterior, np.zeros(moves.shape[1]), jac=True, method="L-BFGS-B").x
    return Choice(_TIERS * np.exp(moves @ found), beta, gamma)
