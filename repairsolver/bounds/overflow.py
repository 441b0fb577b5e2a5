"""Whether an execution of the file may overflow, where real arithmetic has no end.

Behind an infinity a runtime computes something else than the network in real numbers, which no margin for
rounding covers: $x$ times $10^{20}$ twice, and back again, is $x$ in real numbers, and infinite in float32.
So no proof is begun unless all tensors, and the terms of all sums, stay well below the largest number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.interval import Interval, interval_bounds
from repairsolver.bounds.tensors import TensorGraph, absolute_terms
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.errors import NetworkError
from repairsolver.network import operators as ops

# For numbers that the file has on the way and the graph has not: sums before a mean, products before alpha.
ROOM = 2.0**-20


def refuse_overflow(graph: TensorGraph, lower: Tensor, upper: Tensor) -> None:
    """Refuse a network whose numbers may leave the range of its element type on one of the boxes [b, n].

    Raises:
        NetworkError: linear bounds do not exclude it.
    """
    most = graph.most * ROOM
    found = interval_bounds(graph, lower, upper)
    if _largest(graph, found) <= most:
        return
    # Intervals grow with every layer; linear bounds may not.
    boxes = root_boxes(graph, lower, upper)
    tighten(graph, boxes)
    largest = _largest(graph, interval_bounds(graph, boxes.lower, boxes.upper, boxes.known))
    if not largest <= most:
        raise NetworkError(
            f"on the property's boxes numbers up to {largest:.3g} may occur inside the network, expected at "
            f"most {most:.3g}: a run of the file may overflow there (beyond {graph.most:.3g}), and what is "
            "proved about real numbers would say nothing about it. Scale the weights, or choose smaller boxes"
        )


def _largest(graph: TensorGraph, found: list[Interval]) -> float:
    """The largest absolute value of a tensor, or of all terms of a sum together; NaN if there is one."""
    sizes, sums = sizes_and_sums(graph, found)
    return float(torch.stack([size.max() for size in (*sizes, *sums)]).max())


def sizes_and_sums(graph: TensorGraph, found: list[Interval]) -> tuple[list[Tensor], list[Tensor]]:
    """The largest absolute values of every tensor, and of all terms of every sum together, [b, size] each."""
    sizes = [torch.maximum(low.abs(), high.abs()) for low, high in found]
    return sizes, [
        absolute_terms(node, [sizes[k] for k in node.inputs], graph.shape(node.inputs[0]))
        for node in graph.nodes
        if isinstance(node.operator, ops.Dense | ops.Conv | ops.Scale | ops.Sum)
    ]
