"""Matrix products with one constant factor: Gemm and MatMul."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from repairsolver.network.lowering.arithmetic import adds_nothing, combine, scale, shift
from repairsolver.network.lowering.builder import (
    PRODUCT,
    Call,
    Constant,
    RefusedError,
    Tensor,
    Value,
    positions,
)
from repairsolver.network.operators import Dense, Source
from repairsolver.results import Array


def gemm(call: Call) -> list[Value]:
    """alpha A' B' + beta C with a constant A or B (or both): Dense, plus C as its bias or another tensor."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    a, b = call.value(0), call.value(1)
    left = transposed(call, a, "/A") if call.integer("transA", 0) else a
    right = transposed(call, b, "/B") if call.integer("transB", 0) else b
    added = call.value(2) if call.has(2) and beta != 0.0 else None
    if isinstance(left, Constant) and isinstance(right, Constant) and isinstance(added, Tensor):
        known = Constant(alpha * (left.floats @ right.floats))
        same = beta == 1.0 and adds_nothing(known, added)
        return [added if same else scale(call, added, np.array(beta), known.floats)]
    product = multiply(call, left, right, alpha, "/product" if isinstance(added, Tensor) else "")
    if added is None:
        return [product]
    if isinstance(added, Tensor):
        return [combine(call, [product, added], (1.0, beta))]
    return [shift(call, product, added, beta, fuse=True)]


def matmul(call: Call) -> list[Value]:
    """Matrix product with one constant factor, as numpy.matmul."""
    return [multiply(call, call.value(0), call.value(1), 1.0)]


def transposed(call: Call, value: Value, suffix: str) -> Value:
    """The transpose of a matrix: of the stored weights, or of the entries of a tensor."""
    if isinstance(value, Tensor):
        return call.select(value, positions(value).T, suffix=suffix)
    source = value.source and replace(value.source, transposed=not value.source.transposed)
    return Constant(value.value.T, source)


def multiply(call: Call, left: Value, right: Value, alpha: float, suffix: str = "") -> Tensor:
    """alpha times left @ right, where exactly one of them is constant."""
    if isinstance(left, Tensor) and isinstance(right, Constant):
        return times_weight(call, left, right, alpha, suffix)
    if isinstance(left, Constant) and isinstance(right, Tensor):
        return weight_times(call, left, right, alpha, suffix)
    raise RefusedError(PRODUCT)


def times_weight(call: Call, x: Tensor, weight: Constant, alpha: float, suffix: str = "") -> Tensor:
    """x [..., k] @ W [k, r], or @ w [k]."""
    matrix = as_matrix(weight)
    stored = matrix.floats.reshape(matrix.shape[0], -1)
    operator = dense(stored.T, matrix.source, len(matrix.shape) == 2, alpha)
    return call.emit(operator, [x], product_shape(x.shape, weight.shape), suffix)


def weight_times(call: Call, weight: Constant, x: Tensor, alpha: float, suffix: str = "") -> Tensor:
    """W [r, k] @ x [..., k, n], or @ x [k]; w [k] @ x [..., k, n]."""
    matrix = as_matrix(weight)
    stored = matrix.floats.reshape(-1, matrix.shape[-1])
    operator = dense(stored, matrix.source, False, alpha)
    shape = product_shape(weight.shape, x.shape)
    if len(x.shape) == 1 or x.shape[-1] == 1:
        return call.emit(operator, [x], shape, suffix)
    swapped = call.select(x, np.swapaxes(positions(x), -1, -2), suffix=f"{suffix}/columns")
    product = call.emit(operator, [swapped], (*swapped.shape[:-1], len(stored)), f"{suffix}/rows")
    return call.select(product, np.swapaxes(positions(product), -1, -2).reshape(shape), suffix=suffix)


def product_shape(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of left @ right; a vector counts as a row on the left, as a column on the right."""
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        raise RefusedError(f"shapes {list(left)} and {list(right)} do not multiply")
    rows = left[-2:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return np.broadcast_shapes(left[:-2], right[:-2]) + rows + columns


def as_matrix(weight: Constant) -> Constant:
    """A weight of rank 1 or 2; leading axes of length 1 are dropped, a stack of matrices is refused."""
    if not weight.shape:
        raise RefusedError("its weight is a scalar, expected a matrix")
    if prod(weight.shape[:-2]) != 1:
        raise RefusedError(
            f"its weight is a stack of matrices of shape {list(weight.shape)}, expected one matrix"
        )
    return Constant(weight.value.reshape(weight.shape[-2:]), weight.source)


def dense(weight: Array, source: Source | None, transposed: bool, alpha: float) -> Dense:
    """A Dense without bias whose weight is alpha times (the transpose of) a stored matrix."""
    origin = source and replace(
        source, transposed=source.transposed != transposed, factor=source.factor * alpha
    )
    return Dense(alpha * weight if alpha != 1.0 else weight, np.zeros(len(weight)), weight_source=origin)


OPERATORS = {"Gemm": gemm, "MatMul": matmul}
