"""Gemm, MatMul and the affine arithmetic of tensors with constants: Add, Sub, Mul, Div, Neg, Sum."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from repairsolver.network.lowering.builder import Call, Constant, RefusedError, Tensor, Value, positions
from repairsolver.network.operators import Conv, Dense, Scale, Source, Sum
from repairsolver.results import Array


def gemm(call: Call) -> list[Value]:
    """alpha A' B' + beta C with a constant A or B: Dense, plus C as its bias."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    a, b = call.value(0), call.value(1)
    left = transposed(call, a, "/A") if call.integer("transA", 0) else a
    right = transposed(call, b, "/B") if call.integer("transB", 0) else b
    product = multiply(call, left, right, alpha)
    if not call.has(2) or beta == 0.0:
        return [product]
    return [shift(call, product, call.constant(2), beta, fuse=True)]


def matmul(call: Call) -> list[Value]:
    """Matrix product with one constant factor, as numpy.matmul."""
    return [multiply(call, call.value(0), call.value(1), 1.0)]


def transposed(call: Call, value: Value, suffix: str) -> Value:
    """The transpose of a matrix: of the stored weights, or of the entries of a tensor."""
    if isinstance(value, Tensor):
        return call.select(value, positions(value).T, suffix=suffix)
    source = value.source and replace(value.source, transposed=not value.source.transposed)
    return Constant(value.value.T, source)


def multiply(call: Call, left: Value, right: Value, alpha: float) -> Tensor:
    """alpha times left @ right, where exactly one of them is constant."""
    if isinstance(left, Tensor) and isinstance(right, Constant):
        return times_weight(call, left, right, alpha)
    if isinstance(left, Constant) and isinstance(right, Tensor):
        return weight_times(call, left, right, alpha)
    raise RefusedError(
        "a product of two tensors that both depend on the network's input is not piecewise linear"
    )


def times_weight(call: Call, x: Tensor, weight: Constant, alpha: float) -> Tensor:
    """x [..., k] @ W [k, r], or @ w [k]."""
    matrix = as_matrix(weight)
    stored = matrix.floats.reshape(matrix.shape[0], -1)
    if x.shape[-1:] != stored.shape[:1]:
        raise RefusedError(f"shapes {list(x.shape)} and {list(weight.shape)} do not multiply")
    ones = (1,) * max(0, len(weight.shape) - max(len(x.shape), 2)) if len(x.shape) > 1 else ()
    shape = ones + x.shape[:-1] + matrix.shape[1:]
    operator = dense(stored.T, matrix.source, len(matrix.shape) == 2, alpha)
    return call.emit(operator, [x], shape)


def weight_times(call: Call, weight: Constant, x: Tensor, alpha: float) -> Tensor:
    """W [r, k] @ x [..., k, n], or @ x [k]; w [k] @ x [..., k, n]."""
    matrix = as_matrix(weight)
    stored = matrix.floats.reshape(-1, matrix.shape[-1])
    rows = matrix.shape[:-1]
    inner = x.shape[-2] if len(x.shape) > 1 else x.shape[0]
    if inner != stored.shape[1]:
        raise RefusedError(f"shapes {list(weight.shape)} and {list(x.shape)} do not multiply")
    operator = dense(stored, matrix.source, False, alpha)
    columns = x.shape[-1] if len(x.shape) > 1 else 1
    if columns == 1:
        return call.emit(operator, [x], x.shape[:-2] + rows + x.shape[-1:] * (len(x.shape) > 1))
    swapped = call.select(x, np.swapaxes(positions(x), -1, -2), suffix="/columns")
    product = call.emit(operator, [swapped], (*swapped.shape[:-1], len(stored)), "/product")
    moved = np.swapaxes(positions(product), -1, -2)
    return call.select(product, moved.reshape(x.shape[:-2] + rows + x.shape[-1:]))


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


def add(call: Call) -> list[Value]:
    """x + y, or x + c (into the bias of the layer before where it has none)."""
    x, y = call.value(0), call.value(1)
    match x, y:
        case Tensor(), Constant():
            return [shift(call, x, y, 1.0, fuse=call.private[0] and x.node == call.node.input[0])]
        case Constant(), Tensor():
            return [shift(call, y, x, 1.0, fuse=call.private[1] and y.node == call.node.input[1])]
        case _:
            return [combine(call, [call.tensor(0), call.tensor(1)], (1.0, 1.0))]


def subtract(call: Call) -> list[Value]:
    """x - y, x - c or c - x."""
    x, y = call.value(0), call.value(1)
    match x, y:
        case Tensor(), Constant():
            return [shift(call, x, y, -1.0, fuse=call.private[0] and x.node == call.node.input[0])]
        case Constant(), Tensor():
            return [scale(call, y, np.array(-1.0), x.floats)]
        case _:
            return [combine(call, [call.tensor(0), call.tensor(1)], (1.0, -1.0))]


def multiply_entries(call: Call) -> list[Value]:
    """x * c."""
    x, y = call.value(0), call.value(1)
    match x, y:
        case Tensor(), Constant():
            return [scale(call, x, y.floats, np.array(0.0))]
        case Constant(), Tensor():
            return [scale(call, y, x.floats, np.array(0.0))]
        case _:
            raise RefusedError(
                "a product of two tensors that depend on the network's input is not piecewise linear"
            )


def divide(call: Call) -> list[Value]:
    """x / c."""
    if isinstance(call.value(1), Tensor):
        raise RefusedError("its divisor depends on the network's input, which is not piecewise linear")
    divisor = call.constant(1).floats
    if not divisor.all():
        raise RefusedError("its constant divisor has a zero")
    return [scale(call, call.tensor(0), 1.0 / divisor, np.array(0.0))]


def negate(call: Call) -> list[Value]:
    return [scale(call, call.tensor(0), np.array(-1.0), np.array(0.0))]


def total(call: Call) -> list[Value]:
    """The sum of any number of tensors and constants."""
    tensors = [v for v in call.inputs if isinstance(v, Tensor)]
    constants = [v.floats for v in call.inputs if isinstance(v, Constant)]
    result = combine(call, tensors, (1.0,) * len(tensors)) if len(tensors) > 1 else tensors[0]
    for constant in constants:
        result = scale(call, result, np.array(1.0), constant)
    return [result]


def shift(call: Call, x: Tensor, constant: Constant, factor: float, *, fuse: bool) -> Tensor:
    """x + factor * constant: the bias of the layer that made x if it has none, else a Scale."""
    values = factor * constant.floats
    if fuse:
        fused = with_bias(call, x, constant, factor)
        if fused is not None:
            return fused
    return scale(call, x, np.array(1.0), values)


def with_bias(call: Call, x: Tensor, constant: Constant, factor: float) -> Tensor | None:
    """The Dense or Conv that made x with the constant as its bias; None where that does not fit."""
    made = call.builder.nodes.get(x.node)
    if made is None or not isinstance(made.operator, Dense | Conv) or has_bias(made.operator):
        return None
    if np.broadcast_shapes(x.shape, constant.shape) != x.shape:
        return None
    size = len(made.operator.bias)
    index = np.broadcast_to(np.arange(constant.value.size).reshape(constant.shape), x.shape)
    rows = index.reshape(-1, size) if isinstance(made.operator, Dense) else index.reshape(size, -1).T
    if not (rows == rows[0]).all():
        return None
    stored = constant.source if np.array_equal(rows[0], np.arange(constant.value.size)) else None
    source = stored and replace(stored, factor=stored.factor * factor)
    bias = factor * constant.floats.reshape(-1)[rows[0]]
    operator = replace(made.operator, bias=bias, bias_source=source)
    inputs = [Tensor(name, ()) for name in made.inputs]
    if call.builder.nodes[x.node].name == call.node.output[0]:
        del call.builder.nodes[x.node]
    return call.builder.emit(call.node.output[0], operator, inputs, x.shape, made.layer)


def has_bias(operator: Dense | Conv) -> bool:
    return operator.bias_source is not None or bool(operator.bias.any())


def scale(call: Call, x: Tensor, factor: Array, constant: Array, suffix: str = "") -> Tensor:
    """factor * x + constant with broadcasting; x itself where that changes nothing."""
    shape = np.broadcast_shapes(x.shape, factor.shape, constant.shape)
    wide = broadcast(call, x, shape, suffix + "/broadcast")
    a = np.broadcast_to(factor, shape).reshape(-1)
    c = np.broadcast_to(constant, shape).reshape(-1)
    if (a == 1.0).all() and not c.any():
        return wide
    return call.emit(Scale(a, c), [wide], shape, suffix)


def combine(call: Call, tensors: list[Tensor], coefficients: tuple[float, ...]) -> Tensor:
    """A linear combination of tensors with broadcasting."""
    shape = np.broadcast_shapes(*(x.shape for x in tensors))
    wide = [broadcast(call, x, shape, f"/broadcast{i}") for i, x in enumerate(tensors)]
    return call.emit(Sum(coefficients), wide, shape)


def broadcast(call: Call, x: Tensor, shape: tuple[int, ...], suffix: str) -> Tensor:
    """x repeated to a larger shape."""
    return call.select(x, np.broadcast_to(positions(x), shape), suffix=suffix)


OPERATORS = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": add,
    "Sub": subtract,
    "Mul": multiply_entries,
    "Div": divide,
    "Neg": negate,
    "Sum": total,
}
