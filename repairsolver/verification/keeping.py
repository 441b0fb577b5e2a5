"""A search that begins in the tree of the question before, and leaves its own for the next one."""

from __future__ import annotations

import math
import time

import torch

from repairsolver.certificate import check
from repairsolver.results import Certificate
from repairsolver.verification.attack import ascend
from repairsolver.verification.change import change
from repairsolver.verification.kept import first_edit
from repairsolver.verification.reuse import reuse
from repairsolver.verification.run import Run
from repairsolver.verification.shared import Search
from repairsolver.verification.split import InputSplitting

# Points and steps of the climb that estimates how near a violation is.
POINTS, STEPS = 64, 20


def begin(run: Run, search: InputSplitting) -> None:
    """Estimate the distance to a violation, and put the search where the kept tree leaves it."""
    if run.kept is None:
        return
    generator = torch.Generator().manual_seed(run.seed)
    which = torch.arange(len(run.queries)).repeat_interleave(POINTS).to(run.device)
    share = torch.rand(len(which), run.queries.lower.shape[1], generator=generator, dtype=torch.float64)
    lower, upper = run.queries.lower[which], run.queries.upper[which]
    points = lower + share.to(run.device) * (upper - lower)
    _, height = ascend(search.graph, run.queries, which, points, STEPS, patient=True)
    run.nearest = float(height.max())
    loosen(run, search)
    nodes = run.kept.reusable(run.core, run.queries, run.arithmetic)
    before, asked = run.kept.network, run.kept.queries
    if nodes is None or before is None or asked is None:
        return
    edited, known = first_edit(before, run.core), search.state.stack[0].known
    moved = change(before, asked, search.graph, run.queries, edited, known)
    stayed = reuse(search, nodes, edited, moved, time.monotonic() + run.left)
    run.reused = True
    run.notes.append(f"Kept from the question before: {stayed} of {len(nodes)} boxes.")


def loosen(run: Run, search: Search) -> None:
    """Choose the slack of cuts: a share of the distance to the nearest violation found so far."""
    if run.kept is not None:
        nearest = max(run.nearest, search.state.hottest)
        search.slack = run.kept.share * max(0.0, -nearest) if math.isfinite(nearest) else 0.0


def leave(run: Run, search: InputSplitting) -> None:
    """Keep the tree for the next question."""
    if run.kept is not None:
        run.kept.put(run.core, run.queries, run.arithmetic, search.nodes)


def certified(run: Run, certificate: Certificate) -> Certificate | None:
    """The certificate of a kept tree, if the checker accepts it.

    The checker's bounds are those of this question alone. They are hardly ever looser, but may be, as
    tighter bounds of some neurons do not always give tighter ones of others; then it halves some leaves.
    """
    run.say("check", "the whole proof, as part of it was kept from the question before")
    seconds = None if math.isinf(run.left) else max(run.left, 0.0)
    if check(certificate, network=run.network, property=run.prop, seconds=seconds).valid:
        return certificate
    if run.left > 0:
        run.notes.append("Searched anew, as the checker did not accept what was kept.")
    return None
