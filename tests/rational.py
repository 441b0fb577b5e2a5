"""Piecewise-linear networks evaluated in rational numbers, without any rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from exact_oracle import linear_parts

from repairsolver.network import Network
from repairsolver.network import operators as ops

Vector = list[Fraction]


def fractions(values: np.ndarray) -> Vector:
    return [Fraction(float(v)) for v in values]


def dot(row: np.ndarray, x: Vector) -> Fraction:
    return sum((Fraction(float(a)) * b for a, b in zip(row, x, strict=True) if a), Fraction(0))


def exact_tensors(network: Network, point: np.ndarray) -> list[Vector]:
    """Every tensor of a piecewise-linear network at a point, without rounding, by position."""
    names = {network.input_name: fractions(point)}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for node in network.nodes:
        x = [names[name] for name in node.inputs]
        match node.operator:
            case ops.Relu():
                value = [max(v, Fraction(0)) for v in x[0]]
            case ops.LeakyRelu(slope):
                value = [v if v >= 0 else Fraction(float(s)) * v for v, s in zip(x[0], slope, strict=True)]
            case ops.Clip(low, high):
                floor = x[0] if np.isinf(low) else [max(v, Fraction(low)) for v in x[0]]
                value = floor if np.isinf(high) else [min(v, Fraction(high)) for v in floor]
            case ops.MaxPool(windows):
                value = [max(x[0][j] for j in window if j >= 0) for window in windows]
            case _:
                matrices, constant = linear_parts(node, [shapes[name] for name in node.inputs])
                value = [
                    Fraction(float(c)) + sum(dot(m[i], v) for m, v in zip(matrices, x, strict=True))
                    for i, c in enumerate(constant)
                ]
        names[node.name] = value
    return list(names.values())
