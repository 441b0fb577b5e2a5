"""Affine arithmetic of tensors with constants and with each other: Add, Sub, Mul, Div, Neg, Sum ..."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repairsolver.network.lowering.builder import (
    PRODUCT,
    Call,
    Constant,
    RefusedError,
    Tensor,
    Value,
    affordable,
    positions,
)
from repairsolver.network.operators import Conv, Dense, Indices, MaxPool, Scale, Sum
from repairsolver.results import Array


def add(call: Call) -> list[Value]:
    """x + y, or x + c (into the bias of the layer before where it has none); x + 0 is x for a computed 0."""
    x, y = call.value(0), call.value(1)
    match x, y:
        case Tensor(), Constant() if adds_nothing(y, x):
            return [x]
        case Constant(), Tensor() if adds_nothing(x, y):
            return [y]
        case Tensor(), Constant():
            return [shift(call, x, y, 1.0, fuse=call.private[0] and x.node == call.node.input[0])]
        case Constant(), Tensor():
            return [shift(call, y, x, 1.0, fuse=call.private[1] and y.node == call.node.input[1])]
        case _:
            return [combine(call, [call.tensor(0), call.tensor(1)], (1.0, 1.0))]


def adds_nothing(constant: Constant, x: Tensor) -> bool:
    """Whether a constant adds nothing to x; a stored one is a weight, which may be changed."""
    if constant.source is not None or np.broadcast_shapes(constant.shape, x.shape) != x.shape:
        return False
    return not constant.value.any()


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
            raise RefusedError(PRODUCT)


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
    return [total_of(call)]


def total_of(call: Call) -> Tensor:
    tensors = [v for v in call.inputs if isinstance(v, Tensor)]
    constants = [v.floats for v in call.inputs if isinstance(v, Constant)]
    result = combine(call, tensors, (1.0,) * len(tensors)) if len(tensors) > 1 else tensors[0]
    for constant in constants:
        result = scale(call, result, np.array(1.0), constant)
    return result


def mean(call: Call) -> list[Value]:
    """The mean of any number of tensors and constants."""
    return [scale(call, total_of(call), np.array(1.0 / len(call.inputs)), np.array(0.0))]


def batch_normalisation(call: Call) -> list[Value]:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta per channel, with stored statistics."""
    if call.integer("training_mode", 0) or not call.integer("spatial", 1):
        raise RefusedError("it is in training mode or not per channel; export the network for inference")
    if call.wanted - {call.node.output[0]}:
        raise RefusedError("its statistics are used as outputs, which exist in training only")
    x = call.tensor(0)
    gamma, beta, mean, variance = (call.constant(i).floats for i in (1, 2, 3, 4))
    spread = variance + call.number("epsilon", 1e-5)
    if not (spread > 0).all():
        raise RefusedError("its variance plus epsilon is not positive")
    factor = gamma / np.sqrt(spread)
    channels = (-1, *(1,) * (len(x.shape) - 2))
    return [scale(call, x, factor.reshape(channels), (beta - factor * mean).reshape(channels))]


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
    shape = affordable(np.broadcast_shapes(x.shape, factor.shape, constant.shape))
    wide = broadcast(call, x, shape, suffix + "/broadcast")
    a = np.broadcast_to(factor, shape).reshape(-1)
    c = np.broadcast_to(constant, shape).reshape(-1)
    if (a == 1.0).all() and not c.any():
        return wide
    return call.emit(Scale(a, c), [wide], shape, suffix)


def extreme_of(call: Call, x: Tensor, windows: Indices, shape: tuple[int, ...], sign: float) -> Tensor:
    """sign * max(sign * x) over each window of positions [k, w]; the result has k entries."""
    operator = MaxPool(windows)
    if sign > 0:
        return call.emit(operator, [x], shape)
    negated = scale(call, x, np.array(-1.0), np.array(0.0), "/negated")
    largest = call.emit(operator, [negated], shape, "/largest")
    return scale(call, largest, np.array(-1.0), np.array(0.0))


def combine(call: Call, tensors: list[Tensor], coefficients: tuple[float, ...]) -> Tensor:
    """A linear combination of tensors with broadcasting."""
    shape = affordable(np.broadcast_shapes(*(x.shape for x in tensors)))
    wide = [broadcast(call, x, shape, f"/broadcast{i}") for i, x in enumerate(tensors)]
    return call.emit(Sum(coefficients), wide, shape)


def broadcast(call: Call, x: Tensor, shape: tuple[int, ...], suffix: str) -> Tensor:
    """x repeated to a larger shape."""
    return call.select(x, np.broadcast_to(positions(x), shape), suffix=suffix)


OPERATORS = {
    "Add": add,
    "Sub": subtract,
    "Mul": multiply_entries,
    "Div": divide,
    "Neg": negate,
    "Sum": total,
    "Mean": mean,
    "BatchNormalization": batch_normalisation,
}
