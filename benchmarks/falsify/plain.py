r"""What is compared against: random sampling, then projected gradient ascent on the violation, no more.

The violation of a conjunction at x is $\min_r d_r - C_r f(x) - D_r x$; ascent follows the gradient of
its smallest row, with sign steps scaled to the box. Everything runs in float32 on the network's own
weights; what it finds counts only after the replay on onnxruntime.

Source: Madry et al. 2018 (projected gradient descent), with restarts from the most suspicious samples.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample
from repairsolver.verification.query import Queries, queries, slack, strip_softmax
from repairsolver.verification.replay import replayed

# Queries attacked in one batch.
TOGETHER = 16
# Entries of all samples together; with many inputs, samples are useless and gradients are not.
MOST_ENTRIES, MANY_INPUTS = 2**22, 64


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to look: uniform samples and restarts for each query, gradient steps, keep how many."""

    samples: int = 8192
    restarts: int = 64
    steps: int = 40
    keep: int = 32


def attack(
    network: Network,
    prop: Property,
    *,
    seed: int = 0,
    seconds: float | None = None,
    effort: Effort | None = None,
    worst: bool = False,
    device: str = "cpu",
) -> tuple[Counterexample, ...]:
    """Search for inputs that violate a property.

    Args:
        seconds: stop after this time, with what was found.
        worst: go on after the first violation, through every query and all steps.

    Returns:
        Counterexamples replayed by onnxruntime, worst first; empty if none was
        found (which proves nothing).
    """
    core, prop = strip_softmax(network, prop)
    if not any(region.unsafe for region in prop.regions):
        return ()
    graph = tensor_graph(core, torch.float32, device)
    found = queries(prop, device, torch.float32)
    regions = [region for region in prop.regions for _ in region.unsafe]
    generator = torch.Generator(device).manual_seed(seed)
    effort = effort or Effort()
    hits: list[Counterexample] = []
    started = time.monotonic()
    for first in range(0, len(found), TOGETHER):
        group = torch.arange(first, min(first + TOGETHER, len(found)), device=device)
        until = math.inf if seconds is None else started + seconds
        points, which = _search(graph, found, group, effort, generator, patient=worst, until=until)
        for index in group.tolist():
            block = points[which == index].double().cpu().numpy()
            hits += replayed(network, [(regions[index], block)])
        late = seconds is not None and time.monotonic() - started > seconds
        if late or (hits and not worst):
            break
    return tuple(sorted(hits, key=lambda c: -c.violation))


def _search(
    graph: TensorGraph,
    found: Queries,
    group: Tensor,
    effort: Effort,
    generator: torch.Generator,
    *,
    patient: bool,
    until: float,
) -> tuple[Tensor, Tensor]:
    """Suspicious points of a group of queries, [b, n], and which query each belongs to, [b]."""
    lower, upper = found.lower[group], found.upper[group]
    entries = len(group) * lower.shape[1] * (16 if lower.shape[1] > MANY_INPUTS else 1)
    affordable = max(effort.restarts, MOST_ENTRIES // entries)
    shape = (len(group), min(effort.samples, affordable), lower.shape[1])
    uniform = _samples(shape, generator, lower.dtype)
    points = lower.unsqueeze(1) + (upper - lower).unsqueeze(1) * uniform
    which = group.repeat_interleave(shape[1])
    flat = points.flatten(0, 1)
    with torch.no_grad():
        values = slack(found, which, flat, graph.forward(flat)).unflatten(0, shape[:2])
    order = values.argsort(dim=1, descending=True)
    top = order[:, : effort.keep]
    violating = values.gather(1, top) >= 0
    hits, hit_query = (
        _pick(points, top)[violating],
        group.repeat_interleave(top.shape[1])[violating.flatten()],
    )
    if len(hits) and not patient:
        return hits, hit_query
    # Half of the restarts begin where it looks worst, half anywhere.
    half = effort.restarts // 2
    starts = torch.cat([_pick(points, order[:, :half]), points[:, : effort.restarts - half]], dim=1)
    start_query = group.repeat_interleave(starts.shape[1])
    flat_starts = starts.flatten(0, 1)
    climbed, _ = ascend(graph, found, start_query, flat_starts, effort.steps, patient=patient, until=until)
    return torch.cat([hits, climbed]), torch.cat([hit_query, start_query])


def _samples(shape: tuple[int, int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Points of the unit cube: uniform, and every second one moved to faces, a third of its inputs each way.

    Violations often sit at the rim of a box, where a uniform sample of five inputs hardly ever is.
    """
    uniform = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
    at_rim = (3 * torch.rand(shape, generator=generator, device=generator.device)).floor() / 2
    at_rim[:, ::2] = 0.5
    return torch.where(at_rim == 0.5, uniform, at_rim.to(dtype))


def _pick(points: Tensor, order: Tensor) -> Tensor:
    return points.gather(1, order.unsqueeze(2).expand(-1, -1, points.shape[2]))


def ascend(
    graph: TensorGraph,
    found: Queries,
    which: Tensor,
    points: Tensor,
    steps: int,
    *,
    patient: bool = False,
    until: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Projected sign-gradient ascent of the violation from points [b, n] of queries `which` [b].

    Returns:
        The best point of each path [b, n] and its violation [b]. Stops at the first violation unless
        `patient`, and when `time.monotonic()` has passed `until`.
    """
    lower, upper = found.lower[which], found.upper[which]
    best, best_value = points, torch.full_like(points[:, 0], -torch.inf)
    # From a quarter of the box, which explores, down to 1/1024, which polishes a promising start.
    reach = torch.logspace(-2, -10, 5, base=2.0, dtype=points.dtype, device=points.device)
    step = (upper - lower) * reach[torch.arange(len(points), device=points.device) % 5].unsqueeze(1)
    for _ in range(steps):
        points = points.detach().requires_grad_(True)
        value = slack(found, which, points, graph.forward(points))
        (gradient,) = torch.autograd.grad(value.sum(), points)
        better = value.detach() > best_value
        best = torch.where(better.unsqueeze(1), points.detach(), best)
        best_value = torch.where(better, value.detach(), best_value)
        if time.monotonic() > until or (not patient and bool((best_value >= 0).any())):
            break
        points = torch.clamp(points.detach() + step * gradient.sign(), lower, upper)
        step = step * 0.9
    return best, best_value
