"""The two ways to a proof: split the inputs, or solve the exact program of every box."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from repairsolver.bounds.overflow import refuse_overflow
from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.bounds.underflow import refuse_underflow
from repairsolver.errors import DeviceError
from repairsolver.executors import Executor
from repairsolver.results import Verdict, VerifyStatus, counted
from repairsolver.verification.attack import Effort, ascend, attack
from repairsolver.verification.frontier import Open, State
from repairsolver.verification.input_tree import KIND, to_arrays
from repairsolver.verification.keeping import begin, certified, leave, loosen
from repairsolver.verification.paused import question
from repairsolver.verification.phase_search import split_phases
from repairsolver.verification.programs import solve_programs
from repairsolver.verification.replay import replayed
from repairsolver.verification.resuming import confirmed, resume
from repairsolver.verification.run import Run
from repairsolver.verification.shared import Search, SharedSplitting
from repairsolver.verification.shared.packet import Suspects
from repairsolver.verification.split import InputSplitting, Step
from repairsolver.verification.ties import float32_reason, suspects

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
UNSHARED = "Workers share the search where inputs are split; this one was made by one process."
BOXES_ONLY = (
    "Proofs that split activations or solve exact programs do not cover rounding: arithmetic 'real' may "
    "prove what is left"
)


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
    graph = _graph(run)
    memory = run.limits.memory_gb * 1e9
    if run.executor is not None:
        return _shared(run, graph, run.executor, memory)
    room = 0.0 if run.kept is None else min(run.kept.most, memory / 4)
    verdict = None
    while verdict is None:
        search = InputSplitting(
            graph,
            run.queries,
            batch=BATCH,
            threads=thread_count(),
            memory=memory,
            record=run.record,
            keep=room,
        )
        try:
            begin(run, search)
            verdict = _search(run, graph, search)
        finally:
            leave(run, search)
        if verdict is None:
            run.kept, run.reused = None, False
    return verdict


def _graph(run: Run) -> TensorGraph:
    """What is bounded; refused where a run of the file might overflow, or products underflow."""
    graph = tensor_graph(run.core, torch.float64, run.device, run.arithmetic)
    asked = run.queries
    refuse_overflow(graph, asked.lower, asked.upper)
    refuse_underflow(graph, asked.lower, asked.upper, (asked.output, asked.input, asked.bound))
    return graph


def _shared(run: Run, graph: TensorGraph, executor: Executor, memory: float) -> Verdict:
    """The search with its boxes shared out among workers, each with so much memory."""
    search = InputSplitting(graph, run.queries, batch=BATCH, memory=memory, record=True)
    sharing = SharedSplitting(search, executor, run.network, run.prop, run.arithmetic, memory)
    try:
        verdict = _search(run, graph, sharing)
    finally:
        sharing.close()
    run.notes += [sharing.account] * bool(sharing.account)
    assert verdict is not None  # only kept trees can be refused
    return verdict


def _search(run: Run, graph: TensorGraph, search: Search) -> Verdict | None:
    """The verdict; none if a kept tree gives a proof that the checker does not accept."""
    resume(run, search)
    asked = question(run.network, run.prop, run.arithmetic)
    kept = None if run.paused is None else run.paused.take(asked)
    if kept is not None and (kept.record is not None or not run.record):
        search.state = kept
    begun = search.state.examined
    ladder = [rung for rung in LADDER if rung[0] >= search.state.examined]
    _report(run, search)
    while not search.done:
        if run.left <= 0:
            if run.paused is not None:
                run.paused.put(asked, search.state)
            return run.verdict(VerifyStatus.TIMEOUT)
        # The first round of a call always counts, so that calls with little time come forward, too.
        steps = search.round(time.monotonic() + run.left, drop=search.state.examined > begun)
        run.boxes = search.state.examined
        hottest = _inspect(run, graph, steps, search.state.hottest)
        search.state = replace(search.state, hottest=hottest)
        loosen(run, search)
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
    if run.arithmetic != "real":
        return _given_up(run, graph, left)
    return solve_programs(run, graph, left, 1 - search.state.proved())


def _report(run: Run, search: Search) -> None:
    examined = search.state.examined
    run.boxes = examined
    run.keep(KIND, partial(to_arrays, search.state))
    run.reach("split", f"{counted(examined, 'box', 'boxes')} examined", search.state)


def _proved(run: Run, state: State) -> Verdict | None:
    record = state.record
    kept = None if record is None else record.certificate(run.network, run.prop, len(run.queries))
    kept = kept and replace(kept, arithmetic=run.arithmetic)
    if run.resumed and kept is not None:
        return confirmed(run, kept, state.least_proved)
    if run.kept is not None and kept is not None:
        # Slack and kept bounds make a tree that the checker may not accept as it is.
        kept = certified(run, kept) if run.certified else None
        if run.certified and kept is None:
            return None if run.left > 0 else run.verdict(VerifyStatus.TIMEOUT)
    return run.verdict(VerifyStatus.HOLDS, bound=state.least_proved, certificate=kept)


def _given_up(run: Run, graph: TensorGraph, left: Open) -> Verdict:
    """What linear bounds on boxes leave open, nothing else proves for float32 executions."""
    points, measured, _ = suspects(graph, run.queries, left)
    stuck = InputSplitting(graph, run.queries, batch=1).unprovable(left, points, measured)
    chosen = stuck.nonzero()[:, 0]
    run.notes.append(float32_reason(left[chosen], points[chosen]) if len(chosen) else BOXES_ONLY)
    return run.verdict(VerifyStatus.UNKNOWN)


def _inspect(run: Run, graph: TensorGraph, steps: Sequence[Step | Suspects], hottest: float) -> float:
    """Replay violating centres; climb from the most suspicious ones when they are hotter than before."""
    if not sum(len(step.points) for step in steps):
        return hottest
    points = torch.cat([step.points for step in steps])
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
    if run.executor is not None:
        run.notes.append(UNSHARED)
    graph = _graph(run)
    memory = run.limits.memory_gb * 1e9
    search = InputSplitting(graph, run.queries, batch=1, memory=memory, record=run.record)
    search.examine_roots(time.monotonic() + run.left / 2)
    run.boxes = search.state.examined
    run.reach("bound", f"{search.state.count} of {counted(len(run.queries), 'case')} left", search.state)
    left = search.remaining()
    if left is None and (verdict := _proved(run, search.state)) is not None:
        return verdict
    assert left is not None
    if run.arithmetic != "real":
        return _given_up(run, graph, left)
    rest = split_phases(run, graph, left)
    if run.found:
        return run.verdict(VerifyStatus.VIOLATED)
    if rest is None:
        return run.verdict(VerifyStatus.HOLDS, bound=0.0)
    assert run.reached is not None
    return solve_programs(run, graph, rest, 1 - run.reached.proved())
