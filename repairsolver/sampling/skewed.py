r"""Intervals for the mean of positive numbers that are skewed to the right, as estimates of rare events are.

Of few such numbers the mean is mostly too low, and their spread with it, so that Student's interval misses
the mean more often than it says, nearly always from below. On the scale of logarithms they are almost
normal: with mean m and variance v of the logarithms of n numbers, the mean's logarithm lies in

$$ m + \frac v2 \pm t_{n-1} \sqrt{\frac vn + \frac{v^2}{2 (n - 1)}}. $$

The interval here spans both.

Source: Olsson, "Confidence intervals for the mean of a log-normal distribution", J. Stat. Educ. 13 (2005)
(modified Cox method).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from repairsolver.results import Array


def mean_interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """From the lower end of the lower of both intervals to the upper end of the upper one, at least 0.

    Args:
        values: at least two, not negative, [n]; where one is 0, there are no logarithms, and Student's
            interval stands alone.
    """
    count = len(values)
    t = float(stdtrit(count - 1, (1 + level) / 2))
    mean, reach = float(values.mean()), t * float(values.std(ddof=1)) / math.sqrt(count)
    low, high = mean - reach, mean + reach
    if (values > 0).all():
        logs = np.log(values)
        middle, variance = float(logs.mean()), float(logs.var(ddof=1))
        reach = t * math.sqrt(variance / count + variance**2 / (2 * (count - 1)))
        low = min(low, math.exp(middle + variance / 2 - reach))
        high = max(high, _exp(middle + variance / 2 + reach))
    return max(0.0, low), high


def _exp(exponent: float) -> float:
    return math.exp(exponent) if exponent < 700 else math.inf
