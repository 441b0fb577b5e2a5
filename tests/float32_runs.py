"""Networks executed in float32, entry by entry, in the ways that runtimes may sum, round and flush."""

from __future__ import annotations

import numpy as np
from exact_oracle import linear_parts
from scipy.special import expit

from repairsolver.network import Network
from repairsolver.network import operators as ops

UNIT, NORMAL = 2.0**-24, 2.0**-126
WAYS = ("forward", "reversed", "shuffled", "pairwise", "fused", "double", "limit")
"""`limit` is no way of summing: it errs by all that is allowed, in random directions."""


def execute(rng: np.random.Generator, network: Network, point: np.ndarray, way: str) -> list[np.ndarray]:
    """Every tensor of an execution, by position; the point must consist of float32 numbers."""
    values = {network.input_name: np.asarray(point, dtype=np.float64)}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for node in network.nodes:
        x = [values[name] for name in node.inputs]
        if isinstance(node.operator, ops.Linear):
            parts, constant = linear_parts(node, [shapes[name] for name in node.inputs])
            matrix, joined = np.concatenate(parts, axis=1), np.concatenate(x)
            moves = isinstance(node.operator, ops.Select | ops.Concat)
            found = matrix @ joined + constant if moves else _affine(rng, matrix, joined, constant, way)
        else:
            found = _bend(rng, node.operator, x[0], way)
        values[node.name] = found if way in ("limit", "double") else _flushed(rng, found)
    return list(values.values())


def total(rng: np.random.Generator, weights: np.ndarray, x: np.ndarray, bias: float, way: str) -> float:
    """One sum of products in float32: w x + bias."""
    w, v = weights.astype(np.float32), x.astype(np.float32)
    if way == "double":
        return float(weights @ x + bias)
    start = np.float32(bias)
    if way == "fused":
        for a, b in zip(w, v, strict=True):
            # The product of two float32 numbers is exact in float64.
            start = np.float32(float(a) * float(b) + float(start))
        return float(start)
    terms = [start, *(w * v)]
    order = {"reversed": np.arange(len(terms))[::-1], "shuffled": rng.permutation(len(terms))}
    terms = [terms[i] for i in order.get(way, np.arange(len(terms)))]
    while way == "pairwise" and len(terms) > 1:
        terms = [sum(terms[i : i + 2][1:], terms[i]) for i in range(0, len(terms), 2)]
    result = terms[0]
    for term in terms[1:]:
        result = np.float32(result + term)
    return float(result)


def _affine(
    rng: np.random.Generator, matrix: np.ndarray, x: np.ndarray, constant: np.ndarray, way: str
) -> np.ndarray:
    if way == "limit":
        terms = (matrix != 0).sum(axis=1) + 5
        share = 0.999 * terms * UNIT / (1 - terms * UNIT)
        allowed = share * (np.abs(matrix) @ np.abs(x) + np.abs(constant))
        return matrix @ x + constant + rng.choice([-1, 1], len(constant)) * allowed
    rows = [row != 0 for row in matrix]
    return np.array(
        [total(rng, m[used], x[used], c, way) for m, used, c in zip(matrix, rows, constant, strict=True)]
    )


def _bend(rng: np.random.Generator, operator: ops.Operator, x: np.ndarray, way: str) -> np.ndarray:
    kept = np.float64 if way in ("limit", "double") else np.float32
    match operator:
        case ops.Relu():
            return np.maximum(x, 0)
        case ops.Clip(low, high):
            return np.clip(x, low, high)
        case ops.MaxPool(windows):
            return np.where(windows >= 0, x[windows], -np.inf).max(axis=1)
        case ops.LeakyRelu(slope):
            bent = (slope.astype(kept) * x.astype(kept)).astype(np.float64)
            error = UNIT * np.abs(bent) * rng.choice([-0.999, 0.999], len(x)) if way == "limit" else 0.0
            return np.where(x >= 0, x, bent + error)
        case ops.Sigmoid() | ops.Tanh():
            value = expit(x) if isinstance(operator, ops.Sigmoid) else np.tanh(x)
            return value + rng.choice([-0.999, 0.999], len(x)) * 2.0**-20
    raise TypeError(operator)


def _flushed(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    small = (np.abs(values) < NORMAL) & (rng.random() < 0.5)
    return np.where(small, 0.0, values)
