"""A network as torch tensors: batched forward pass, and the adjoint of every linear operator."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional, grad

from repairsolver.bounds.execution import roundings
from repairsolver.network import operators as ops
from repairsolver.network.graph import Network
from repairsolver.results import Arithmetic

# A linear node y = M x + c can be applied whole, without its constant, or as |M| x (interval radii).
Part = Literal["affine", "linear", "magnitude"]


@dataclass(frozen=True, slots=True, eq=False)
class TensorNode:
    """A node whose arrays are torch tensors; inputs are positions in the graph (0 is the input).

    Args:
        relative, absolute: what a float32 execution adds, see `execution`; 0 in real arithmetic.
    """

    name: str
    operator: ops.Operator
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    parameters: dict[str, Tensor]
    relative: float = 0.0
    absolute: float = 0.0

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class TensorGraph:
    """A network prepared for torch: node k has position k + 1, the input has position 0.

    Args:
        most: the largest finite number of the file's element type, whatever the `dtype` of these tensors.
    """

    nodes: tuple[TensorNode, ...]
    input_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    most: float

    @property
    def input_size(self) -> int:
        return prod(self.input_shape)

    def shape(self, position: int) -> tuple[int, ...]:
        return self.input_shape if position == 0 else self.nodes[position - 1].shape

    def size(self, position: int) -> int:
        return prod(self.shape(position))

    def forward(self, points: Tensor) -> Tensor:
        """Outputs [b, m] for points [b, n]; differentiable."""
        return self.values(points)[-1]

    def values(self, points: Tensor) -> list[Tensor]:
        """Every tensor at points [b, n], by position."""
        values = [points]
        for node in self.nodes:
            arguments = [values[k] for k in node.inputs]
            values.append(apply(node, arguments, self.shape(node.inputs[0])))
        return values


def tensor_graph(
    network: Network,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    arithmetic: Arithmetic = "real",
) -> TensorGraph:
    """Copy a network's arrays to a device; in float32 arithmetic, bounds hold for every execution.

    Raises:
        NetworkError: the numbers are too large for a claim about float32.
    """
    positions = {network.input_name: 0} | {node.name: k for k, node in enumerate(network.nodes, start=1)}
    nodes = [
        TensorNode(
            node.name,
            node.operator,
            tuple(positions[name] for name in node.inputs),
            node.shape,
            _parameters(node.operator, dtype, torch.device(device)),
            *(roundings(node) if arithmetic == "float32" else (0.0, 0.0)),
        )
        for node in network.nodes
    ]
    most = float(np.finfo(network.element).max)
    return TensorGraph(tuple(nodes), network.input_shape, dtype, torch.device(device), most)


def _parameters(operator: ops.Operator, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    names = {
        ops.Dense: ("weight", "bias"),
        ops.Conv: ("weight", "bias"),
        ops.Scale: ("scale", "shift"),
        ops.Select: ("fill",),
        ops.LeakyRelu: ("slope",),
    }.get(type(operator), ())
    found = {name: torch.tensor(getattr(operator, name), dtype=dtype).to(device) for name in names}
    for name in {ops.Select: ("index",), ops.MaxPool: ("windows",)}.get(type(operator), ()):
        found[name] = torch.tensor(getattr(operator, name)).to(device)
    return found


def apply(node: TensorNode, arguments: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """One node on flat arguments [b, size]; `shape` is the ONNX shape of the first argument."""
    match node.operator:
        case ops.Dense() | ops.Conv() | ops.Scale() | ops.Select() | ops.Sum() | ops.Concat():
            return apply_linear(node, arguments, shape)
        case ops.Relu() | ops.LeakyRelu() | ops.Clip() | ops.Sigmoid() | ops.Tanh() | ops.Elu() | ops.Gelu():
            return apply_activation(node, arguments[0])
        case ops.MaxPool():
            windows = node.parameters["windows"]
            padded = functional.pad(arguments[0], (0, 1), value=-torch.inf)
            return padded[:, windows].amax(dim=2)
        case ops.Softmax(axis):
            x = arguments[0].unflatten(1, shape)
            return torch.softmax(x, dim=axis if axis < 0 else axis + 1).flatten(1)
        case ops.Gate():
            raise TypeError(f"{node.name}: gates are decided before, case by case")
        case _ as unreachable:
            assert_never(unreachable)


def apply_activation(node: TensorNode, x: Tensor) -> Tensor:
    """An elementwise activation at x, any shape whose last axis is the node's entries."""
    match node.operator:
        case ops.Relu():
            return x.clamp(min=0)
        case ops.LeakyRelu():
            return torch.where(x >= 0, x, node.parameters["slope"] * x)
        case ops.Clip(lower, upper):
            return x.clamp(lower, upper)
        case ops.Sigmoid():
            return torch.sigmoid(x)
        case ops.Tanh():
            return torch.tanh(x)
        case ops.Elu(alpha):
            return functional.elu(x, alpha)
        case ops.Gelu(approximated):
            return functional.gelu(x, approximate="tanh" if approximated else "none")
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not elementwise")


def apply_linear(
    node: TensorNode, arguments: list[Tensor], shape: tuple[int, ...], part: Part = "affine"
) -> Tensor:
    """A linear node y = M x + c on flat arguments [b, size]: the whole, M x alone, or |M| x."""
    x, p = arguments[0], node.parameters
    if part == "magnitude":
        p = {name: value.abs() if value.is_floating_point() else value for name, value in p.items()}
    whole = part == "affine"
    match node.operator:
        case ops.Dense():
            bias = p["bias"] if whole else None
            return functional.linear(x.unflatten(1, (-1, p["weight"].shape[1])), p["weight"], bias).flatten(1)
        case ops.Conv() as conv:
            padded = functional.pad(x.unflatten(1, shape[1:]), _torch_pads(conv))
            convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(conv.strides) - 1]
            bias = p["bias"] if whole else None
            out = convolve(padded, p["weight"], bias, conv.strides, 0, conv.dilations, conv.groups)
            return out.flatten(1)
        case ops.Scale():
            return p["scale"] * x + p["shift"] if whole else p["scale"] * x
        case ops.Select():
            fill = p["fill"] if whole else torch.zeros_like(p["fill"])
            return torch.where(p["index"] >= 0, x[:, p["index"]], fill)
        case ops.Sum(coefficients):
            factors = [abs(c) if part == "magnitude" else c for c in coefficients]
            return torch.stack([c * a for c, a in zip(factors, arguments, strict=True)]).sum(dim=0)
        case ops.Concat():
            return torch.cat(arguments, dim=1)
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not linear")


def absolute_terms(node: TensorNode, reach: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """|M| |x| + |c| of a linear node for the largest magnitudes |x| of its arguments, [b, size]."""
    constant = apply_linear(node, [torch.zeros_like(r[:1]) for r in reach], shape).abs()
    return apply_linear(node, reach, shape, "magnitude") + constant


def adjoint(
    node: TensorNode, rows: Tensor, shapes: list[tuple[int, ...]]
) -> tuple[list[Tensor], Tensor | None]:
    """Pull linear functionals back through a linear node.

    For y = M x + c and rows R [b, s, size of y]: R y = (R M) x + R c.

    Args:
        rows: R, [b, s, size of y].
        shapes: the ONNX shapes of the node's inputs.

    Returns:
        R M, [b, s, size of x], for each input; and R c, [b, s], or None where c = 0.
    """
    p = node.parameters
    match node.operator:
        case ops.Dense():
            if rows.shape[2] == len(p["bias"]):
                return [rows @ p["weight"]], rows @ p["bias"]
            split = rows.unflatten(2, (-1, len(p["bias"])))
            return [(split @ p["weight"]).flatten(2)], split.sum(2) @ p["bias"]
        case ops.Conv() as conv:
            return [_conv_adjoint(conv, p["weight"], rows, node.shape, shapes[0])], _conv_bias(
                p["bias"], rows
            )
        case ops.Scale():
            return [rows * p["scale"]], rows @ p["shift"]
        case ops.Select():
            moved = p["index"] >= 0
            pulled = rows.new_zeros(*rows.shape[:2], prod(shapes[0]))
            pulled.index_add_(2, p["index"][moved], rows[..., moved])
            return [pulled], rows[..., ~moved] @ p["fill"][~moved]
        case ops.Sum(coefficients):
            return [c * rows for c in coefficients], None
        case ops.Concat():
            return list(rows.split([prod(shape) for shape in shapes], dim=2)), None
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not linear")


def _torch_pads(conv: ops.Conv) -> list[int]:
    return [amount for pair in reversed(conv.pads) for amount in pair]


def _conv_bias(bias: Tensor, rows: Tensor) -> Tensor:
    channels: Tensor = rows.unflatten(2, (len(bias), -1)).sum(3)
    return channels @ bias


def _conv_adjoint(
    conv: ops.Conv, weight: Tensor, rows: Tensor, target: tuple[int, ...], shape: tuple[int, ...]
) -> Tensor:
    batch, count = rows.shape[:2]
    gradient = rows.reshape(batch * count, *target[1:])
    padded = [s + before + after for s, (before, after) in zip(shape[2:], conv.pads, strict=True)]
    size = [batch * count, shape[1], *padded]
    pull = (grad.conv1d_input, grad.conv2d_input, grad.conv3d_input)
    x: Tensor = pull[len(padded) - 1](size, weight, gradient, conv.strides, 0, conv.dilations, conv.groups)  # type: ignore[no-untyped-call]
    for axis, (before, _) in enumerate(conv.pads, start=2):
        x = x.narrow(axis, before, shape[axis])
    return x.reshape(batch, count, -1)
