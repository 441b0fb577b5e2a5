"""Interval bounds of a network's Jacobian over boxes: which inputs matter where."""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes
from repairsolver.bounds.tensors import TensorGraph, TensorNode, apply_linear
from repairsolver.network import operators as ops

# Centre and radius of an interval matrix, [b, n, size] each.
IntervalMatrix = tuple[Tensor, Tensor]


def smear(graph: TensorGraph, boxes: Boxes, rows: Tensor) -> Tensor:
    """How much each input can move some functionals of the output: sum_s max |R_s df/dx_i| (u_i - l_i).

    The Jacobian is carried forward as centre and radius; the slope of an activation lies in an interval
    known from its pre-activation bounds. Made for few inputs (all n columns are held). It guides splits
    and proves nothing.

    Args:
        rows: R, [b, s, m].

    Returns:
        [b, n].

    Source: Kearfott 1996, maximum smear.
    """
    batch, count = boxes.lower.shape
    unit = torch.eye(count, dtype=rows.dtype, device=rows.device).expand(batch, count, count)
    found: list[IntervalMatrix] = [(unit, torch.zeros_like(unit))]
    for node in graph.nodes:
        arguments = [found[k] for k in node.inputs]
        found.append(_push(boxes, node, arguments, graph.shape(node.inputs[0])))
    centre, radius = found[-1]
    reach = (rows @ centre.mT).abs() + rows.abs() @ radius.mT
    return reach.sum(dim=1) * (boxes.upper - boxes.lower)


def _push(
    boxes: Boxes, node: TensorNode, arguments: list[IntervalMatrix], shape: tuple[int, ...]
) -> IntervalMatrix:
    centre, radius = arguments[0]
    if isinstance(node.operator, ops.Linear):
        batch = centre.shape[:2]
        middle = apply_linear(node, [c.flatten(0, 1) for c, _ in arguments], shape, "linear")
        spread = apply_linear(node, [r.flatten(0, 1) for _, r in arguments], shape, "magnitude")
        return middle.unflatten(0, batch), spread.unflatten(0, batch)
    if isinstance(node.operator, ops.MaxPool):
        windows = node.parameters["windows"]
        reach = torch.nn.functional.pad(centre.abs() + radius, (0, 1))[..., windows].amax(dim=3)
        return torch.zeros_like(reach), reach
    low, high = (s.unsqueeze(1) for s in _slope_range(node, *boxes.known[node.inputs[0]]))
    ends = (centre - radius, centre + radius)
    products = torch.stack([slope * end for slope in (low, high) for end in ends])
    least, most = products.amin(dim=0), products.amax(dim=0)
    return (least + most) / 2, (most - least) / 2


def _slope_range(node: TensorNode, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of an activation's slopes on [lower, upper]."""
    positive, negative = (lower >= 0).to(lower.dtype), (upper <= 0).to(lower.dtype)
    match node.operator:
        case ops.Relu():
            return positive, 1 - negative
        case ops.LeakyRelu():
            slope = node.parameters["slope"]
            ends = slope + (1 - slope) * positive, slope + (1 - slope) * (1 - negative)
            return torch.minimum(*ends), torch.maximum(*ends)
        case ops.Clip(low, high):
            inside = ((lower >= low) & (upper <= high)).to(lower.dtype)
            outside = ((upper <= low) | (lower >= high)).to(lower.dtype)
            return inside, 1 - outside
        case ops.Elu(alpha):
            steepest = torch.full_like(lower, max(1.0, alpha))
            return torch.zeros_like(lower), torch.where(positive > 0, torch.ones_like(lower), steepest)
        case ops.Gelu():
            return torch.full_like(lower, -0.13), torch.full_like(lower, 1.13)
        case _:
            peak = 0.25 if isinstance(node.operator, ops.Sigmoid) else 1.0
            return torch.zeros_like(lower), torch.full_like(lower, peak)
