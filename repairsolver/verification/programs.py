"""Exact programs for what splitting leaves, box by box, each with its share of the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Thread
from typing import TypeVar

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph
from repairsolver.results import Array, OpenBoxes, Verdict, VerifyStatus, counted
from repairsolver.verification.exact import Rows, largest_violation
from repairsolver.verification.frontier import Open, listed
from repairsolver.verification.input_tree import KIND
from repairsolver.verification.query import Queries
from repairsolver.verification.replay import replayed
from repairsolver.verification.resuming import UNCHECKED
from repairsolver.verification.run import Run
from repairsolver.verification.ties import reason, samples, suspects

Result = TypeVar("Result")

# Seconds beyond a solver's time limit after which its answer is not waited for.
GRACE = 0.5


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


def solve_programs(run: Run, graph: TensorGraph, left: Open, volume: float) -> Verdict:
    """Exact programs, box by box, each with its share of the time."""
    each = [left[slice(number, number + 1)] for number in range(len(left))]
    tied = _given_up(run, graph, left)
    if run.found:
        return run.verdict(VerifyStatus.VIOLATED)
    undecided = [box for box, tie in zip(each, tied, strict=True) if tie]
    waiting = [box for box, tie in zip(each, tied, strict=True) if not tie]
    if run.left > 0 and waiting:
        run.methods.append("milp")
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
        return run.verdict(VerifyStatus.TIMEOUT if waiting else VerifyStatus.UNKNOWN)
    return _solved(run)


def _given_up(run: Run, graph: TensorGraph, left: Open) -> list[bool]:
    """Which boxes are tied, so that no program decides them; runs may still violate there, by rounding."""
    points, _, tied = suspects(graph, run.queries, left)
    chosen = tied.nonzero()[:, 0]
    if len(chosen):
        run.notes.append(reason(left[chosen], points[chosen]))
        tries = samples(left[chosen], run.seed)
        run.found += replayed(run.network, [(run.regions[query], block) for query, block in tries])
    return [bool(flag) for flag in tied.tolist()]


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
    try:
        answer = interruptible(
            lambda: largest_violation(run.core, lower, upper, rows, known, seconds=seconds), seconds + GRACE
        )
    except TimeoutError:
        run.say("milp", "stating the program took all its time, so the box stays unproved")
        return float(box.bound[0])
    if answer.failure:
        run.say("milp", f"the solver failed, so the box stays unproved: {answer.failure}")
    if answer.impossible:
        return None
    if answer.point is not None:
        run.found += replayed(run.network, [(run.regions[index], answer.point[None])])
    return max(answer.bound, float(box.bound[0]))


def interruptible(work: Callable[[], Result], seconds: float) -> Result:
    """Do work in a thread of its own, which Ctrl-C and the end of the time leave behind.

    That thread ends with the solver's time limit, or with the process.

    Raises:
        TimeoutError: it takes longer.
    """
    done: Future[Result] = Future()

    def compute() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=compute, daemon=True).start()
    return done.result(timeout=seconds)


def graph_name(graph: TensorGraph, run: Run, position: int) -> str:
    """The tensor's name at a position of the graph."""
    return run.core.input_name if position == 0 else graph.nodes[position - 1].name


def _rows(found: Queries, index: int) -> Rows:
    return Rows(*(t[index].cpu().numpy() for t in (found.output, found.input, found.bound)))


def _arrays(lower: Tensor, upper: Tensor) -> tuple[Array, Array]:
    return lower.cpu().numpy(), upper.cpu().numpy()
