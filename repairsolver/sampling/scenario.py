r"""Affine models of a network's margins on a box, right on all but a measure epsilon: the scenario approach.

The margin of half-space r of the property is $s_r(x) = d_r - C_r y - D_r x$, at least 0 where it is violated.
On a box with inputs scaled to $u \in [-1, 1]^n$ it is modelled by $m_r(u) = a_r u + b_r$.

1. *Fit*: $(a_r, b_r)$ minimises the largest $|s_r - m_r|$ over $K_1$ samples, a linear program.
2. *Margin*: with the model fixed, $\lambda_r$ is the largest $|s_r - m_r|$ over K fresh samples. This is the
scenario program
   $\min \sum_r \lambda_r$ s.t. $|s_r(x_i) - m_r(u_i)| \le \lambda_r$ with R variables, so that

   $$P^K\left( P(\exists r: |s_r - m_r| > \lambda_r) > \epsilon \right) \le \sum_{i<R} \binom{K}{i} \epsilon^i
   (1 - \epsilon)^{K - i},$$

   and K is the least number for which the right-hand side is at most $\eta$ (at most
   $\lceil (2/\epsilon)(\ln(1/\eta) + R) \rceil$; with R = 1, that of the zero-failure test).

Where the model with its margin is negative everywhere in the box (in every conjunction), the property is
violated on at most a measure epsilon of it, with confidence $1 - \eta$.

Source: Campi and Garatti, "The exact feasibility of randomized solutions of uncertain convex programs", SIAM
J. Optim. 19 (2008), theorem 1; focused learning in two phases: Li, Yang, Huang, Sun, Xue and Zhang, "Towards
practical robustness analysis for DNNs based on PAC-model learning" (DeepPAC), ICSE 2022, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from layerwise.program import Program
from repairsolver.errors import SamplingError
from repairsolver.property.specification import Conjunction
from repairsolver.results import Array
from repairsolver.solvers import solve

FIT_SAMPLES, MOST_INPUTS = 20, 50
"""Samples of the fit for each coefficient; and inputs that vary, beyond which the programs are too large."""


@dataclass(frozen=True, slots=True, eq=False)
class PacModel:
    """An affine model of every half-space's margin on a box.

    Args:
        lower, upper: the box, [n].
        slope, shift: a [R, n] and b [R], for inputs scaled to [-1, 1]; fixed inputs have slope 0.
        margin: lambda, [R].
        sizes: how many half-spaces each conjunction has, in order.
    """

    lower: Array
    upper: Array
    slope: Array
    shift: Array
    margin: Array
    sizes: tuple[int, ...]

    def __call__(self, points: Array) -> Array:
        """Modelled margins of points [b, n], [b, R]."""
        return np.asarray(scaled(points, self.lower, self.upper) @ self.slope.T + self.shift)

    def highest(self) -> float:
        """An upper bound on the modelled violation in the box, margins added: max over conjunctions of min
        over rows."""
        return max(_upper(self.slope[rows], (self.shift + self.margin)[rows]) for rows in self._parts())

    def peak(self) -> tuple[float, Array]:
        """A point [n] of the box where the modelled violation is large even with the margins taken off, and
        how large."""
        best, where = -math.inf, np.zeros(len(self.lower))
        for rows in self._parts():
            value, u = _peak(self.slope[rows], (self.shift - self.margin)[rows])
            if value > best:
                best, where = value, u
        middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        return best, np.asarray(middle + half * where)

    def _parts(self) -> list[slice]:
        ends = np.cumsum(self.sizes)
        return [slice(int(end) - size, int(end)) for size, end in zip(self.sizes, ends, strict=True)]


def scenario_size(epsilon: float, eta: float, variables: int) -> int:
    """The least K for which the scenario program's failure is at most eta: P(Bin(K, epsilon) < variables)
    <= eta."""
    high = math.ceil((2 / epsilon) * (math.log(1 / eta) + variables))
    low = variables - 1  # P(Bin(low, epsilon) < variables) = 1 > eta
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binom.cdf(variables - 1, middle, epsilon) <= eta else (middle, high)
    return high


def fit_size(inputs: int) -> int:
    """Samples of the fit for so many varying inputs.

    Raises:
        SamplingError: there are too many.
    """
    if inputs > MOST_INPUTS:
        raise SamplingError(
            f"{inputs} inputs vary in a region: a domain is characterised with at most {MOST_INPUTS}, as "
            f"every model is "
            "a linear program over all of them; sample it whole instead"
        )
    return FIT_SAMPLES * (inputs + 2)


def scaled(points: Array, lower: Array, upper: Array) -> Array:
    """Points of a box as numbers in [-1, 1]; 0 for fixed inputs."""
    half = (upper - lower) / 2
    varies = half > 0
    return np.asarray(np.where(varies, (points - (lower + upper) / 2) / np.where(varies, half, 1.0), 0.0))


def margins(unsafe: tuple[Conjunction, ...], points: Array, outputs: Array) -> Array:
    """d - C y - D x of every half-space of every conjunction, [b, R]."""
    return np.concatenate([c.bound - outputs @ c.output.T - points @ c.input.T for c in unsafe], axis=1)


def fit(
    lower: Array, upper: Array, unsafe: tuple[Conjunction, ...], points: Array, values: Array
) -> PacModel:
    """The models with the least largest error at points [b, n] with margins [b, R]; lambda is not known
    yet."""
    u = scaled(points, lower, upper)
    pairs = [_chebyshev(u, values[:, row]) for row in range(values.shape[1])]
    slope, shift = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    return PacModel(lower, upper, slope, shift, np.zeros(len(shift)), tuple(len(c.bound) for c in unsafe))


def _chebyshev(u: Array, values: Array) -> tuple[Array, float]:
    """min over (a, b) of max |values - a u - b|; fixed inputs get slope 0."""
    middle, size = float(values.mean()), float(np.ptp(values))
    slope = np.zeros(u.shape[1])
    varies = np.ptp(u, axis=0) > 0
    if size == 0 or not varies.any():
        return slope, middle
    program = Program()
    a = program.columns(int(varies.sum()), -1e6, 1e6)
    b, error = program.columns(1, -1e6, 1e6), program.columns(1, 0.0, 1e6)
    ones = np.ones((len(u), 1))
    model = u[:, varies] @ a + ones @ b
    target = (values - middle) / size  # of size 1, far above the solver's tolerance
    program.rows(model - ones @ error, upper=target)
    program.rows(model + ones @ error, lower=target)
    program.minimise(error.sum())
    found = solve(program).values
    assert found is not None, "a bounded and feasible program"
    slope[varies] = size * a.value(found)
    return slope, middle + size * float(b.value(found)[0])


def _upper(slope: Array, shift: Array) -> float:
    """An upper bound on max over [-1, 1]^n of min over rows of a_r u + b_r: by the best convex combination of
    the rows.

    Every combination w gives max_u w (A u + b) = w b + |w A|_1; the program only chooses w.
    """
    weights = np.ones(1)
    if len(shift) > 1:
        a, b = _of_size_one(slope, shift)
        program = Program()
        w = program.columns(len(b), 0.0, 1.0)
        size = program.columns(a.shape[1], 0.0, np.abs(a).sum() + 1.0)
        program.rows(w.sum(), lower=1.0, upper=1.0)
        program.rows(size - a.T @ w, lower=0.0)
        program.rows(size + a.T @ w, lower=0.0)
        program.minimise((b[None] @ w).sum() + size.sum())
        found = solve(program).values
        assert found is not None, "a bounded and feasible program"
        weights = np.maximum(w.value(found), 0.0)
        weights /= weights.sum()
    return float(weights @ shift + np.abs(weights @ slope).sum())


def _peak(slope: Array, shift: Array) -> tuple[float, Array]:
    """A point u of [-1, 1]^n where min over rows of a_r u + b_r is largest, and its value there."""
    u = np.sign(slope[0])
    if len(shift) > 1:
        a, b = _of_size_one(slope, shift)
        program = Program()
        x = program.columns(a.shape[1], -1.0, 1.0)
        most = np.abs(a).sum() + np.abs(b).sum()
        least = program.columns(1, -most, most)
        program.rows(a @ x - np.ones((len(b), 1)) @ least, lower=-b)
        program.minimise(-least.sum())
        found = solve(program).values
        assert found is not None, "a bounded and feasible program"
        u = np.clip(x.value(found), -1.0, 1.0)
    return float((slope @ u + shift).min()), u


def _of_size_one(slope: Array, shift: Array) -> tuple[Array, Array]:
    """Both over their largest number: the solver's tolerance is absolute, and its numbers are bounded."""
    size = max(float(np.abs(slope).max(initial=0.0)), float(np.abs(shift).max(initial=0.0))) or 1.0
    return slope / size, shift / size
