r"""Bounds on a probability from a number of independent samples that was fixed beforehand.

k of n samples violate. The one-sided Clopper-Pearson bounds at confidence $1-\eta$ are quantiles of beta
distributions, $p \le B(1-\eta; k+1, n-k)$ and $p \ge B(\eta; k, n-k+1)$. For every p and n each of the two is
wrong with probability at most $\eta$, exactly, since $P(\mathrm{Bin}(n, p) \le k)$ falls in p. With k = 0
the first is $1 - \eta^{1/n}$, so that $n \ge \ln\eta / \ln(1-\epsilon)$ samples without a violation give
$p \le \epsilon$.

Source: Clopper and Pearson, Biometrika 26 (1934), 404-413.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from scipy.special import betaincinv

from repairsolver.errors import SamplingError


def check_level(name: str, value: float) -> float:
    """A probability strictly between 0 and 1.

    Raises:
        SamplingError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
        raise SamplingError(f"{name}: expected a number strictly between 0 and 1, got {value!r}")
    return float(value)


def zero_failure_size(epsilon: float, eta: float) -> int:
    """The least n for which n samples without a violation give p <= epsilon with confidence 1 - eta."""
    size = max(1, math.ceil(math.log(eta) / math.log1p(-epsilon)))
    while clopper_pearson(size, 0, eta)[1] > epsilon:
        size += 1
    return size


def clopper_pearson(n: int, k: int, eta: float) -> tuple[float, float]:
    """The lower and the upper bound, each with confidence 1 - eta."""
    low = float(betaincinv(k, n - k + 1, eta)) if k else 0.0
    if k == n:
        return low, 1.0
    high = -math.expm1(math.log(eta) / n) if k == 0 else float(betaincinv(k + 1, n - k, 1 - eta))
    return low, high


@dataclass(frozen=True, slots=True)
class Fixed:
    """So many samples, looked at once, at the end.

    Args:
        samples: n.
    """

    epsilon: float
    eta: float
    samples: int
    name: str = "fixed"

    def bounds(self, n: int, k: int) -> tuple[float, float]:
        """Lower and upper bound after n = `samples` samples."""
        return clopper_pearson(n, k, self.eta)
