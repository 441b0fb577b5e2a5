"""From given points to worse ones: projected sign gradients, and moves along the axes."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph
from repairsolver.verification.attack.gradient import slope_at
from repairsolver.verification.query import Queries, slack

# First steps from a quarter of the box, which explores, down to 1/1024, which polishes a promising start;
# each step is so much of the one before, but on long paths the last is not below that share of the first.
REACHES, DECAY, LAST = tuple(2.0**-k for k in (2, 4, 6, 8, 10)), 0.9, 0.05
# The share of a path's steps that follow a random direction of the outputs, where one is given.
DIVERSE_SHARE = 0.2
# Moves along the axes: so many inputs at most, and lengths as shares of the box.
MOST_AXES, LENGTHS = 16, tuple(2.0**-k for k in (1, 3, 5, 8, 12, 16))


def ascend(
    graph: TensorGraph,
    found: Queries,
    which: Tensor,
    points: Tensor,
    steps: int,
    *,
    patient: bool = False,
    until: float = math.inf,
    directions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Projected sign-gradient ascent of the violation from points [b, n] of queries `which` [b].

    Steps shrink from one to the next. Where the gradient is zero, the next one passes saturated activations;
    where that is zero too, the path goes on from a random point of the box.

    Args:
        directions: [b, m]: of the outputs; a path with one other than zero climbs along it first.

    Returns:
        The best point of each path [b, n] and its violation [b]. Stops at the first violation unless
        `patient`, and when `time.monotonic()` has passed `until`.

    Source: Madry et al. 2018 (projected gradient); Tashiro, Song, Ermon 2020, "Diversity can be
    Transferred: Output Diversification for White- and Black-box Attacks", equations 1 and 2 (directions).
    """
    lower, upper = found.lower[which], found.upper[which]
    width = upper - lower
    best, best_value = points, torch.full_like(points[:, 0], -torch.inf)
    reach = points.new_tensor(REACHES)
    step = width * reach[torch.arange(len(points), device=points.device) % len(REACHES)].unsqueeze(1)
    leaking: Tensor | None = None
    generator = torch.Generator(points.device).manual_seed(steps)
    decay = max(DECAY, LAST ** (1 / max(1, steps)))
    first = 0 if directions is None else math.ceil(DIVERSE_SHARE * steps)
    for number in range(steps):
        direction = directions if number < first else None
        slope = slope_at(graph, found, which, points, direction=direction, leaking=leaking)
        better = slope.value > best_value
        best = torch.where(better.unsqueeze(1), points, best)
        best_value = torch.where(better, slope.value, best_value)
        if time.monotonic() > until or (not patient and bool((best_value >= 0).any())):
            break
        flat = ((slope.gradient == 0) | (width == 0)).all(dim=1)
        points = torch.clamp(points + step * slope.gradient.sign(), lower, upper)
        if bool(flat.any()):
            stuck = flat if leaking is None else flat & leaking
            anywhere = lower + width * torch.rand(points.shape, generator=generator, device=points.device)
            points = torch.where((stuck & (leaking is not None)).unsqueeze(1), anywhere, points)
            leaking = flat if leaking is None else flat | leaking
        step = step * decay
    return best, best_value


def axis_moves(
    graph: TensorGraph, found: Queries, which: Tensor, points: Tensor, values: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """The better of points [b, n] (violations [b]) and those reached by moves along single inputs.

    Needs no gradient: it climbs out of flat places and along ridges. Without effect on boxes with more
    than 16 inputs that vary.

    Source: Hooke and Jeeves 1961, "Direct Search" Solution of Numerical and Statistical Problems.
    """
    lower, upper = found.lower[which], found.upper[which]
    axes = ((upper - lower) > 0).any(dim=0).nonzero()[:, 0]
    if not 0 < len(axes) <= MOST_AXES or not len(points):
        return points, values
    unit = torch.zeros(len(axes), points.shape[1], dtype=points.dtype, device=points.device)
    unit[torch.arange(len(axes)), axes] = 1
    lengths = points.new_tensor([sign * length for length in LENGTHS for sign in (1.0, -1.0)])
    moves = (lengths.reshape(-1, 1, 1) * unit).flatten(0, 1)
    for _ in range(rounds):
        trials = points.unsqueeze(1) + moves * (upper - lower).unsqueeze(1)
        trials = torch.clamp(trials, lower.unsqueeze(1), upper.unsqueeze(1))
        flat = trials.flatten(0, 1)
        with torch.no_grad():
            height = slack(found, which.repeat_interleave(len(moves)), flat, graph.forward(flat))
        most, winner = height.unflatten(0, (len(points), -1)).max(dim=1)
        better = most > values
        if not bool(better.any()):
            break
        reached = trials[torch.arange(len(points), device=points.device), winner]
        points = torch.where(better.unsqueeze(1), reached, points)
        values = torch.where(better, most, values)
    return points, values
