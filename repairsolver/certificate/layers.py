"""A network as the checker sees it: affine maps with explicit matrices, activations and max-pools.

In float32 arithmetic a layer stands for every execution of its node: with exact result y of the inputs that
it got, and s the largest sum of absolute terms in y (or |y| of an activation), it returns some number within
relative * s + absolute of y. Both are 0 in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import sparse

from repairsolver.certificate.executions import executed
from repairsolver.certificate.matrices import matrix_of
from repairsolver.network import operators as ops
from repairsolver.network.forward import apply
from repairsolver.network.graph import Network, Node
from repairsolver.results import Array

Matrix = Array | sparse.csr_array
Bend = ops.LeakyRelu | ops.Clip | ops.Sigmoid | ops.Tanh | ops.Curve
# Matrices with at most so many entries are held dense, which is faster.
DENSE = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """y = sum_k M_k x_k + c, or where there is an operator, that of one tensor.

    Args:
        inputs: the x_k; a tensor is named by its position, 0 for the input and k for the result of layer k.
        terms: the longest sum in a product of rows or vectors with one of the matrices.
    """

    inputs: tuple[int, ...]
    terms: int
    constant: Array
    operator: Bend | ops.MaxPool | None = None
    matrices: tuple[Matrix, ...] = ()
    relative: Array | float = 0.0
    absolute: float = 0.0


def layers_of(network: Network, arithmetic: str = "real") -> list[Layer]:
    """One layer for every node."""
    positions = {network.input_name: 0} | {node.name: k for k, node in enumerate(network.nodes, start=1)}
    shapes = [network.input_shape, *(node.shape for node in network.nodes)]
    layers: list[Layer] = []
    for node in network.nodes:
        inputs = tuple(positions[name] for name in node.inputs)
        if isinstance(node.operator, ops.Linear):
            layer = _affine(node, inputs, [shapes[k] for k in inputs])
        elif isinstance(node.operator, ops.Softmax | ops.Gate):
            raise TypeError(f"{node.name}: softmax and gates are removed before, see `statement` and `cases`")
        else:
            bend = ops.LeakyRelu(np.zeros(1)) if isinstance(node.operator, ops.Relu) else node.operator
            # Several windows of a max-pool may choose one entry, whose slopes are then summed.
            terms = node.size if isinstance(bend, ops.MaxPool) else 1
            layer = Layer(inputs, terms, np.zeros(node.size), bend)
        layers.append(layer if arithmetic == "real" else executed(layer, node))
    return layers


def _affine(node: Node, inputs: tuple[int, ...], shapes: list[tuple[int, ...]]) -> Layer:
    """The matrices, entries of the node's numbers; the constant is what it makes of zeros."""
    matrices = [matrix_of(node, k, shapes) for k in range(len(inputs))]
    terms = max(int(matrix.astype(bool).sum(axis=axis).max()) for matrix in matrices for axis in (0, 1))
    kept = tuple(m.toarray() if prod(m.shape) <= DENSE else m for m in matrices)
    constant = apply(node, [np.zeros((1, prod(shape))) for shape in shapes], shapes[0])[0]
    return Layer(inputs, terms * len(inputs), constant, None, kept)
