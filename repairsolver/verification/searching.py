"""The two ways to a proof: split the inputs, or solve the exact program of every box."""

from __future__ import annotations

import math
import os
import sys
import time

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.errors import DeviceError
from repairsolver.results import Array, Verdict, VerifyStatus
from repairsolver.verification.attack import Effort, ascend, attack
from repairsolver.verification.exact import Rows, largest_violation
from repairsolver.verification.phase_search import split_phases
from repairsolver.verification.query import Queries
from repairsolver.verification.replay import replayed
from repairsolver.verification.run import Run
from repairsolver.verification.split import InputSplitting, Open, Step

BATCH = 256
# A local ascent starts from the most suspicious centres of a round: so many points, so many steps.
LOCAL_POINTS, LOCAL_STEPS = 8, 10
# Ever harder attacks with fresh samples while the search goes on: after so many boxes each, which, other
# than seconds, are the same in every run.
LADDER = (
    (500, Effort(samples=8192, restarts=64, steps=40)),
    (4_000, Effort(samples=65536, restarts=256, steps=60)),
    (16_000, Effort(samples=131072, restarts=512, steps=80)),
    (64_000, Effort(samples=262144, restarts=1024, steps=100)),
)

MOST_THREADS = 1024


def processors() -> int:
    """How many this process may use, where the system tells (Linux), else how many there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count() -> int:
    """Batches examined at once: the variable REPAIRSOLVER_THREADS, else the processors available.

    Raises:
        DeviceError: the variable is not a whole number from 1.
    """
    asked = os.environ.get("REPAIRSOLVER_THREADS")
    if not asked:
        return processors()
    if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked) <= MOST_THREADS):
        raise DeviceError(
            f"the variable REPAIRSOLVER_THREADS is {asked!r}, expected a whole number from 1 to "
            f"{MOST_THREADS}: correct it, or unset it to use every processor"
        )
    return int(asked)


def split_boxes(run: Run) -> Verdict:
    """Branch and bound on the inputs until everything is proved, a violation is found, or time is up."""
    run.methods.append("input splitting")
    graph = tensor_graph(run.core, torch.float64, run.device)
    memory = run.limits.memory_gb * 1e9
    search = InputSplitting(
        graph, run.queries, batch=BATCH, threads=thread_count(), memory=memory, record=run.record
    )
    hottest, ladder = -math.inf, list(LADDER)
    while not search.done:
        if run.left <= 0:
            return run.verdict(
                VerifyStatus.TIMEOUT, bound=search.best_bound(), volume=1 - search.open_volume()
            )
        steps = search.round()
        run.boxes = search.examined
        hottest = _inspect(run, graph, steps, hottest)
        if not run.found and ladder and search.examined > ladder[0][0]:
            effort = ladder.pop(0)[1]
            run.found += attack(run.network, run.prop, seed=run.seed + len(ladder) + 1, effort=effort)
        if run.found:
            return run.verdict(VerifyStatus.VIOLATED, volume=1 - search.open_volume())
        run.say(
            "split",
            f"{search.examined} boxes examined",
            boxes=search.examined,
            proved=1 - search.open_volume(),
            bound=search.best_bound(),
        )
    left = search.remaining()
    if left is None:
        return _proved(run, search)
    return _solve(run, graph, left, search.open_volume())


def _proved(run: Run, search: InputSplitting) -> Verdict:
    record = search.record
    kept = None if record is None else record.certificate(run.network, run.prop, len(run.queries))
    return run.verdict(VerifyStatus.HOLDS, bound=search.least_proved, volume=1.0, certificate=kept)


def _inspect(run: Run, graph: TensorGraph, steps: list[Step], hottest: float) -> float:
    """Replay violating centres; climb from the most suspicious ones when they are hotter than before."""
    points = torch.cat([step.points for step in steps])
    if not len(points):
        return hottest
    which = torch.cat([step.point_query for step in steps])
    values = torch.cat([step.point_slack for step in steps])
    top = values.argsort(descending=True)[:LOCAL_POINTS]
    _collect(run, points[top], which[top], values[top])
    peak = float(values[top[0]])
    if not run.found and peak > hottest:
        climbed, height = ascend(graph, run.queries, which[top], points[top], LOCAL_STEPS)
        _collect(run, climbed, which[top], height)
    return max(hottest, peak)


def _collect(run: Run, points: Tensor, which: Tensor, values: Tensor) -> None:
    """Replay the points that violate in float64."""
    for index in which[values >= 0].unique().tolist():
        chosen = points[(which == index) & (values >= 0)]
        run.found += replayed(run.network, [(run.regions[index], chosen.detach().cpu().numpy())])


def solve_boxes(run: Run) -> Verdict:
    """Bound the queries' boxes once and solve the exact program of each that this leaves open."""
    run.methods.append("linear bounds")
    graph = tensor_graph(run.core, torch.float64, run.device)
    memory = run.limits.memory_gb * 1e9
    search = InputSplitting(graph, run.queries, batch=1, memory=memory, record=run.record)
    search.examine_roots(time.monotonic() + run.left / 2)
    run.boxes = search.examined
    left = search.remaining()
    if left is None:
        return _proved(run, search)
    run.say("bound", f"{len(left)} of {len(run.queries)} cases left", bound=float(left.bound.min()))
    rest = split_phases(run, graph, left)
    if run.found:
        return run.verdict(VerifyStatus.VIOLATED)
    if rest is None:
        return run.verdict(VerifyStatus.HOLDS, bound=0.0, volume=1.0)
    return _solve(run, graph, rest, len(rest.query.unique()) / len(run.queries))


def _solve(run: Run, graph: TensorGraph, left: Open, volume: float) -> Verdict:
    """Exact programs, box by box, each with its share of the time."""
    run.methods.append("milp")
    undecided: list[float] = []
    for number in range(len(left)):
        if run.left <= 0:
            bounds = [*undecided, float(left.bound[number:].min())]
            return run.verdict(VerifyStatus.TIMEOUT, bound=min(bounds), volume=1 - volume)
        run.say("milp", f"exact program {number + 1} of {len(left)}")
        seconds = min(run.left / (len(left) - number) * 2, run.left, 1e6)
        bound = _solve_one(run, graph, left[slice(number, number + 1)], seconds)
        if run.found:
            return run.verdict(VerifyStatus.VIOLATED, volume=1 - volume)
        undecided += [] if bound is None else [bound]
    if not undecided:
        return run.verdict(VerifyStatus.HOLDS, bound=0.0, volume=1.0)
    status = VerifyStatus.TIMEOUT if run.left <= 0 else VerifyStatus.UNKNOWN
    return run.verdict(status, bound=min(undecided), volume=1 - volume)


def _solve_one(run: Run, graph: TensorGraph, box: Open, seconds: float) -> float | None:
    """None if the box is proved, else the best bound; a violating answer goes to `run.found`."""
    index = int(box.query[0])
    known = {graph_name(graph, run, k): _arrays(low[0], high[0]) for k, (low, high) in box.known.items()}
    rows = _rows(run.queries, index)
    lower, upper = _arrays(box.lower[0], box.upper[0])
    answer = largest_violation(run.core, lower, upper, rows, known, seconds=seconds)
    if answer.failure:
        run.say("milp", f"the solver failed, so the box stays unproved: {answer.failure}")
    if answer.impossible:
        return None
    if answer.point is not None:
        run.found += replayed(run.network, [(run.regions[index], answer.point[None])])
    return max(answer.bound, float(box.bound[0]))


def graph_name(graph: TensorGraph, run: Run, position: int) -> str:
    """The tensor's name at a position of the graph."""
    return run.core.input_name if position == 0 else graph.nodes[position - 1].name


def _rows(found: Queries, index: int) -> Rows:
    return Rows(*(t[index].cpu().numpy() for t in (found.output, found.input, found.bound)))


def _arrays(lower: Tensor, upper: Tensor) -> tuple[Array, Array]:
    return lower.cpu().numpy(), upper.cpu().numpy()
