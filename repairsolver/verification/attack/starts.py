"""Where paths begin: samples of the box, its faces and corners, and what was good before."""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph
from repairsolver.verification.attack.gradient import slope_at
from repairsolver.verification.query import Queries

# Half the width of the cloud around a good point, as a share of the box.
CLOUD = 0.125


def unit_samples(shape: tuple[int, int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Points of the unit cube [q, s, n]: the centre, then uniform ones, points of faces, and corners in turn.

    Of four points two are uniform, one has two thirds of its inputs at their limits, one all of them:
    violations often sit at the rim of a box, where a uniform sample of five inputs hardly ever is.
    """
    device = generator.device
    uniform = torch.rand(shape, generator=generator, device=device, dtype=dtype)
    limits = torch.rand(shape, generator=generator, device=device)
    kind = torch.arange(shape[1], device=device).unsqueeze(1) % 4
    points = torch.where((kind == 1) & (limits < 1 / 3), 0.0, uniform)
    points = torch.where((kind == 1) & (limits > 2 / 3), 1.0, points)
    points = torch.where(kind == 3, limits.round().to(dtype), points)
    points[:, :1] = 0.5
    return points


def anywhere(found: Queries, group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Uniform points of each query's box, [q, count, n]."""
    lower, upper = found.lower[group].unsqueeze(1), found.upper[group].unsqueeze(1)
    shape = (len(group), count, lower.shape[2])
    uniform = torch.rand(shape, generator=generator, device=lower.device, dtype=lower.dtype)
    return lower + (upper - lower) * uniform


def corners(graph: TensorGraph, found: Queries, group: Tensor, points: Tensor) -> Tensor:
    """The corner of the box that the gradient at each point [q, s, n] points to."""
    which, flat = group.repeat_interleave(points.shape[1]), points.flatten(0, 1)
    gradient = slope_at(graph, found, which, flat).gradient
    lower, upper = found.lower[which], found.upper[which]
    corner = torch.where(gradient > 0, upper, torch.where(gradient < 0, lower, flat))
    return corner.reshape(points.shape)


def around(found: Queries, group: Tensor, points: Tensor, generator: torch.Generator) -> Tensor:
    """A random point near each of [q, s, n], clipped into the box."""
    lower, upper = found.lower[group].unsqueeze(1), found.upper[group].unsqueeze(1)
    noise = torch.randn(points.shape, generator=generator, device=points.device, dtype=points.dtype)
    return torch.clamp(points + CLOUD * (upper - lower) * noise, lower, upper)


def of_neighbours(found: Queries, group: Tensor, best: Tensor) -> Tensor:
    """The best points [q, k, n] of the next query with the same box, or the own ones where there is none.

    What nearly violates one disjunct often violates another one across the border between them.
    """
    corner = torch.cat([found.lower[group], found.upper[group]], dim=1)
    _, box = torch.unique(corner, dim=0, return_inverse=True)
    number = torch.arange(len(group), device=box.device)
    # The next one, cyclically, among those of the same box.
    distance = (number.unsqueeze(0) - number.unsqueeze(1) - 1) % len(group)
    distance = torch.where(box.unsqueeze(0) == box.unsqueeze(1), distance, len(group))
    return best[distance.argmin(dim=1)]
