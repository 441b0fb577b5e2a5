r"""Whether numbers are so small that products underflow, where relative margins cover no rounding.

Bounds take off a share $10^{-12}$ of all terms that they sum, and a product that underflows errs by up to
$2^{-1074}$ whatever its factors, times what it is multiplied with later, which is at most the largest tensor.
So no proof is begun unless the terms of every sum, where there are any, stay far above both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.interval import Interval, interval_bounds
from repairsolver.bounds.overflow import sizes_and_sums
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.errors import NetworkError, PropertyError

# The least sum of terms, and the least in units of the largest tensor.
LEAST, SHARE = 2.0**-800, 2.0**-980


def refuse_underflow(
    graph: TensorGraph, lower: Tensor, upper: Tensor, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Refuse numbers that are too small on one of the boxes [b, n].

    Args:
        rows: those of the property, C [b, r, m], D [b, r, n] and d [b, r].

    Raises:
        PropertyError: those of a row.
        NetworkError: those of a layer.
    """
    found = interval_bounds(graph, lower, upper)
    sizes, sums = sizes_and_sums(graph, found)
    floor = max(LEAST, SHARE * max(float(size.max()) for size in sizes))
    terms = _row_terms(rows, found, lower, upper)
    if (least := _least(terms, floor)) is not None:
        raise PropertyError(
            f"row {_where(terms, least)} of the property has terms of at most {least:.3g} on its box, "
            f"expected 0 or at least {floor:.3g}: such small products underflow, and nothing can be proved "
            "about them. Multiply both sides of the row by a large number"
        )
    for node_terms in sums:
        if (least := _least(node_terms, floor)) is not None:
            raise NetworkError(
                f"on the property's boxes a sum inside the network has terms of at most {least:.3g}, "
                f"expected 0 or at least {floor:.3g}: such small products underflow, and nothing can be "
                "proved about them. Scale the weights, or set those that small to 0"
            )


def _row_terms(
    rows: tuple[Tensor, Tensor, Tensor], found: list[Interval], lower: Tensor, upper: Tensor
) -> Tensor:
    output, inputs, bound = rows
    ends, corners = (torch.maximum(a.abs(), b.abs()).unsqueeze(2) for a, b in (found[-1], (lower, upper)))
    return (output.abs() @ ends).squeeze(2) + (inputs.abs() @ corners).squeeze(2) + bound.abs()


def _least(terms: Tensor, floor: float) -> float | None:
    small = terms[(terms > 0) & (terms < floor)]
    return float(small.min()) if len(small) else None


def _where(terms: Tensor, least: float) -> str:
    query, row = (terms == least).nonzero()[0].tolist()
    return f"{row + 1} of case {query + 1} (region with conjunction, in order)"
