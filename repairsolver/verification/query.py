"""A property as queries: one box and one conjunction each, ready for bounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from repairsolver.errors import PropertyError, UnsupportedOperatorError
from repairsolver.network.graph import Network
from repairsolver.network.operators import Softmax
from repairsolver.property.specification import Conjunction, Property


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """All (region, conjunction) pairs of a property, padded to the same number of rows.

    Query q is violated at x in its box iff g_r(x) = C_r y + D_r x - d_r <= 0 for every row r.

    Args:
        lower, upper: [q, n].
        output, input: C [q, r, m] and D [q, r, n].
        bound: d [q, r].
    """

    lower: Tensor
    upper: Tensor
    output: Tensor
    input: Tensor
    bound: Tensor

    def __len__(self) -> int:
        return len(self.lower)


def strip_softmax(network: Network, prop: Property) -> tuple[Network, Property]:
    """Remove a final softmax when every row only compares outputs, which their logits decide alike.

    softmax_i <= softmax_j iff logit_i <= logit_j within one group; a row a y_i - a y_j <= 0 therefore
    means the same before and after.

    Raises:
        UnsupportedOperatorError: a row compares a softmax output with a constant or mixes more.
    """
    if not isinstance(network.output.operator, Softmax):
        return network, prop
    shape, axis = network.output.shape, network.output.operator.axis
    if np.prod(shape) != shape[axis]:
        raise UnsupportedOperatorError(
            f"{network.name}: the final softmax has several groups (shape {shape}, axis {axis}); "
            "only one group over all outputs can be verified"
        )
    for region in prop.regions:
        for conjunction in region.unsafe:
            _require_ordering(network, conjunction)
    return replace(network, nodes=network.nodes[:-1]), prop


def _require_ordering(network: Network, conjunction: Conjunction) -> None:
    touched = np.abs(conjunction.output).sum(axis=1) > 0
    balanced = np.abs(conjunction.output.sum(axis=1)) == 0
    two = (conjunction.output != 0).sum(axis=1) == 2
    plain = (conjunction.bound == 0) & (np.abs(conjunction.input).sum(axis=1) == 0)
    if not (~touched | (balanced & two & plain)).all():
        raise UnsupportedOperatorError(
            f"{network.name}: behind a softmax only rows of the form Y_i <= Y_j can be verified; "
            "state the property over the logits, or remove the softmax from the network"
        )


def queries(prop: Property, device: str | torch.device, dtype: torch.dtype = torch.float64) -> Queries:
    """Stack a property's conjunctions; shorter ones repeat their last row.

    Raises:
        PropertyError: a conjunction without rows (every input would violate).
    """
    pairs = [(region, conjunction) for region in prop.regions for conjunction in region.unsafe]
    if any(len(conjunction.bound) == 0 for _, conjunction in pairs):
        raise PropertyError(
            f"{prop.name}: it asks nothing of the outputs (a conjunction without half-spaces), so that every "
            "input violates it: assert what the outputs must not do"
        )
    height = max(len(conjunction.bound) for _, conjunction in pairs)

    def stacked(name: str) -> Tensor:
        padded = []
        for _, conjunction in pairs:
            rows = getattr(conjunction, name)
            padded.append(rows[np.minimum(np.arange(height), len(rows) - 1)])
        return torch.tensor(np.stack(padded), dtype=dtype, device=device)

    corners = (np.stack([getattr(region, name) for region, _ in pairs]) for name in ("lower", "upper"))
    lower, upper = (torch.tensor(c, dtype=dtype, device=device) for c in corners)
    return Queries(lower, upper, stacked("output"), stacked("input"), stacked("bound"))


def missing_ties(prop: Property) -> Property:
    """The property with strict rows moved by one float32, so that attacks do not stop at ties.

    For searching only: a proof has to treat the closure.
    """
    if not any(conjunction.strict for region in prop.regions for conjunction in region.unsafe):
        return prop
    moved = (replace(r, unsafe=tuple(map(_moved, r.unsafe))) for r in prop.regions)
    return replace(prop, regions=tuple(moved))


def _moved(conjunction: Conjunction) -> Conjunction:
    bound, limits = conjunction.bound.copy(), np.finfo(np.float32)
    rows = sorted(conjunction.strict)
    step = np.maximum(np.abs(bound[rows]) * float(limits.eps), float(limits.smallest_subnormal))
    bound[rows] = np.maximum(bound[rows] - step, np.finfo(np.float64).min)
    return replace(conjunction, bound=bound)


def slack_rows(found: Queries, index: Tensor, points: Tensor, outputs: Tensor) -> Tensor:
    """d - C y - D x for points [b, n] with outputs [b, m] in queries `index` [b]: [b, r]."""
    values = (found.output[index] @ outputs.unsqueeze(2)).squeeze(2)
    values = values + (found.input[index] @ points.unsqueeze(2)).squeeze(2)
    return found.bound[index] - values


def slack(found: Queries, index: Tensor, points: Tensor, outputs: Tensor) -> Tensor:
    """min over rows of d - C y - D x for points [b, n] with outputs [b, m] in queries `index` [b]: [b]."""
    return slack_rows(found, index, points, outputs).amin(dim=1)
