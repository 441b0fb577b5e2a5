"""Activations and other functions of single entries."""

from __future__ import annotations

from math import inf

import numpy as np
from onnx import TensorProto

from repairsolver.network.lowering.arithmetic import extreme_of, scale
from repairsolver.network.lowering.builder import (
    Call,
    Constant,
    Element,
    RefusedError,
    Tensor,
    Value,
    affordable,
    axis_of,
    positions,
)
from repairsolver.network.operators import (
    Activation,
    Clip,
    Concat,
    Curve,
    Elu,
    Gelu,
    LeakyRelu,
    Relu,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
)

FLOATS: dict[int, Element] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
}


def entrywise(call: Call, operator: Activation | Curve) -> list[Value]:
    x = call.tensor(0)
    return [call.emit(operator, [x], x.shape)]


def relu(call: Call) -> list[Value]:
    return entrywise(call, Relu())


def sigmoid(call: Call) -> list[Value]:
    return entrywise(call, Sigmoid())


def tanh(call: Call) -> list[Value]:
    return entrywise(call, Tanh())


def elu(call: Call) -> list[Value]:
    return [curved(call, call.tensor(0), call.number("alpha", 1.0), "")]


def selu(call: Call) -> list[Value]:
    """gamma x where x >= 0, else gamma alpha (exp(x) - 1), as an Elu and a Scale."""
    alpha, gamma = call.number("alpha", 1.6732632), call.number("gamma", 1.0507010)
    return [scale(call, curved(call, call.tensor(0), alpha), np.array(gamma), np.array(0.0))]


def celu(call: Call) -> list[Value]:
    """x where x >= 0, else alpha (exp(x / alpha) - 1): an Elu of x / alpha, times alpha."""
    alpha = call.number("alpha", 1.0)
    if not alpha > 0:
        raise RefusedError(f"its alpha is {alpha}, expected above 0")
    narrow = scale(call, call.tensor(0), np.array(1.0 / alpha), np.array(0.0), "/divided")
    return [scale(call, curved(call, narrow, 1.0), np.array(alpha), np.array(0.0))]


def curved(call: Call, x: Tensor, alpha: float, suffix: str = "/elu") -> Tensor:
    if not alpha >= 0:
        raise RefusedError(f"its alpha is {alpha}, expected at least 0")
    return call.emit(Elu(alpha), [x], x.shape, suffix)


def gelu(call: Call) -> list[Value]:
    """By the normal distribution, or by its approximation with tanh."""
    kind = call.text("approximate", "none")
    if kind not in ("none", "tanh"):
        raise RefusedError(f"its approximate is {kind!r}, expected 'none' or 'tanh'")
    return entrywise(call, Gelu(kind == "tanh"))


def leaky_relu(call: Call) -> list[Value]:
    return entrywise(call, LeakyRelu(np.full(call.tensor(0).size, call.number("alpha", 0.01))))


def absolute(call: Call) -> list[Value]:
    """|x|: a leaky ReLU of slope -1."""
    return entrywise(call, LeakyRelu(np.full(call.tensor(0).size, -1.0)))


def prelu(call: Call) -> list[Value]:
    """x where x >= 0, else slope * x with a constant slope that broadcasts to x."""
    slope = np.broadcast_to(call.constant(1).floats, call.tensor(0).shape)
    return entrywise(call, LeakyRelu(slope.reshape(-1)))


def clip(call: Call) -> list[Value]:
    """min(max(x, lower), upper); the ends are attributes up to opset 10, inputs from 11."""
    if call.opset < 11:
        lower, upper = call.number("min", -inf), call.number("max", inf)
    else:
        lower = end(call.constant(1)) if call.has(1) else -inf
        upper = end(call.constant(2)) if call.has(2) else inf
    if not lower <= upper:
        raise RefusedError(f"its lower end {lower} is above its upper end {upper}")
    if (lower, upper) == (-inf, inf):
        return [call.tensor(0)]
    return entrywise(call, Relu() if (lower, upper) == (0.0, inf) else Clip(lower, upper))


def end(constant: Constant) -> float:
    return float(constant.floats.reshape(()))


def hard_sigmoid(call: Call) -> list[Value]:
    """min(max(alpha x + beta, 0), 1), as a Scale and a Clip."""
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    x = call.tensor(0)
    linear = scale(call, x, np.array(alpha), np.array(beta), "/linear")
    return [call.emit(Clip(0.0, 1.0), [linear], x.shape)]


def softmax(call: Call) -> list[Value]:
    """Softmax along one axis; before opset 13, over all axes from `axis` on taken together."""
    x = call.tensor(0)
    if call.opset >= 13:
        operator = Softmax(axis_of(call.integer("axis", -1), len(x.shape)))
        return [call.emit(operator, [call.shaped(x)], x.shape)]
    axis = axis_of(call.integer("axis", 1), len(x.shape))
    rows = int(np.prod(x.shape[:axis]))
    flat = Tensor(x.node, (rows, x.size // rows))
    together = x if x.shape[axis] == flat.shape[1] else flat
    operator = Softmax(axis if together is x else 1)
    return [call.emit(operator, [call.shaped(together)], x.shape)]


def cast(call: Call) -> list[Value]:
    """A cast between float types changes no real number that a network computes."""
    target, x = FLOATS.get(call.integer("to", 0)), call.tensor(0)
    if target is None:
        raise RefusedError("it casts to a type other than float32 or float64")
    if target.itemsize < call.builder.element.itemsize:
        # A node of its own: inputs that are rounded are no longer those that guards may compare.
        return [call.emit(Scale(np.ones(x.size), np.zeros(x.size)), [x], x.shape)]
    return [x]


def dropout(call: Call) -> list[Value]:
    """The identity at inference."""
    if len(call.node.output) > 1 and call.node.output[1] in call.wanted:
        raise RefusedError("its mask is used, which exists in training only")
    if call.has(2) and bool(call.constant(2).value.reshape(())):
        raise RefusedError("it is in training mode; export the network for inference")
    return [call.tensor(0)]


def unchanged(call: Call) -> list[Value]:
    return [call.tensor(0)]


def greatest(call: Call) -> list[Value]:
    """The largest of tensors and constants, entry by entry: a maximum over windows."""
    return [extreme(call, 1.0)]


def smallest(call: Call) -> list[Value]:
    """The smallest: minus the largest of what is negated."""
    return [extreme(call, -1.0)]


def extreme(call: Call, sign: float) -> Tensor:
    """sign * max(sign * x_1, sign * x_2, ...) with broadcasting, as a maximum over windows."""
    shape = affordable(np.broadcast_shapes(*(v.shape for v in call.inputs if v is not None)))
    tensors = [v for v in call.inputs if isinstance(v, Tensor)]
    starts = np.cumsum([0, *(x.size for x in tensors)])
    windows = [np.broadcast_to(positions(x) + k, shape) for x, k in zip(tensors, starts[:-1], strict=True)]
    limits = [sign * np.broadcast_to(v.floats, shape) for v in call.inputs if isinstance(v, Constant)]
    largest = call.builder.largest
    limit = np.max([np.full(shape, -largest), *limits], axis=0)
    used = limit > -largest
    if used.any():
        places = np.where(used, starts[-1] - 1 + np.cumsum(used).reshape(shape), -1)
        fixed = np.full(int(used.sum()), -1)
        tensors.append(call.select(call.builder.input, fixed, sign * limit[used], "/constants"))
        windows.append(places)
    if len(windows) == 1:
        return call.select(tensors[0], windows[0])
    whole = tensors[0]
    if len(tensors) > 1:
        whole = call.emit(Concat(), tensors, (sum(x.size for x in tensors),), "/joined")
    return extreme_of(call, whole, np.stack(windows, axis=-1).reshape(-1, len(windows)), shape, sign)


OPERATORS = {
    "Max": greatest,
    "Min": smallest,
    "Relu": relu,
    "Abs": absolute,
    "Elu": elu,
    "Selu": selu,
    "Celu": celu,
    "Gelu": gelu,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "Clip": clip,
    "HardSigmoid": hard_sigmoid,
    "Softmax": softmax,
    "Cast": cast,
    "Dropout": dropout,
    "Identity": unchanged,
}
