"""Verification: attack, then linear bounds with input splitting, then exact programs for what remains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from repairsolver.bounds.allocation import hold_freed_memory
from repairsolver.certificate.cases import Case, cases
from repairsolver.certificate.executions import widened
from repairsolver.errors import TreeError
from repairsolver.executors import Executor
from repairsolver.network.float32 import require_float32
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.property import check_fits
from repairsolver.property.specification import Property
from repairsolver.results import Arithmetic, Interrupted, Limits, OnEvent, Verdict, VerifyStatus, counted
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.cases import verify_cases
from repairsolver.verification.kept import Kept
from repairsolver.verification.paused import Paused
from repairsolver.verification.query import queries, strip_softmax
from repairsolver.verification.record import Record
from repairsolver.verification.run import Run
from repairsolver.verification.searching import solve_boxes, split_boxes
from repairsolver.verification.tree import Tree

# Enough for most violations; the search repeats it, harder, while it goes on.
FIRST_EFFORT = Effort(samples=2048, restarts=16, steps=12, rounds=1)

# Beyond this many varying inputs, halving one of them hardly tightens anything.
MOST_SPLIT_INPUTS = 16


TIES = "A tie in a strict row (< or >) is no violation, but where ties are reached this cannot be proved."
"""Of properties with such rows, where nothing was decided."""


def verify_property(
    network: Network,
    prop: Property,
    *,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
    effort: Effort | None = None,
    record: bool = False,
    arithmetic: Arithmetic = "real",
    tree: str | Path | None = None,
    paused: Paused | None = None,
    kept: Kept | None = None,
    executor: Executor | None = None,
) -> Verdict:
    """Decide whether a network satisfies a property on all its regions.

    1. Attack: samples and projected gradients; every hit is replayed on onnxruntime.
    2. Few varying inputs: branch and bound on the inputs with backward linear bounds (float64, over real
       arithmetic on the stored weights, with margins above rounding).
    3. Many varying inputs: slopes of the relaxations optimised, then branch and bound on the phases of
       activations with multipliers for the split constraints.
    4. What is left of either (boxes too narrow, hardly a phase open): the exact program (HiGHS).

    A network with gates is decided case by case, see `repairsolver.certificate.cases`.

    Args:
        limits: wall-clock seconds and the memory of batched bounds.
        device: where bounds are computed, as torch names it.
        effort: of the attack.
        arithmetic: what is proved; for float32, step 2 and, with many inputs, one round of linear bounds.
        record: keep the proof, as the verdict's certificate (none if exact programs took part).
        tree: a file to go on from and to keep what is open and closed in; it implies `record`.
        paused: splitting of inputs that ran out of time is kept there, and goes on when asked the same.
        kept: the proof tree of the question before, which this one replaces; for splitting of inputs.
        executor: whose workers share a search that splits inputs; it is closed at the end.

    Returns:
        holds (proved), violated (with replayed counterexamples, the worst first), unknown (nothing more
        to try; `best_bound` says how far the proof came) or timeout.

    Raises:
        PropertyError: the property does not fit the network, or products in a row may underflow.
        UnsupportedOperatorError: the network or property cannot be bounded, or not for float32.
        NetworkError: its numbers may overflow or underflow on the regions, or are too large for float32.
        TreeError: the tree is damaged, or of another network, property or version.
        WorkerError: workers were lost, or failed, too often.
        Interrupted: Ctrl-C; its result is the verdict so far, and the tree is written.
    """
    check_fits(prop, network)
    limits = limits or Limits()
    if arithmetic == "float32":
        require_float32(network)
    core, prop = strip_softmax(network, prop)
    if not any(region.unsafe for region in prop.regions):
        proof = Record(0).certificate(network, prop, 0) if record else None
        methods = ("vacuous: no region",)
        return Verdict(
            VerifyStatus.HOLDS,
            proved_volume=1.0,
            methods=methods,
            seed=seed,
            arithmetic=arithmetic,
            certificate=proof and replace(proof, arithmetic=arithmetic),
        )
    if gates_of(network):
        if tree is not None:
            raise TreeError(
                f"{network.name}: the search of a network with gates cannot be kept: leave it out"
            )
        parts = cases(network, prop if arithmetic == "real" else widened(prop))

        def decide(case: Case, own: Limits) -> Verdict:
            return verify_property(
                case.network, case.prop, limits=own, seed=seed, on_event=on_event, device=device,
                effort=effort, record=record, arithmetic=arithmetic, executor=executor,
            )  # fmt: skip

        return verify_cases(network, prop, parts, decide, limits)
    regions = [region for region in prop.regions for _ in region.unsafe]
    asked = queries(prop if arithmetic == "real" else widened(prop), device)
    run = Run(network, core, prop, limits, seed, on_event, device, asked, regions, arithmetic=arithmetic)
    run.record, run.certified = record or any(x is not None for x in (tree, kept, executor)), record
    run.tree = None if tree is None else Tree(tree, network, prop, arithmetic)
    run.paused, run.kept, run.executor = paused, kept, executor
    with single_threaded(), torch.inference_mode(False):
        try:
            verdict = _decide(run, effort)
        except KeyboardInterrupt:
            raise Interrupted(_stopped(run)) from None
    if verdict.status in (VerifyStatus.TIMEOUT, VerifyStatus.UNKNOWN):
        run.close()
        run.notes += [TIES] * any(c.strict for region in prop.regions for c in region.unsafe)
    return replace(verdict, notes=tuple(run.notes))


def _stopped(run: Run) -> Verdict:
    """What Ctrl-C leaves: a counterexample that was found already is the answer."""
    if run.found:
        return run.verdict(VerifyStatus.VIOLATED)
    run.close()
    return run.verdict(VerifyStatus.TIMEOUT, interrupted=True)


def _decide(run: Run, effort: Effort | None) -> Verdict:
    found = _attack(run, effort)
    return _prove(run) if found is None else found


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread inside each operation: small batches lose more to synchronising than they gain."""
    hold_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _attack(run: Run, effort: Effort | None) -> Verdict | None:
    run.methods.append("attack")
    run.say("attack", "sampling and projected gradient ascent")
    seconds = None if math.isinf(run.left) else run.left / 4
    effort = effort or FIRST_EFFORT
    run.found += attack(
        run.network, run.prop, seed=run.seed, seconds=seconds, effort=effort, device=run.device
    )
    if not run.found:
        return None
    worst = max(c.violation for c in run.found)
    run.say("attack", f"{counted(len(run.found), 'counterexample')}, replayed", violation=worst)
    return run.verdict(VerifyStatus.VIOLATED)


def _prove(run: Run) -> Verdict:
    varying = int((run.queries.upper > run.queries.lower).sum(dim=1).max())
    if varying <= MOST_SPLIT_INPUTS:
        return split_boxes(run)
    return solve_boxes(run)
