"""Linear nodes as explicit sparse matrices, whose entries are the node's own numbers: nothing is rounded."""

from __future__ import annotations

from math import prod

import numpy as np
from scipy import sparse

from repairsolver.network import operators as ops
from repairsolver.network.forward import windows
from repairsolver.network.graph import Node


def matrix_of(node: Node, which: int, shapes: list[tuple[int, ...]]) -> sparse.csr_array:
    """The matrix of a linear node for one of its inputs, the others being zero."""
    size = prod(shapes[which])
    rows = columns = np.arange(size)
    match node.operator:
        case ops.Conv() as operator:
            return _convolution(operator, shapes[0])
        case ops.Dense(weight, _):
            return sparse.csr_array(sparse.kron(sparse.eye_array(size // weight.shape[1]), weight))
        case ops.Scale(scale, _):
            values = np.broadcast_to(scale, node.size)
        case ops.Select(index, _):
            rows = np.flatnonzero(index >= 0)
            columns, values = index[rows], np.ones(len(rows))
        case ops.Sum(coefficients):
            values = np.full(size, coefficients[which])
        case ops.Concat():
            rows, values = rows + sum(map(prod, shapes[:which])), np.ones(size)
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not linear")
    return sparse.csr_array((values, (rows, columns)), shape=(node.size, size))


def _convolution(conv: ops.Conv, shape: tuple[int, ...]) -> sparse.csr_array:
    """Output o at t has W_o at the entries that it reads there; they are numbered from 1, 0 is padding."""
    filters, size, groups = len(conv.weight), prod(shape), conv.groups
    read = windows(conv, np.arange(1.0, size + 1).reshape(1, *shape[1:]))
    read = read.reshape(groups, 1, read.shape[2], -1, prod(conv.weight.shape[2:]))
    weight = conv.weight.reshape(groups, filters // groups, read.shape[2], 1, -1)
    read, weight = np.broadcast_arrays(read, weight)
    output = np.arange(filters * read.shape[3]).reshape(groups, -1, 1, read.shape[3], 1)
    output, inside = np.broadcast_to(output, read.shape), read > 0
    entries = weight[inside], (output[inside], read[inside].astype(np.int64) - 1)
    return sparse.csr_array(entries, shape=(filters * read.shape[3], size))
