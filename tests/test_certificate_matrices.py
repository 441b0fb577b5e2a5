"""The checker's matrices against the nodes themselves, applied to unit vectors."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from repairsolver.certificate.matrices import matrix_of
from repairsolver.network import operators as ops
from repairsolver.network.forward import apply
from repairsolver.network.graph import Node

RNG = np.random.default_rng(3)
Shape = tuple[int, ...]


def conv(filters: int, shape: Shape, kernel: Shape, pads: Shape, groups: int = 1) -> tuple[ops.Conv, Shape]:
    """A convolution with random filters, strides and dilations, and the shape of its output."""
    strides, dilations = RNG.integers(1, 3, len(kernel)), RNG.integers(1, 3, len(kernel))
    weight = RNG.normal(size=(filters, shape[1] // groups, *kernel))
    both = tuple((int(p), int(p // 2)) for p in pads)
    operator = ops.Conv(
        weight, RNG.normal(size=filters), tuple(map(int, strides)), both, tuple(map(int, dilations)), groups
    )
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [(s + sum(p) - r) // t + 1 for s, p, r, t in zip(shape[2:], both, reach, strides, strict=True)]
    return operator, (1, filters, *map(int, sizes))


CONVOLUTIONS = [
    conv(3, (1, 2, 7, 6), (3, 2), (1, 0)),
    conv(4, (1, 6, 8, 9), (2, 3), (2, 1), groups=2),
    conv(6, (1, 3, 6, 7), (3, 3), (1, 1), groups=3),
    conv(2, (1, 4, 11), (3,), (2,)),
    conv(2, (1, 2, 5, 6, 5), (2, 2, 2), (0, 1, 1)),
    conv(5, (1, 3, 5, 5), (3, 3), (0, 0)),
]
SHAPES: list[Shape] = [(1, 2, 7, 6), (1, 6, 8, 9), (1, 3, 6, 7), (1, 4, 11), (1, 2, 5, 6, 5), (1, 3, 5, 5)]
NODES: list[tuple[ops.Linear, list[Shape], Shape]] = [
    *((operator, [shape], out) for (operator, out), shape in zip(CONVOLUTIONS, SHAPES, strict=True)),
    (ops.Dense(RNG.normal(size=(4, 6)), RNG.normal(size=4)), [(1, 6)], (1, 4)),
    (ops.Dense(RNG.normal(size=(4, 3)), RNG.normal(size=4)), [(1, 5, 3)], (1, 5, 4)),
    (ops.Scale(RNG.normal(size=6), RNG.normal(size=6)), [(1, 2, 3)], (1, 2, 3)),
    (ops.Select(np.array([4, -1, 0, 0, 3]), RNG.normal(size=5)), [(1, 6)], (1, 5)),
    (ops.Sum((1.0, -2.5, 0.5)), [(1, 4)] * 3, (1, 4)),
    (ops.Concat(), [(1, 4), (1, 3), (1, 2)], (1, 9)),
]


@pytest.mark.parametrize(("operator", "shapes", "out"), NODES)
def test_a_column_is_what_a_node_makes_of_a_unit_vector(
    operator: ops.Linear, shapes: list[Shape], out: Shape
) -> None:
    node = Node("y", operator, tuple(f"x{k}" for k in range(len(shapes))), out, "y")
    zeros = [np.zeros((1, prod(shape))) for shape in shapes]
    constant = apply(node, zeros, shapes[0])
    for which, shape in enumerate(shapes):
        arguments = [np.repeat(zero, prod(shape), axis=0) for zero in zeros]
        arguments[which] = np.eye(prod(shape))
        columns = apply(node, arguments, shapes[0]) - constant
        found = matrix_of(node, which, shapes).toarray()
        assert found.shape == (prod(out), prod(shape))
        np.testing.assert_allclose(found, columns.T, rtol=0, atol=1e-14)
