r"""The attack: samples first, then rounds of gradient ascent whose starts come from the sources that pay.

The violation of a conjunction at x is $\min_r d_r - C_r f(x) - D_r x$. Everything runs in float32 on the
network's own weights; what it finds counts only after the replay on onnxruntime.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.certificate.cases import cases
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Array, Counterexample
from repairsolver.verification.attack.ascent import ascend, axis_moves
from repairsolver.verification.attack.effort import Effort
from repairsolver.verification.attack.starts import anywhere, around, corners, of_neighbours, unit_samples
from repairsolver.verification.query import Queries, missing_ties, queries, slack, strip_softmax
from repairsolver.verification.replay import belongs, replayed

# Queries attacked in one batch.
TOGETHER = 16
# Entries of all samples together; with many inputs, samples are useless and gradients are not.
MOST_ENTRIES, MANY_INPUTS = 2**22, 64
# Entries of all tensors of a network for the paths that climb at once.
MOST_CLIMBING = 2**27
# Of each query: points that later rounds start from, and points that do not seem to violate but are replayed.
POOL, DOUBTFUL = 32, 4
# Steps along the axes after each round.
AXIS_ROUNDS = 8
SOURCES = ("best", "diverse", "corner", "neighbour")


@dataclass(slots=True, eq=False)
class Hunt:
    """An attack on a group of queries: the best points so far, and what each source of starts was worth."""

    graph: TensorGraph
    queries: Queries
    group: Tensor
    effort: Effort
    generator: torch.Generator
    patient: bool
    until: float
    points: Tensor
    values: Tensor
    hits: list[Tensor] = field(default_factory=list)
    hit_query: list[Tensor] = field(default_factory=list)
    worth: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 1.0))

    @property
    def over(self) -> bool:
        """Whether the time is up, or a violation was found and one is enough."""
        return time.monotonic() > self.until or (not self.patient and bool((self.values >= 0).any()))

    def learn(self, points: Tensor, values: Tensor) -> None:
        """Keep the violations among points [q, k, n], and the best of all for later rounds."""
        violating = values >= 0
        self.hits.append(points[violating])
        self.hit_query.append(self.group.unsqueeze(1).expand_as(values)[violating])
        points, values = torch.cat([self.points, points], dim=1), torch.cat([self.values, values], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :POOL]
        self.points, self.values = _pick(points, order), values.gather(1, order)

    def suspects(self) -> tuple[Tensor, Tensor]:
        """The violating points [b, n] and their queries [b], and the most doubtful ones."""
        doubtful = self.points[:, :DOUBTFUL]
        which = self.group.repeat_interleave(doubtful.shape[1])
        return torch.cat([*self.hits, doubtful.flatten(0, 1)]), torch.cat([*self.hit_query, which])


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
    if gates_of(network):
        return _by_cases(network, prop, seed, seconds, effort, worst, device)
    core, prop = strip_softmax(network, prop)
    if not any(region.unsafe for region in prop.regions):
        return ()
    graph = tensor_graph(core, torch.float32, device)
    found = queries(missing_ties(prop), device, torch.float32)
    regions = [region for region in prop.regions for _ in region.unsafe]
    generator = torch.Generator(device).manual_seed(seed)
    until = math.inf if seconds is None else time.monotonic() + seconds
    hits: list[Counterexample] = []
    for first in range(0, len(found), TOGETHER):
        group = torch.arange(first, min(first + TOGETHER, len(found)), device=device)
        points, which = _search(graph, found, group, effort or Effort(), generator, worst, until)
        for index in group.tolist():
            block = points[which == index].double().cpu().numpy()
            hits += replayed(network, [(regions[index], block)])
        if time.monotonic() > until or (hits and not worst):
            break
    return tuple(sorted(hits, key=lambda c: -c.violation))


def _by_cases(
    network: Network,
    prop: Property,
    seed: int,
    seconds: float | None,
    effort: Effort | None,
    worst: bool,
    device: str,
) -> tuple[Counterexample, ...]:
    """The attack on a network with gates, case by case, each with its share of the time."""
    hits: list[Counterexample] = []
    until = math.inf if seconds is None else time.monotonic() + seconds
    parts = cases(network, prop)
    for place, case in enumerate(parts):
        left = until - time.monotonic()
        own = None if seconds is None else max(left, 0.0) / (len(parts) - place)
        hits += attack(
            case.network, case.prop, seed=seed, seconds=own, effort=effort, worst=worst, device=device
        )
        if left <= 0 or (hits and not worst):
            break
    return tuple(sorted(hits, key=lambda c: -c.violation))


def _search(
    graph: TensorGraph,
    found: Queries,
    group: Tensor,
    effort: Effort,
    generator: torch.Generator,
    patient: bool,
    until: float,
) -> tuple[Tensor, Tensor]:
    """Suspicious points of a group of queries, [b, n], and which query each belongs to, [b]."""
    points, values = _sample(graph, found, group, effort, generator)
    top = values.argsort(dim=1, descending=True, stable=True)[:, : max(effort.keep, POOL)]
    none = points[:, :0]
    hunt = Hunt(graph, found, group, effort, generator, patient, until, none, none[..., 0])
    hunt.learn(_pick(points, top), values.gather(1, top))
    for _ in range(effort.rounds):
        if hunt.over:
            break
        _round(hunt)
    return hunt.suspects()


def _sample(
    graph: TensorGraph, found: Queries, group: Tensor, effort: Effort, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    lower, upper = found.lower[group], found.upper[group]
    entries = len(group) * lower.shape[1] * (16 if lower.shape[1] > MANY_INPUTS else 1)
    affordable = max(effort.restarts, MOST_ENTRIES // entries)
    shape = (len(group), min(effort.samples, affordable), lower.shape[1])
    points = lower.unsqueeze(1) + (upper - lower).unsqueeze(1) * unit_samples(shape, generator, lower.dtype)
    which, flat = group.repeat_interleave(shape[1]), points.flatten(0, 1)
    with torch.no_grad():
        return points, slack(found, which, flat, graph.forward(flat)).unflatten(0, shape[:2])


def _round(hunt: Hunt) -> None:
    """Climb from as many starts of every source as it is worth, then along the axes from the best."""
    counts = _shares(hunt.worth, hunt.effort.restarts)
    starts = {name: STARTS[name](hunt, count) for name, count in counts.items() if count}
    owner = [name for name, part in starts.items() for _ in range(part.shape[1])]
    points = torch.cat(list(starts.values()), dim=1)
    directions = _directions(hunt, owner)
    climbed, height = _climb(hunt, points, directions)
    winner = height.argmax(dim=1)
    better = height.amax(dim=1) > hunt.values[:, 0]
    for column in winner[better].tolist():
        hunt.worth[owner[column]] += 1.0
    hunt.learn(climbed, height)
    if hunt.over:
        return
    top, peak = hunt.points[:, :DOUBTFUL], hunt.values[:, :DOUBTFUL]
    which = hunt.group.repeat_interleave(top.shape[1])
    moved, value = axis_moves(hunt.graph, hunt.queries, which, top.flatten(0, 1), peak.flatten(), AXIS_ROUNDS)
    hunt.learn(moved.unflatten(0, top.shape[:2]), value.unflatten(0, top.shape[:2]))


def _shares(worth: dict[str, float], restarts: int) -> dict[str, int]:
    """Starts of each source, in proportion to its worth; what rounding leaves goes to the first."""
    total = sum(worth.values())
    counts = {name: int(restarts * value / total) for name, value in worth.items()}
    counts[SOURCES[0]] += restarts - sum(counts.values())
    return counts


def _directions(hunt: Hunt, owner: list[str]) -> Tensor:
    """Random directions of the outputs for the paths of diverse starts, zero for others: [q * s, m]."""
    shape = (len(hunt.group), len(owner), hunt.queries.output.shape[2])
    device = hunt.points.device
    random = 2 * torch.rand(shape, generator=hunt.generator, device=device, dtype=hunt.points.dtype) - 1
    diverse = torch.tensor([name == "diverse" for name in owner], device=device)
    return (random * diverse.unsqueeze(1)).flatten(0, 1)


def _climb(hunt: Hunt, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The best point of every path from [q, s, n] and its violation [q, s], in parts that fit the memory."""
    which, flat = hunt.group.repeat_interleave(points.shape[1]), points.flatten(0, 1)
    size = sum(node.size for node in hunt.graph.nodes) + flat.shape[1]
    reached = []
    for part in torch.arange(len(flat), device=flat.device).split(max(1, MOST_CLIMBING // size)):
        reached.append(
            ascend(
                hunt.graph, hunt.queries, which[part], flat[part], hunt.effort.steps,
                patient=hunt.patient, until=hunt.until, directions=directions[part],
            )
        )  # fmt: skip
    best, value = (torch.cat(parts) for parts in zip(*reached, strict=True))
    return best.unflatten(0, points.shape[:2]), value.unflatten(0, points.shape[:2])


def _best(hunt: Hunt, count: int) -> Tensor:
    """The best points so far, and, where there are fewer, points around them."""
    best = hunt.points[:, :count]
    left = count - best.shape[1]
    if not left:
        return best
    again = torch.arange(left, device=best.device) % best.shape[1]
    return torch.cat([best, around(hunt.queries, hunt.group, best[:, again], hunt.generator)], dim=1)


def _anywhere(hunt: Hunt, count: int) -> Tensor:
    return anywhere(hunt.queries, hunt.group, count, hunt.generator)


def _corner(hunt: Hunt, count: int) -> Tensor:
    return corners(hunt.graph, hunt.queries, hunt.group, _anywhere(hunt, count))


def _neighbour(hunt: Hunt, count: int) -> Tensor:
    best = hunt.points[:, : max(1, min(count, hunt.points.shape[1]))]
    index = torch.arange(count, device=best.device) % best.shape[1]
    near = of_neighbours(hunt.queries, hunt.group, best)[:, index]
    return around(hunt.queries, hunt.group, near, hunt.generator)


STARTS: dict[str, Callable[[Hunt, int], Tensor]] = {
    "best": _best,
    "diverse": _anywhere,
    "corner": _corner,
    "neighbour": _neighbour,
}


def _pick(points: Tensor, order: Tensor) -> Tensor:
    return points.gather(1, order.unsqueeze(2).expand(-1, -1, points.shape[2]))


def climb_from(
    network: Network, prop: Property, points: Array, *, steps: int = 40, device: str = "cpu"
) -> list[Counterexample]:
    """Counterexamples reached from given inputs [b, n] by gradients and moves along the axes.

    Every region that holds an input is climbed in, for each of its conjunctions. The inputs themselves take
    part. Behind a softmax, whose slopes vanish where it saturates, its logits are climbed instead.
    """
    if gates_of(network):
        return [
            found
            for case in cases(network, prop)
            for found in climb_from(case.network, case.prop, points, steps=steps, device=device)
        ]
    core, prop = strip_softmax(network, prop)
    graph = tensor_graph(core, torch.float32, device)
    found = queries(missing_ties(prop), device, torch.float32)
    regions = [region for region in prop.regions for _ in region.unsafe]
    blocks = []
    for index, region in enumerate(regions):
        inside = torch.tensor(
            points[belongs(points, region, network.element)], dtype=torch.float32, device=device
        )
        if not len(inside):
            continue
        which = torch.full((len(inside),), index, device=device)
        climbed, value = ascend(graph, found, which, inside, steps, patient=True)
        climbed, _ = axis_moves(graph, found, which, climbed, value, AXIS_ROUNDS)
        blocks.append((region, torch.cat([inside, climbed]).double().cpu().numpy()))
    return replayed(network, blocks)
