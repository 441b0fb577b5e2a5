r"""What rows of the next question can differ by from those of the one before, without pulling any back.

If only the last dense layer was edited, y = W h + b, or the rows, then the rows' difference

$$ C' y' + D' x - d' - (C y + D x - d) = (C' W' - C W) h + (D' - D) x + C' b' - C b - (d' - d) $$

is bounded by the bounds of h that a kept node has; with it, a linear bound of the old rows becomes one of the
new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING
from repairsolver.bounds.interval import Interval
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import image
from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense
from repairsolver.verification.frontier import Open
from repairsolver.verification.query import Queries


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Coefficients of the difference of every row, and the sums of absolute terms that they came from.

    Args:
        source: the position of h.
        hidden, hidden_size: of h, [q, r, size].
        input, input_size: of x, [q, r, n].
        constant, constant_size: [q, r].
    """

    graph: TensorGraph
    source: int
    hidden: Tensor
    hidden_size: Tensor
    input: Tensor
    input_size: Tensor
    constant: Tensor
    constant_size: Tensor

    def least(self, part: Open, weights: Tensor) -> Tensor:
        """The least weighted difference on each box, [b], shrunk by its rounding; weights are [b, r]."""
        found = image(self.graph, part.known, self.source)
        assert found is not None
        total = (weights * self.constant[part.query]).sum(dim=1)
        size = (weights * self.constant_size[part.query]).sum(dim=1)
        sides = (
            (self.hidden, self.hidden_size, found),
            (self.input, self.input_size, (part.lower, part.upper)),
        )
        for factors, sizes, (low, high) in sides:
            row = (weights.unsqueeze(1) @ factors[part.query])[:, 0]
            total = total + torch.minimum(row * low, row * high).sum(dim=1)
            terms = (weights.unsqueeze(1) @ sizes[part.query])[:, 0]
            size = size + (terms * torch.maximum(low.abs(), high.abs())).sum(dim=1)
        return total - ROUNDING * size


def change(
    before: Network, old: Queries, graph: TensorGraph, new: Queries, edited: int, known: dict[int, Interval]
) -> Change | None:
    """How the rows differ, if no layer before the last one was edited and that is a dense one, else None.

    Args:
        before, old: the network and the rows of the question before.
        graph, new: those of the next one.
        edited: the position of the first layer that differs.
        known: bounds of pre-activations on some boxes.
    """
    last, node = len(graph.nodes), graph.nodes[-1]
    if edited < last or not isinstance(node.operator, Dense) or node.absolute:
        return None
    weight, bias, source = node.parameters["weight"], node.parameters["bias"], node.inputs[0]
    if graph.size(source) != weight.shape[1] or image(graph, known, source) is None:
        return None
    operator = before.nodes[-1].operator
    assert isinstance(operator, Dense)
    weight_before, bias_before = weight.new_tensor(operator.weight), weight.new_tensor(operator.bias)
    rows, others = new.output, old.output
    constant = rows @ bias - new.bound - (others @ bias_before - old.bound)
    size = rows.abs() @ bias.abs() + new.bound.abs() + others.abs() @ bias_before.abs() + old.bound.abs()
    return Change(
        graph,
        source,
        rows @ weight - others @ weight_before,
        rows.abs() @ weight.abs() + others.abs() @ weight_before.abs(),
        new.input - old.input,
        new.input.abs() + old.input.abs(),
        constant,
        size,
    )
