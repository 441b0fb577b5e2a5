"""The closed union of operators that a network consists of, each frozen, each without a batch axis.

A tensor of the graph is the *whole* ONNX tensor with symbolic axes set to 1, stored flat; a network is
therefore a map R^n -> R^m whatever its axes mean. Everything that only moves entries (Reshape,
Transpose, Slice, Pad ...) is a `Select`; everything constant and elementwise is a `Scale`; pooling
windows are index sets. What remains is small enough to be encoded, bounded and checked operator by
operator: `match` over `Operator` with `assert_never` names every place that a new one must be added.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from repairsolver.results import Array

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter lives in the ONNX file: stored = factor * (transposed?) parameter.

    Args:
        tensor: name of the initialiser (or of the Constant node's output).
        transposed: the file holds the transpose of the operator's array.
        factor: the operator's array is `factor` times what the file holds (alpha, beta of Gemm; -1
            for a subtracted bias).
    """

    tensor: str
    transposed: bool = False
    factor: float = 1.0


def _freeze(operator: object) -> None:
    for item in fields(operator):  # type: ignore[arg-type]
        value = getattr(operator, item.name)
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value)
            if min(value.strides, default=0) < 0:  # numpy calls axes of length 1 contiguous even so
                value = value.copy()
            value.setflags(write=False)
            object.__setattr__(operator, item.name, value)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """y = W x + b on the last axis: x [..., k], W [r, k], b [r], y [..., r]."""

    weight: Array
    bias: Array
    weight_source: Source | None = None
    bias_source: Source | None = None

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Cross-correlation of x [1, c, *s] with W [o, c / groups, *k], plus b [o].

    `pads` holds the zeros before and after each spatial axis: ((before, after), ...).
    """

    weight: Array
    bias: Array
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]
    groups: int = 1
    weight_source: Source | None = None
    bias_source: Source | None = None

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """y = a * x + c entry by entry; a and c are flat, one value per entry."""

    scale: Array
    shift: Array

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """y[i] = x[index[i]], or the constant fill[i] where index[i] is -1; flat."""

    index: Indices
    fill: Array

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True)
class Sum:
    """y = sum_k c_k x_k over several inputs of equal shape."""

    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """All inputs one after another, flat (an axis other than the first is a Select behind it)."""


@dataclass(frozen=True, slots=True)
class Relu:
    """y = max(x, 0)."""


@dataclass(frozen=True, slots=True, eq=False)
class LeakyRelu:
    """y = x where x >= 0, else slope * x; slope is flat, one value per entry (PRelu included)."""

    slope: Array

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True)
class Clip:
    """y = min(max(x, lower), upper); either end may be infinite."""

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """y = 1 / (1 + exp(-x))."""


@dataclass(frozen=True, slots=True)
class Tanh:
    """y = tanh(x)."""


@dataclass(frozen=True, slots=True)
class Elu:
    """y = x where x >= 0, else alpha (exp(x) - 1), with alpha >= 0."""

    alpha: float


@dataclass(frozen=True, slots=True)
class Gelu:
    """y = x Phi(x), with the normal distribution Phi; not monotone.

    Args:
        tanh: Phi is approximated by (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """

    tanh: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool:
    """y[i] = max_j x[windows[i, j]] over flat entries; -1 pads a window (every window has an entry)."""

    windows: Indices

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, slots=True)
class Softmax:
    """y = exp(x) / sum exp(x) along `axis`; only allowed as the last operator."""

    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """y = on where the network's input lies in one of the boxes, else off; its inputs are (input, on, off).

    Args:
        lower, upper: corners [k, n] of the boxes, faces included; infinite where an input does not matter.
    """

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        _freeze(self)

    def fires(self, points: Array) -> NDArray[np.bool_]:
        """Which inputs [b, n] lie in a box: [b]."""
        found = np.zeros(len(points), dtype=np.bool_)
        for lower, upper in zip(self.lower, self.upper, strict=True):
            found |= ((points >= lower) & (points <= upper)).all(axis=1)
        return found


Linear = Dense | Conv | Scale | Select | Sum | Concat
Activation = Relu | LeakyRelu | Clip | Sigmoid | Tanh
Curve = Elu | Gelu
"""Activations that linear bounds and encodings enclose, but that certificates do not cover."""
Operator = Linear | Activation | Curve | MaxPool | Softmax | Gate
