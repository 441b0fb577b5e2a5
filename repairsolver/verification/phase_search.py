"""The way to a proof for many inputs: optimised slopes, then phases split, box by box."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes
from repairsolver.bounds.slopes import tighten_slopes
from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.verification.attack import Effort, ascend, attack
from repairsolver.verification.frontier import Open, merge
from repairsolver.verification.journal import Journal
from repairsolver.verification.phases import Parts, PhaseSplitting, Suspects
from repairsolver.verification.replay import replayed
from repairsolver.verification.run import Run

# A local ascent starts from the most suspicious points of a round: so many points, so many steps.
LOCAL_POINTS, LOCAL_STEPS = 8, 10
# Many inputs: random samples are useless, gradients from many starts are not. Harder attacks with fresh
# starts after so many seconds each.
LADDER = (
    (0.0, Effort(samples=64, restarts=24, steps=50)),
    (6.0, Effort(samples=256, restarts=64, steps=100)),
    (25.0, Effort(samples=256, restarts=256, steps=100)),
)


def split_phases(run: Run, graph: TensorGraph, left: Open) -> Open | None:
    """Prove open boxes by splitting phases; what remains, with the bounds of its neurons.

    Violations go to `run.found` and end the search. When time is up, whole boxes come back with the
    best bound proved on each; otherwise only parts that exact programs are better at.
    """
    run.methods.append("phase splitting")
    fast = tensor_graph(run.core, torch.float32, run.device)
    _, group = torch.unique(torch.cat([left.lower, left.upper], dim=1), dim=0, return_inverse=True)
    boxes = [left[(group == number).nonzero()[:, 0]] for number in group.unique().tolist()]
    journal = Journal(run, boxes)
    open_parts: list[Open] = []
    for number, rest in enumerate(boxes):
        until = time.monotonic() + run.left / (len(boxes) - number)
        open_parts += _split_box(run, graph, fast, rest, until, journal)
        if run.found:
            return left
    return merge(open_parts) if open_parts else None


def _split_box(
    run: Run, graph: TensorGraph, fast: TensorGraph, rest: Open, until: float, journal: Journal
) -> list[Open]:
    """All queries of one box."""
    memory, saved = run.limits.memory_gb * 1e9, journal.saved(rest)
    known = {k: (low[:1], high[:1]) for k, (low, high) in rest.known.items()}
    boxes = Boxes(rest.lower[:1], rest.upper[:1], known if saved is None else dict(saved.known))
    if saved is None:
        quarter = time.monotonic() + (until - time.monotonic()) / 4
        slopes = tighten_slopes(graph, fast, boxes, memory=memory / 8, until=quarter)
    else:
        slopes = saved.slopes
    search = PhaseSplitting(graph, fast, boxes, run.queries, rest.query, slopes=slopes, memory=memory)
    before, hottest, ladder = run.boxes, -math.inf, list(LADDER)
    suspects = search.start(until) if saved is None else journal.restore(search, saved)
    while True:
        hottest = _inspect(run, graph, suspects, hottest, until)
        run.boxes = before + search.examined
        journal.note(search, rest, slopes)
        if search.done or run.found or time.monotonic() > until:
            break
        if ladder and run.elapsed > ladder[0][0]:
            _attack(run, ladder.pop(0)[1], len(ladder))
            if run.found or time.monotonic() > until:
                break
        suspects = search.round(until)
    return _remainder(search, boxes, rest)


def _attack(run: Run, effort: Effort, number: int) -> None:
    seconds = None if math.isinf(run.left) else max(0.0, run.left / 6)
    run.found += attack(
        run.network, run.prop, seed=run.seed + 1 + number, seconds=seconds, effort=effort, device=run.device
    )


def _remainder(search: PhaseSplitting, boxes: Boxes, rest: Open) -> list[Open]:
    """What is left of one box: leaves for exact programs, or whole boxes where the search was stopped."""
    parts = search.remaining()
    if parts is None:
        return []
    if search.done:
        return [_leaf(search, parts[slice(i, i + 1)], rest) for i in range(len(parts))]
    found = []
    for row, query in enumerate(rest.query.tolist()):
        bounds = parts.bound[parts.query == query]
        if len(bounds):
            least = bounds.amin().clamp(max=0).reshape(1)
            found.append(replace(rest[slice(row, row + 1)], known=dict(boxes.known), bound=least))
    return found


def _leaf(search: PhaseSplitting, part: Parts, rest: Open) -> Open:
    """A part as an open box: the bounds of its neurons say on which sides of the kinks it lies."""
    known = search.exact.part(part.lower, part.upper).known
    row = int((rest.query == part.query).nonzero()[0, 0])
    return replace(rest[slice(row, row + 1)], known=known, bound=part.bound.clamp(max=0))


def _inspect(run: Run, graph: TensorGraph, suspects: Suspects, hottest: float, until: float) -> float:
    """Replay suspicious points that violate, and climb from them when they are hotter than before."""
    if not len(suspects.points):
        return hottest
    top = suspects.slack.argsort(descending=True)[:LOCAL_POINTS]
    points, which, values = suspects.points[top], suspects.query[top], suspects.slack[top]
    peak = float(values[0])
    _collect(run, points, which, values)
    if not run.found and peak > hottest and time.monotonic() < until:
        climbed, height = ascend(graph, run.queries, which, points, LOCAL_STEPS, until=until)
        _collect(run, climbed, which, height)
    return max(hottest, peak)


def _collect(run: Run, points: Tensor, which: Tensor, values: Tensor) -> None:
    """Replay the points that violate in float64."""
    for index in which[values >= 0].unique().tolist():
        chosen = points[(which == index) & (values >= 0)]
        run.found += replayed(run.network, [(run.regions[index], chosen.detach().cpu().numpy())])
