"""The two ways to a proof: split the inputs, or solve the exact program of every box."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.errors import DeviceError
from repairsolver.results import Array, OpenBoxes, Verdict, VerifyStatus, counted
from repairsolver.verification.attack import Effort, ascend, attack
from repairsolver.verification.exact import Rows, largest_violation
from repairsolver.verification.frontier import Open, State, listed
from repairsolver.verification.input_tree import KIND, to_arrays
from repairsolver.verification.phase_search import split_phases
from repairsolver.verification.query import Queries
from repairsolver.verification.replay import replayed
from repairsolver.verification.resuming import UNCHECKED, confirmed, resume
from repairsolver.verification.run import Run
from repairsolver.verification.split import InputSplitting, Step

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
    resume(run, search)
    ladder = [rung for rung in LADDER if rung[0] >= search.state.examined]
    _report(run, search)
    while not search.done:
        if run.left <= 0:
            return run.verdict(VerifyStatus.TIMEOUT)
        steps = search.round(time.monotonic() + run.left)
        run.boxes = search.state.examined
        hottest = _inspect(run, graph, steps, search.state.hottest)
        search.state = replace(search.state, hottest=hottest)
        if not run.found and ladder and search.state.examined > ladder[0][0]:
            effort = ladder.pop(0)[1]
            seconds = None if math.isinf(run.left) else max(0.0, run.left / 2)
            seed = run.seed + len(ladder) + 1
            run.found += attack(
                run.network, run.prop, seed=seed, seconds=seconds, effort=effort, device=run.device
            )
        _report(run, search)
        if run.found:
            return run.verdict(VerifyStatus.VIOLATED)
    left = search.remaining()
    if left is None:
        return _proved(run, search.state)
    return _solve(run, graph, left, 1 - search.state.proved())


def _report(run: Run, search: InputSplitting) -> None:
    examined = search.state.examined
    run.boxes = examined
    run.keep(KIND, partial(to_arrays, search.state))
    run.reach("split", f"{counted(examined, 'box', 'boxes')} examined", search.state)


def _proved(run: Run, state: State) -> Verdict:
    record = state.record
    kept = None if record is None else record.certificate(run.network, run.prop, len(run.queries))
    if run.resumed and kept is not None:
        return confirmed(run, kept, state.least_proved)
    return run.verdict(VerifyStatus.HOLDS, bound=state.least_proved, certificate=kept)


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
    """Bound the queries' boxes once, split phases where this leaves something open, solve what is left."""
    run.methods.append("linear bounds")
    graph = tensor_graph(run.core, torch.float64, run.device)
    memory = run.limits.memory_gb * 1e9
    search = InputSplitting(graph, run.queries, batch=1, memory=memory, record=run.record)
    search.examine_roots(time.monotonic() + run.left / 2)
    run.boxes = search.state.examined
    run.reach("bound", f"{search.state.count} of {counted(len(run.queries), 'case')} left", search.state)
    left = search.remaining()
    if left is None:
        return _proved(run, search.state)
    rest = split_phases(run, graph, left)
    if run.found:
        return run.verdict(VerifyStatus.VIOLATED)
    if rest is None:
        return run.verdict(VerifyStatus.HOLDS, bound=0.0)
    assert run.reached is not None
    return _solve(run, graph, rest, 1 - run.reached.proved())


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Boxes that are left to exact programs, each taken for the same share of the volume."""

    parts: tuple[Open, ...]
    share: float

    @property
    def count(self) -> int:
        return len(self.parts)

    def proved(self) -> float:
        return 1 - self.share * self.count

    def bound(self) -> float:
        return min((float(part.bound) for part in self.parts), default=math.inf)

    def open_boxes(self) -> OpenBoxes:
        return listed(list(self.parts))


def _solve(run: Run, graph: TensorGraph, left: Open, volume: float) -> Verdict:
    """Exact programs, box by box, each with its share of the time."""
    run.methods.append("milp")
    waiting = [left[slice(number, number + 1)] for number in range(len(left))]
    undecided: list[Open] = []
    while waiting and run.left > 0:
        reached = Left((*undecided, *waiting), volume / len(left))
        run.reach("milp", f"{counted(len(waiting), 'exact program')} to go", reached)
        seconds = min(run.left / len(waiting) * 2, run.left, 1e6)
        bound = _solve_one(run, graph, waiting[0], seconds)
        if run.found:
            return run.verdict(VerifyStatus.VIOLATED)
        tried = waiting.pop(0)
        if bound is not None:
            undecided.append(replace(tried, bound=torch.full_like(tried.bound, bound)))
    run.reached = Left((*undecided, *waiting), volume / len(left))
    if undecided or waiting:
        return run.verdict(VerifyStatus.TIMEOUT if run.left <= 0 else VerifyStatus.UNKNOWN)
    return _solved(run)


def _solved(run: Run) -> Verdict:
    """All programs are solved; what a tree closed before them, nobody has checked."""
    if run.resumed and run.savable is not None and run.savable.kind == KIND:
        run.notes.append(UNCHECKED)
        return run.verdict(VerifyStatus.UNKNOWN)
    return run.verdict(VerifyStatus.HOLDS, bound=0.0)


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
