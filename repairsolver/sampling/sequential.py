r"""Bounds on a probability that hold at all times at once: sampling may stop whenever one is good enough.

To refute $p \ge m$, bet on a probability $q < m$: after n samples with k violations the capital is
$\left(q/m\right)^k \left((1-q)/(1-m)\right)^{n-k}$. Under p the factor of one sample has expectation
$p\,q/m + (1-p)(1-q)/(1-m)$, which falls in p for $q < m$ and is 1 at $p = m$: at most 1 for every $p \ge m$,
so the capital is a non-negative supermartingale, and so is any mixture over q fixed beforehand. By Ville's
inequality it ever reaches $1/\eta$ with probability at most $\eta$. To refute $p \le m$, bet on $q > m$
alike.

The mixtures are half a bet on q = 0 (the zero-failure test, which ends with the first violation) and half
Jeffreys' prior $\mathrm{Beta}(1/2, 1/2)$ truncated to $[0, m]$; and the prior truncated to $[m, 1]$. Capitals
are incomplete beta functions. The upper bound is the least m that is refuted from above, the lower one the
largest from below.

Source: Ville 1939, "Etude critique de la notion de collectif"; Robbins, "Statistical methods related to the
law of the iterated logarithm", Ann. Math. Stat. 41 (1970), 1397-1409 (mixtures); Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86 (2024), section 4 (capital processes and
their confidence sequences).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

from repairsolver.results import Array

Counts = NDArray[np.int64]
# Below what rounding may add to the logarithm of a capital.
SAFETY = 1e-7
HALF = 0.5
STEPS = 60


def log_capital_below(n: Counts | int, k: Counts | int, m: Array | float) -> Array:
    """Logarithm of the capital of bets that p < m; large values refute p >= m."""
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    null = xlogy(k, m) + xlog1py(n - k, -np.asarray(m))
    with np.errstate(divide="ignore"):
        share = np.log(betainc(k + HALF, n - k + HALF, m)) - np.log(betainc(HALF, HALF, m))
    jeffreys = betaln(k + HALF, n - k + HALF) - betaln(HALF, HALF) + share
    none = np.where(k == 0, 0.0, -np.inf)
    return np.asarray(np.logaddexp(none, jeffreys) - math.log(2) - null)


def log_capital_above(n: Counts | int, k: Counts | int, m: Array | float) -> Array:
    """Logarithm of the capital of bets that p > m; large values refute p <= m."""
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    null = xlogy(k, m) + xlog1py(n - k, -np.asarray(m))
    with np.errstate(divide="ignore"):
        share = np.log(betaincc(k + HALF, n - k + HALF, m)) - np.log(betaincc(HALF, HALF, m))
    return np.asarray(betaln(k + HALF, n - k + HALF) - betaln(HALF, HALF) + share - null)


@dataclass(frozen=True, slots=True)
class Sequential:
    """Samples until one of the two answers is proved, or so many were drawn.

    Args:
        samples: the most samples.
    """

    epsilon: float
    eta: float
    samples: int
    name: str = "sequential"

    @property
    def needed(self) -> float:
        """The logarithm of the capital that refutes."""
        return SAFETY - math.log(self.eta)

    def accepts(self, n: Counts | int, k: Counts | int) -> NDArray[np.bool_]:
        """Whether p >= epsilon is refuted after n samples, of which k violate."""
        return np.asarray(log_capital_below(n, k, self.epsilon) >= self.needed)

    def rejects(self, n: Counts | int, k: Counts | int) -> NDArray[np.bool_]:
        """Whether p <= epsilon is refuted."""
        return np.asarray(log_capital_above(n, k, self.epsilon) >= self.needed)

    def first(self, n: Counts, k: Counts) -> int | None:
        """The first position in n and k, both growing, at which an answer is shown."""
        done = np.flatnonzero(self.accepts(n, k) | self.rejects(n, k))
        return int(done[0]) if done.size else None

    def bounds(self, n: int, k: int) -> tuple[float, float]:
        """Lower and upper bound, each with confidence 1 - eta, whenever one looks."""
        needed, share = self.needed, k / n if n else 0.0

        def refuted_from_above(m: float) -> bool:
            return bool(log_capital_below(n, k, m) >= needed)

        def refuted_from_below(m: float) -> bool:
            return bool(log_capital_above(n, k, m) >= needed)

        high = _boundary(share, 1.0, refuted_from_above) if n else 1.0
        low = _boundary(share, 0.0, refuted_from_below) if k else 0.0
        return low, high


def _boundary(inside: float, end: float, refuted: Callable[[float], bool]) -> float:
    """The end of the values that are not refuted, on the refuted side; `end` where nothing is."""
    for _ in range(STEPS):
        middle = math.sqrt(inside * end) if inside > 0 and end > 0 else (inside + end) / 2
        if middle in (inside, end):
            break
        if refuted(middle):
            end = middle
        else:
            inside = middle
    return end


def looks(size: int, drawn: int) -> Counts:
    """After which samples of a block one looks: each at first, later every 128th part of those drawn."""
    step = max(1, drawn // 128)
    places = np.arange(step - 1, size, step)
    return places if places.size and places[-1] == size - 1 else np.append(places, size - 1)
