"""Shared by the tests of the encodings: SciPy as solver, random networks, brute force over patterns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, milp

from layerwise import affine, interval
from layerwise.program import Array, Expr, Program


@dataclass(frozen=True)
class Rows:
    """Half-spaces C y + D x <= d."""

    output: Array
    input: Array
    bound: Array


@dataclass(frozen=True)
class Net:
    """A fully connected network with rectifiers of one slope between the layers."""

    weights: list[Array]
    biases: list[Array]
    slope: float = 0.0

    def __call__(self, x: Array) -> Array:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            zhat = x @ weight.T + bias
            x = np.where(zhat > 0, zhat, self.slope * zhat)
        return x @ self.weights[-1].T + self.biases[-1]


def random_net(rng: np.random.Generator, sizes: list[int], slope: float = 0.0) -> Net:
    pairs = list(itertools.pairwise(sizes))
    weights = [rng.normal(size=(b, a)) for a, b in pairs]
    return Net(weights, [rng.normal(size=b) * 0.5 for _, b in pairs], slope)


def encode_net(program: Program, x: Expr, net: Net, encode) -> Expr:
    """The network over expressions with bounded columns, by interval bounds."""
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        zhat = affine.dense(x, weight, bias)
        x = encode(program, zhat, *interval.of_expressions(program, zhat), net.slope)
    return affine.dense(x, net.weights[-1], net.biases[-1])


def solve(program: Program, relaxed: bool = False) -> OptimizeResult:
    """Solve by HiGHS within SciPy; `fun` includes the offset, and a solution satisfies the program."""
    flat = program.matrices()
    rows = [LinearConstraint(flat.rows, flat.row_lower, flat.row_upper)] if program.n_rows else []
    result = milp(
        flat.cost,
        integrality=np.zeros(program.n_columns) if relaxed else flat.integer.astype(int),
        bounds=Bounds(flat.lower, flat.upper),
        constraints=rows,
        options={"mip_rel_gap": 0.0},
    )
    if result.x is not None:
        result.fun += flat.offset
        assert relaxed or program.violation(result.x) <= 1e-6
    return result


def minimum(program: Program, expr: Expr, relaxed: bool = False) -> float:
    program.minimise(expr)
    result = solve(program, relaxed)
    assert result.status == 0, result.message
    return float(result.fun)


def minimum_by_patterns(net: Net, cost: Array, lower: Array, upper: Array) -> float:
    """min cost @ net(x) over a box: one linear program per activation pattern."""
    count = sum(len(bias) for bias in net.biases[:-1])
    values = [
        _of_pattern(net, cost, lower, upper, np.array(p)) for p in itertools.product((0, 1), repeat=count)
    ]
    return min(values)


def _of_pattern(net: Net, cost: Array, lower: Array, upper: Array, pattern: Array) -> float:
    matrix, shift = np.eye(len(lower)), np.zeros(len(lower))
    rows, bounds, at = [], [], 0
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        matrix, shift = weight @ matrix, weight @ shift + bias
        active = pattern[at : at + len(bias)] == 1
        at += len(bias)
        sign = np.where(active, -1.0, 1.0)
        rows.append(sign[:, None] * matrix)
        bounds.append(-sign * shift)
        gain = np.where(active, 1.0, net.slope)
        matrix, shift = gain[:, None] * matrix, gain * shift
    matrix, shift = net.weights[-1] @ matrix, net.weights[-1] @ shift + net.biases[-1]
    box = np.column_stack([lower, upper])
    result = linprog(cost @ matrix, np.vstack(rows), np.concatenate(bounds), bounds=box)
    return float(result.fun + cost @ shift) if result.status == 0 else np.inf
