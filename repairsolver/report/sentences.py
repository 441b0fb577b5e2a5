"""Results in words: what is guaranteed, by what, and what is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, assert_never

from repairsolver.metrics import Fidelity, Share
from repairsolver.repairing.gate.edit import Gates
from repairsolver.report.words import SAME
from repairsolver.results import COVERED, Counterexample, RepairStatus, Verdict, VerifyStatus, counted

if TYPE_CHECKING:
    from repairsolver.repairing.result import Repair
    from repairsolver.sampling.splitting import RareEvent
    from repairsolver.sampling.statement import Statement
    from repairsolver.verification.falsification import Falsification

SHOWN = 5
"""Changed numbers that are printed, largest change first."""


def assignment(found: Counterexample) -> str:
    """A counterexample as VNN-COMP writes it: ((X_0 0.5) ... (Y_0 1.0) ...), exact decimals."""
    values = [f"(X_{i} {float(v)!r})" for i, v in enumerate(found.input)]
    values += [f"(Y_{i} {float(v)!r})" for i, v in enumerate(found.output)]
    return "(" + "\n ".join(values) + ")"


def explain_verdict(verdict: Verdict) -> str:
    """What a verdict means and rests on, in a few sentences."""
    return " ".join([*_stopped(verdict), _answer(verdict), *verdict.notes])


def _stopped(verdict: Verdict) -> Iterator[str]:
    if verdict.interrupted:
        yield "Interrupted before it was decided."


def _answer(verdict: Verdict) -> str:
    tried = ", ".join(verdict.methods) or "nothing"
    boxes = counted(verdict.boxes, "box", "boxes")
    match verdict.status:
        case VerifyStatus.VIOLATED:
            return (
                f"The property is violated: onnxruntime, run on the network's own file, gives the outputs "
                f"above for the inputs above{_by(verdict.counterexample)}. Counterexamples found and "
                f"replayed: {len(verdict.counterexamples)}, in {verdict.seconds:.2f} s."
            )
        case VerifyStatus.HOLDS:
            return (
                f"The property holds for every input of its regions: proved by {proof(verdict)} on "
                f"{boxes} in {verdict.seconds:.2f} s, {COVERED[verdict.arithmetic]}"
            )
        case VerifyStatus.UNKNOWN | VerifyStatus.TIMEOUT:
            return (
                f"Neither proved nor refuted in {verdict.seconds:.2f} s: tried {tried} on {boxes}; "
                f"proved on {verdict.proved_volume:.2%} of the input volume{_open(verdict)}{_bound(verdict)}."
            )
        case _ as unreachable:
            assert_never(unreachable)


def explain_estimate(found: RareEvent) -> str:
    """The word, and what was estimated."""
    lines = ["estimated", *found.sentences()]
    if found.counterexamples:
        lines += ["The worst violation that was met:", assignment(found.counterexamples[0])]
    return "\n".join(lines)


def explain_statement(found: Statement) -> str:
    """What is stated by sampling, and what it rests on; then the worst violation that was seen."""
    lines = list(found.sentences())
    if found.counterexamples:
        worst = found.counterexamples[0]
        lines += [f"The worst sample violates by {worst.violation:.4g}:", assignment(worst)]
    return "\n".join(lines)


def explain_falsification(found: Falsification, *, worst: bool = False) -> str:
    """What was found, and what is proved about it; that nothing is, where the worst was asked for."""
    if found.counterexample is None:
        return (
            f"No violation was found in {found.seconds:.2f} s, which proves nothing; `repairsolver verify` "
            "tries to prove that there is none."
        )
    number = counted(len(found.counterexamples), "input")
    fewer = "" if len(found.counterexamples) >= found.asked else f" (asked for {found.asked})"
    each = "each " if len(found.counterexamples) > 1 else ""
    return (
        f"The property is violated: {number}{fewer}, {each}replayed by onnxruntime on the network's own "
        f"file{_by(found.counterexample)}, in {found.seconds:.2f} s.{_proved_bound(found, worst)}"
    )


def _proved_bound(found: Falsification, worst: bool) -> str:
    if found.upper_bound is None:
        return " No bound on the violation was proved: a worse input may exist." if worst else ""
    bound = (
        f" Proved: no input violates by more than {found.upper_bound:.6g}, in real arithmetic on the weights "
        f"as stored; the gap is {found.gap:.3g}"
    )
    if found.proved_worst:
        return f"{bound}, so the first input is the worst up to {found.tolerance:.2g}."
    return f"{bound}: a worse input may exist."


def proof(verdict: Verdict) -> str:
    """The methods that a proof may rest on; an attack only ever refutes."""
    return ", ".join(method for method in verdict.methods if method != "attack") or "the empty property"


def _by(found: Counterexample | None) -> str:
    """By how much, where there is one; equality violates by 0, not by -0."""
    return "" if found is None else f", by {found.violation + 0.0:.4g} in the weakest constraint"


def _open(verdict: Verdict) -> str:
    if verdict.open_boxes is None:
        return ""
    return f"; {counted(len(verdict.open_boxes), 'box', 'boxes')} left"


def _bound(verdict: Verdict) -> str:
    if verdict.best_bound is None or verdict.best_bound == math.inf:
        return ""
    return f"; best proved bound {verdict.best_bound:.4g} (a positive one proves the property)"


def explain_repair(repair: Repair) -> str:
    """What a repair changed, what is proved about it and what it kept, one sentence per line."""
    return "\n".join(_repair_lines(repair))


def _repair_lines(repair: Repair) -> Iterator[str]:
    spent = f"{counted(repair.rounds, 'round')}, {repair.seconds:.2f} s"
    spent += f", solver {repair.solver}" if repair.solver else ""
    match repair.status:
        case RepairStatus.REPAIRED if repair.cost == 0:
            yield f"The network has the property already; nothing was changed; {spent}."
            if repair.verdict is not None:
                yield explain_verdict(repair.verdict)
        case RepairStatus.REPAIRED:
            yield f"The repaired network has the property; {_change(repair)}; {spent}."
            if repair.edit is not None:
                yield from (f"  {line}" for line in repair.edit.describe(SHOWN).splitlines())
            if repair.verdict is not None:
                yield explain_verdict(repair.verdict)
        case RepairStatus.PAC if repair.edit is not None and not repair.edit.count:
            yield (
                "Not proved, but samples accept the network as it is, so that nothing was changed; "
                f"{spent}. `repairsolver falsify` looks harder for violations."
            )
            if repair.statement is not None:
                yield from repair.statement.sentences()
        case RepairStatus.PAC:
            where = "" if repair.statement is None else f" {repair.statement.where}"
            yield f"Not proved, but shown by samples{where}; {_change(repair)}; {spent}."
            if repair.statement is not None:
                yield from repair.statement.sentences()
            if repair.edit is not None:
                yield from (f"  {line}" for line in repair.edit.describe(SHOWN).splitlines())
        case RepairStatus.INFEASIBLE:
            yield f"There is no such repair: {repair.message.rstrip('.')} ({spent})."
            if repair.core is not None:
                yield from repair.core.sentences()[1:]
            yield from _way_out(repair)
        case RepairStatus.UNKNOWN | RepairStatus.TIMEOUT:
            yield f"No repair was proved: {repair.message} ({spent})."
            if repair.empirical and (repair.edit is None or repair.edit.count):
                yield f"Repaired from examples, NOT proved: {_change(repair)}."
                if repair.verdict is not None and repair.verdict.counterexample is None:
                    yield explain_verdict(repair.verdict)
        case _ as unreachable:
            assert_never(unreachable)
    yield from repair.remarks
    if repair.fidelity is not None:
        yield from fidelity_lines(repair.fidelity)


def _way_out(repair: Repair) -> Iterator[str]:
    """What to try instead; other layers do not help where all demands are at one input."""
    if repair.norm == "gates":
        return
    demands = () if repair.core is None else repair.core.demands
    apart = len({demand.input.tobytes() for demand in demands}) != 1
    given = any(demand.source != "property" for demand in demands)
    ways = ["another layer (--layers auto, or all)", "all layers, learnt (--method imitation --prove)"]
    ways = ways if apart else []
    ways += ["a price for points to keep (--keep-soft)"] if given else []
    ways += ["leaving contradictory points out (--drop-contradictory)"] if given else []
    ways += ["correcting the outputs at run time (--method gate)"] if apart and not given else []
    if ways:
        yield f"What may help: {', '.join(ways)}."


def _change(repair: Repair) -> str:
    if repair.edit is None:
        return "multiplications by constants were added to its graph"
    entries = repair.edit.count
    if isinstance(repair.edit, Gates):
        gates, boxes = counted(len(repair.edit.gates), "gate"), counted(repair.edit.boxes, "box", "boxes")
        return f"{gates} in {boxes}, {counted(entries, 'change')} of neurons or scores: {repair.message}"
    least = f"no repair of the same layer has less than {repair.lower_bound:.6g}"
    if repair.lower_bound <= 0:
        least = "it is not proved minimal, and no lower bound is known"
    if repair.unbroken is not None:
        least += f"; a change of {repair.unbroken:.6g} has no known counterexample, only its proof is missing"
    return f"{counted(entries, 'number')} changed, {_measure(repair)} is {repair.cost or 0.0:.6g}; {least}"


def _measure(repair: Repair) -> str:
    """What the cost is of; with the norm beside it where that is not what was minimised."""
    if not repair.norm.startswith("behaviour"):
        return _priced(repair) or f"the {repair.norm} norm of the change"
    norm = "l2" if repair.norm.endswith("l2") else "l1"
    size = 0.0 if repair.edit is None or isinstance(repair.edit, Gates) else repair.edit.norm(norm)
    what = "root mean square change of scores" if norm == "l2" else "mean change of margins to the decision"
    return f"the {norm} norm of the change is {size:.6g}, the {what}"


def _priced(repair: Repair) -> str:
    """Where the cost is more than a norm; else nothing."""
    if repair.size is None or math.isclose(repair.size, repair.cost or 0.0, rel_tol=1e-6):
        return ""
    size = f"the {repair.norm} norm of the change is {repair.size:.6g}"
    return f"{size}, with the price of lost points or factors it"


def fidelity_lines(kept: Fidelity) -> Iterator[str]:
    """What a repair kept, one sentence per line."""
    yield from _agreement_lines(kept, "Same decision" if kept.other is None else SAME[kept.decision])
    if kept.other is not None:
        yield from _agreement_lines(kept.other, SAME[kept.other.decision])
    yield (
        f"Largest output difference on random inputs of {kept.domain}: mean {kept.mean_difference:.4g}, "
        f"maximum {kept.max_difference:.4g}."
    )
    for name, value in (
        ("Points to repair that are right now", kept.efficacy),
        ("Unseen points that are right now", kept.generalisation),
        ("Points to keep that were right and are wrong now", kept.drawdown),
    ):
        if value is not None:
            yield f"{name}: {value.hits} of {value.total}."


def _agreement_lines(kept: Fidelity, same: str) -> Iterator[str]:
    if kept.agreement is not None:
        yield f"{same} on {share(kept.agreement)} random inputs of {kept.domain}."
    if kept.region_agreement is not None and kept.region_agreement is not kept.agreement:
        yield f"{same} on {share(kept.region_agreement)} random inputs of the property's regions."


def share(value: Share) -> str:
    """`99.98 % (95 % confidence: 99.97 % to 99.99 %) of 100000`."""
    low, high = value.interval
    return f"{value.value:.3%} (95 % confidence: {low:.3%} to {high:.3%}) of {value.total}"
