"""What is done with one instance, in a process of its own: files in, files and one row of numbers out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from repairsolver.executors.task import Files
from repairsolver.network import Network, load_network
from repairsolver.property import Property, load_points, load_property
from repairsolver.results import Limits, Verdict, VerifyStatus

RESULT, CERTIFICATE, COUNTEREXAMPLE, REPAIRED = (
    "result.json", "certificate.cert", "counterexample.txt", "repaired.onnx",
)  # fmt: skip


def verify_instance(files: Files, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Verify: the row; a counterexample or a certificate, and the whole result, in the folder."""
    from repairsolver.certificate import write_certificate
    from repairsolver.report.history import History
    from repairsolver.report.records import verdict_record
    from repairsolver.report.sentences import assignment, explain_verdict
    from repairsolver.verbs.verifying import verify

    given, history = dict(options["options"]), History()
    net, (prop, *_), prepared = _inputs(files, given)
    started = time.perf_counter()
    verdict = verify(
        net, prop, limits=_limits(options, given), certificate=True, on_event=history, **given
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if verdict.certificate is not None:
        write_certificate(verdict.certificate, folder / CERTIFICATE)
    if verdict.counterexample is not None:
        (folder / COUNTEREXAMPLE).write_text(assignment(verdict.counterexample) + "\n", encoding="utf-8")
    _write(verdict_record(verdict, net, prop), "verify", options, history, explain_verdict(verdict), folder)
    row = {
        "result": verdict.status.word,
        "seconds": seconds,
        "prepare_seconds": prepared,
        "message": " ".join(verdict.notes),
        **_proof(verdict, folder),
    }
    return plain_row(row)


def repair_instance(files: Files, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Repair: the row; the network, its change and its certificates, and the whole result, in the folder."""
    from repairsolver.certificate import write_certificate
    from repairsolver.metrics import fidelity
    from repairsolver.report.files import write_repair
    from repairsolver.report.history import History
    from repairsolver.report.records import repair_record
    from repairsolver.report.sentences import explain_repair
    from repairsolver.verbs.repairs import repair

    given, history = dict(options["options"]), History()
    net, props, prepared = _inputs(files, given)
    points, keep, prefer, unseen = (
        load_points(files[slot][0], net) if slot in files else None
        for slot in ("points", "keep", "prefer", "unseen")
    )
    started = time.perf_counter()
    fix = repair(
        net, props if len(props) > 1 else props[0], limits=_limits(options, given), certificate=True,
        points=points, keep=keep, prefer=prefer, on_event=history, **given,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if unseen is not None and fix.network is not None and fix.fidelity is not None:
        more = fidelity(
            net, fix.network, fix.fidelity.lower, fix.fidelity.upper, decision=fix.fidelity.decision,
            samples=1, seed=fix.seed, prop=props[0], unseen=unseen,
        )  # fmt: skip
        fix = replace(fix, fidelity=replace(fix.fidelity, generalisation=more.generalisation))
    written = [path.name for path in write_repair(fix, folder / REPAIRED)]
    verdicts = fix.verdicts or (() if fix.verdict is None else (fix.verdict,))
    for number, verdict in enumerate(verdicts, start=1):
        if verdict.certificate is not None:
            name = CERTIFICATE if len(verdicts) == 1 else f"certificate.{number}.cert"
            write_certificate(verdict.certificate, folder / name)
            written.append(name)
    record = repair_record(fix, net, *props) | {"files": written}
    _write(record, "repair", options, history, explain_repair(fix), folder)
    kept = fix.fidelity
    shares = ("agreement", "region_agreement", "drawdown", "efficacy", "generalisation")
    row = {
        "result": fix.status.value,
        "seconds": seconds,
        "prepare_seconds": prepared,
        "message": fix.message,
        **({} if fix.verdict is None else _proof(fix.verdict, folder)),
        "proved": fix.proved,
        "measure": fix.norm,
        "cost": fix.cost,
        "lower_bound": fix.lower_bound,
        "gap": fix.gap,
        "changed": None if fix.edit is None else fix.edit.count,
        "rounds": fix.rounds,
        **{n: share.value for n in shares if kept is not None and (share := getattr(kept, n)) is not None},
        "certificate": next((n for n in written if n.endswith(".cert")), ""),
    }
    return plain_row(row)


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON; numbers that it lacks are None."""
    from repairsolver.report.records import plain

    return {name: plain(value) for name, value in row.items()}


def _inputs(files: Files, given: dict[str, Any]) -> tuple[Network, list[Property], float]:
    """The network, the properties, and the seconds that reading took."""
    started = time.perf_counter()
    net = load_network(files["network"][0], normalise=given.pop("normalise", True))
    props = [load_property(path, network=net) for path in files["property"]]
    return net, props, time.perf_counter() - started


def _limits(options: Mapping[str, Any], given: dict[str, Any]) -> Limits:
    return Limits(seconds=options["timeout"], memory_gb=given.pop("memory_gb", options["memory_gb"]))


def _proof(verdict: Verdict, folder: Path) -> dict[str, Any]:
    """What a verdict says in numbers; the margin is of the weakest constraint, below 0 for a violation."""
    margin = verdict.best_bound
    if verdict.counterexample is not None:
        margin = -verdict.counterexample.violation
    return {
        "proved": verdict.status is VerifyStatus.HOLDS,
        "margin": margin,
        "bound": verdict.best_bound,
        "proved_volume": verdict.proved_volume,
        "boxes": verdict.boxes,
        "methods": " + ".join(verdict.methods),
        "certificate": CERTIFICATE if (folder / CERTIFICATE).exists() else "",
    }


def _write(
    record: dict[str, Any],
    kind: str,
    options: Mapping[str, Any],
    history: Any,
    explanation: str,
    folder: Path,
) -> None:
    """The result as `repairsolver report` reads it."""
    from repairsolver.report.records import dump
    from repairsolver.report.subject import with_account

    inputs = options["inputs"]
    told = with_account(
        record, kind=kind, asked={"seconds_allowed": options["timeout"], **options["options"]},
        history=history.rows(), explanation=explanation, network=inputs["network"][0],
        properties=inputs["property"],
    )  # fmt: skip
    (folder / RESULT).write_text(dump(told), encoding="utf-8")
