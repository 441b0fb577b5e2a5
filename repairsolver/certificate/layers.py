"""A network as the checker sees it: affine maps with explicit matrices, and activations ("bends").

In float32 arithmetic a layer stands for every execution of its node: with exact result y of the inputs that
it got, and s the largest sum of absolute terms in y (for a bend, the largest |y|), it returns some number
within relative * s + absolute of y. Both are 0 in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy import sparse

from repairsolver.certificate.executions import executed
from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network import operators as ops
from repairsolver.network.forward import apply
from repairsolver.network.graph import Network, Node
from repairsolver.results import Array

Matrix = Array | sparse.csr_array
# Matrices with at most so many entries are held dense, which is faster; columns are made so many at once.
DENSE, COLUMNS = 2**20, 256


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = sum_k M_k x_k + c.

    Args:
        magnitudes: the |M_k|, transposed.
        terms: the longest sum in a product with the matrices or their transposes.
    """

    inputs: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    magnitudes: tuple[Matrix, ...]
    constant: Array
    terms: int
    relative: Array | float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """An activation or a max-pool of one tensor.

    Args:
        copied: its input is made entry by entry, by scaling and selection, of the outputs of an activation.
    """

    inputs: tuple[int, ...]
    operator: ops.Activation | ops.MaxPool
    copied: bool
    relative: float = 0.0
    absolute: float = 0.0


Layer = Affine | Bend


def layers_of(network: Network, arithmetic: str = "real") -> list[Layer]:
    """Every node; a tensor is named by its position, 0 for the input and k + 1 for node k."""
    positions = {network.input_name: 0} | {node.name: k for k, node in enumerate(network.nodes, start=1)}
    shapes = [network.input_shape, *(node.shape for node in network.nodes)]
    layers: list[Layer] = []
    copies = [False]
    for node in network.nodes:
        inputs = tuple(positions[name] for name in node.inputs)
        layer: Layer
        if isinstance(node.operator, ops.Linear):
            layer = _affine(node, inputs, [shapes[k] for k in inputs])
        elif isinstance(node.operator, ops.Softmax):
            raise TypeError(f"{node.name}: a softmax is removed before")
        elif isinstance(node.operator, ops.Gate):
            raise TypeError(f"{node.name}: gates are decided before, case by case")
        elif isinstance(node.operator, ops.Curve):
            raise UnsupportedOperatorError(
                f"{node.name}: certificates do not cover {type(node.operator).__name__} yet; verify without"
            )
        else:
            layer = Bend(inputs, node.operator, copies[inputs[0]])
        layers.append(layer if arithmetic == "real" else executed(layer, node))
        moved = isinstance(node.operator, ops.Scale | ops.Select) and copies[inputs[0]]
        copies.append(moved or not isinstance(node.operator, ops.Linear | ops.MaxPool))
    return layers


def _affine(node: Node, inputs: tuple[int, ...], shapes: list[tuple[int, ...]]) -> Affine:
    """The matrices column by column: the node, without its constant, applied to unit vectors (exactly)."""
    constants = {
        name: np.zeros_like(getattr(node.operator, name))
        for name in ("bias", "shift", "fill")
        if hasattr(node.operator, name)
    }
    linear = replace(node, operator=replace(node.operator, **constants))
    matrices = [_matrix(linear, k, shapes) for k in range(len(inputs))]
    terms = max(
        max(np.diff(m.indptr).max(initial=0), np.bincount(m.indices).max(initial=0)) for m in matrices
    )
    kept = tuple(m.toarray() if prod(m.shape) <= DENSE else m for m in matrices)
    magnitudes = tuple(np.abs(m).T if isinstance(m, np.ndarray) else abs(m).T.tocsr() for m in kept)
    constant = apply(node, [np.zeros((1, prod(shape))) for shape in shapes], shapes[0])[0]
    return Affine(inputs, kept, magnitudes, constant, int(terms) * len(inputs))


def _matrix(node: Node, which: int, shapes: list[tuple[int, ...]]) -> sparse.csr_array:
    """The matrix of a linear node for one of its inputs, the others being zero."""
    size, columns = prod(shapes[which]), []
    for start in range(0, size, COLUMNS):
        count = min(COLUMNS, size - start)
        arguments = [np.zeros((count, prod(shape))) for shape in shapes]
        arguments[which][np.arange(count), start + np.arange(count)] = 1.0
        columns.append(sparse.csc_array(apply(node, arguments, shapes[0]).T))
    return sparse.csr_array(sparse.hstack(columns))
