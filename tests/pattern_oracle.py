"""The least change of one hidden layer by brute force over all activation patterns: a slow oracle."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.optimize import linprog

from repairsolver.network import Network
from repairsolver.network.operators import Dense, LeakyRelu, Relu


def least_change(
    network: Network, index: int, points: np.ndarray, rows: list[np.ndarray], need: float, norm: str
) -> float:
    """min ||delta|| over weights and biases of a dense layer, infinite if there is none.

    Args:
        index: of the dense layer among the nodes of a chain of dense layers and (leaky) ReLUs.
        points: [k, n].
        rows: for each point C_p [r, m]; at every point all C_p y >= need.
        norm: l1 or linf.
    """
    layers = network.nodes[index:]
    before = points
    for node in network.nodes[:index]:
        before = _apply(node.operator, before)
    neurons = [n.size for n in layers if isinstance(n.operator, Relu | LeakyRelu)]
    best = np.inf
    patterns = list(product([True, False], repeat=sum(neurons)))
    for pattern in product(patterns, repeat=len(points)):
        best = min(best, _program(layers, before, pattern, rows, need, norm))
    return best


def _apply(operator: object, x: np.ndarray) -> np.ndarray:
    if isinstance(operator, Dense):
        return x @ operator.weight.T + operator.bias
    slope = operator.slope if isinstance(operator, LeakyRelu) else 0.0  # type: ignore[attr-defined]
    return np.where(x > 0, x, slope * x)


def _program(layers, before, pattern, rows, need, norm) -> float:  # type: ignore[no-untyped-def]
    """One linear program: phases fixed at every point."""
    first = layers[0].operator
    out, width = first.weight.shape
    size = out * (width + 1)
    above, below = [], []  # A delta >= b
    for h, phases, wanted in zip(before, pattern, rows, strict=True):
        matrix = np.zeros((out, size))
        for j in range(out):
            matrix[j, j * width : (j + 1) * width] = h
            matrix[j, out * width + j] = 1.0
        constant, at = first.weight @ h + first.bias, 0
        for node in layers[1:]:
            operator = node.operator
            if isinstance(operator, Dense):
                matrix, constant = operator.weight @ matrix, operator.weight @ constant + operator.bias
                continue
            on = np.array(phases[at : at + node.size])
            at += node.size
            sign = np.where(on, 1.0, -1.0)
            above.append(sign[:, None] * matrix)
            below.append(-sign * constant)
            slope = operator.slope if isinstance(operator, LeakyRelu) else np.zeros(node.size)
            scale = np.where(on, 1.0, slope)
            matrix, constant = scale[:, None] * matrix, scale * constant
        above.append(wanted @ matrix)
        below.append(need - wanted @ constant)
    a, b = np.concatenate(above), np.concatenate(below)
    if norm == "l1":
        found = linprog(np.ones(2 * size), A_ub=-np.hstack([a, -a]), b_ub=-b, bounds=(0, None))
    else:
        edge = np.ones((size, 1))
        ball = np.vstack([np.hstack([np.eye(size), -edge]), np.hstack([-np.eye(size), -edge])])
        left = np.vstack([np.hstack([-a, np.zeros((len(a), 1))]), ball])
        right = np.concatenate([-b, np.zeros(2 * size)])
        cost = np.append(np.zeros(size), 1.0)
        found = linprog(cost, A_ub=left, b_ub=right, bounds=[(None, None)] * size + [(0, None)])
    return float(found.fun) if found.status == 0 else np.inf
