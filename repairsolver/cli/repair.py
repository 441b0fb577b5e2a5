"""`repairsolver repair`: the least change that gives a network a property."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from repairsolver.cli import guaranteeing, imitating
from repairsolver.cli.choosing import chosen_entries, chosen_neurons
from repairsolver.cli.options import (
    CertificateFile,
    Debug,
    Json,
    Memory,
    Normalise,
    Quiet,
    ReportFile,
    Seed,
    Timeout,
)
from repairsolver.cli.running import INTERRUPTED, TIMEOUT, running
from repairsolver.cli.writing import check_report, proof_paths, write_proof, write_report, write_statement

if TYPE_CHECKING:
    from repairsolver import Repair

UNPROVED = " (not proved)"
UNCERTIFIED = " No certificate was written."

CHANGE, POINTS = "What may change, and what is least (delta)", "Points"
GATES = "Method gate"


class Method(StrEnum):
    """How to repair."""

    DELTA = "delta"
    GATE = "gate"
    IMITATION = "imitation"


class Place(StrEnum):
    """What gates change."""

    AUTO = "auto"
    INNER = "inner"
    OUTPUT = "output"


class Parameters(StrEnum):
    """Which numbers of a layer."""

    BOTH = "both"
    WEIGHTS = "weights"
    BIASES = "biases"


class Norm(StrEnum):
    """What is least."""

    L0 = "l0"
    L1 = "l1"
    L2 = "l2"
    LINF = "linf"
    RELATIVE_L1 = "relative-l1"
    RELATIVE_L2 = "relative-l2"
    RELATIVE_LINF = "relative-linf"


class Minimise(StrEnum):
    """What is least."""

    WEIGHTS = "weights"
    BEHAVIOUR = "behaviour"


class Decision(StrEnum):
    """Which output is the chosen one."""

    AUTO = "auto"
    MAX = "max"
    MIN = "min"
    BOTH = "both"


def repair(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROP...", help="Property: VNN-LIB 1.0 or 2.0 (also .gz); of several, all must hold."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT.onnx", help="The repaired network; its change goes beside it."
        ),
    ],
    method: Annotated[
        Method,
        typer.Option(
            help="*delta*: change weights and biases least; *gate*: override at run time, where it is wrong; "
            "*imitation*: learn from inputs that behave well."
        ),
    ] = Method.DELTA,
    layers: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=CHANGE,
            help="Layers that may change: *last* (default; *all* for imitation), *all*, *auto*, or names "
            "with commas.",
        ),
    ] = None,
    parameters: Annotated[
        Parameters, typer.Option(rich_help_panel=CHANGE, help="Which numbers of the layers may change.")
    ] = Parameters.BOTH,
    neurons: Annotated[
        str | None,
        typer.Option(
            metavar="I,J,...",
            rich_help_panel=CHANGE,
            help="Only these neurons (filters) of one layer, counted from 0.",
        ),
    ] = None,
    entries: Annotated[
        str | None,
        typer.Option(
            metavar="W[I,J],...",
            rich_help_panel=CHANGE,
            help="Only these entries of stored tensors, such as W2[3,7],b2[0].",
        ),
    ] = None,
    norm: Annotated[
        Norm,
        typer.Option(
            rich_help_panel=CHANGE,
            metavar="NORM",
            help="Norm of the change that is to be least: l0, l1, l2, linf; or relative-l1, relative-l2, "
            "relative-linf, by the size of each weight.",
        ),
    ] = Norm.L1,
    max_change: Annotated[
        str | None,
        typer.Option(
            metavar="R",
            rich_help_panel=CHANGE,
            help="Largest change of a weight: a number, or a share such as 10%.",
        ),
    ] = None,
    minimise: Annotated[
        Minimise,
        typer.Option(
            rich_help_panel=CHANGE,
            help="*behaviour*: instead of weights, move the outputs least, at --keep or in the regions.",
        ),
    ] = Minimise.WEIGHTS,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            rich_help_panel=CHANGE,
            help="What points must exceed the border by, in units of the outputs.",
        ),
    ] = None,
    gap: Annotated[
        float,
        typer.Option(min=0.0, rich_help_panel=CHANGE, help="Relative distance to the optimum to stop at."),
    ] = 0.01,
    solver: Annotated[
        str, typer.Option(rich_help_panel=CHANGE, help="See *repairsolver solvers*.")
    ] = "highs",
    points: Annotated[
        Path | None, typer.Option(rich_help_panel=POINTS, help="Points to repair: .npz or .csv.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(rich_help_panel=POINTS, help="Points whose decision must stay: .npz or .csv."),
    ] = None,
    keep_soft: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            rich_help_panel=POINTS,
            help="Points of --keep may be lost, at this price for each unit of output.",
        ),
    ] = None,
    prefer: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=POINTS,
            help="Further labelled points that should be right, too, at a price: .npz or .csv.",
        ),
    ] = None,
    prefer_soft: Annotated[
        float,
        typer.Option(
            metavar="W", rich_help_panel=POINTS, help="What each unit of output costs that --prefer lacks."
        ),
    ] = 0.1,
    drop_contradictory: Annotated[
        bool,
        typer.Option(
            "--drop-contradictory",
            rich_help_panel=POINTS,
            help="Leave out given points that contradict others, and say which.",
        ),
    ] = False,
    give_up: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=POINTS,
            help="At most so many regions may be given up for --keep: those that cost most.",
        ),
    ] = 0,
    decision: Annotated[
        Decision,
        typer.Option(
            help="Which output is chosen: largest, smallest, both, or (*auto*) what labels and property tell."
        ),
    ] = Decision.AUTO,
    place: Annotated[
        Place,
        typer.Option(
            rich_help_panel=GATES, help="What gates change: hidden neurons, scores, or what keeps more."
        ),
    ] = Place.AUTO,
    max_gates: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, rich_help_panel=GATES, help="Neurons that one gate may override."),
    ] = None,
    monitor: Annotated[
        bool,
        typer.Option("--monitor", rich_help_panel=GATES, help="Add an output that tells which gates are on."),
    ] = False,
    guarantee: guaranteeing.Guarantee = guaranteeing.Kind.EXACT,
    epsilon: guaranteeing.Epsilon = None,
    eta: guaranteeing.Eta = None,
    min_agreement: guaranteeing.MinAgreement = None,
    variant: imitating.Variant = None,
    optimiser: imitating.Optimiser = None,
    domain: imitating.Domain = None,
    prove: imitating.Prove = False,
    timeout: Timeout = None,
    memory: Memory = 4.0,
    seed: Seed = 0,
    normalise: Normalise = True,
    certificate: CertificateFile = None,
    edit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The change, .json or .npz, instead of OUT.delta.json."),
    ] = None,
    report: ReportFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Change a network as little as possible so that it has a property, proved.

    Prints **repaired**, **infeasible**, **unknown** or **timeout**; with *--guarantee pac* or *auto* also
    **repaired-pac**: what is not proved is shown by samples. The best candidate that was not proved goes to
    OUT.unproved.onnx (of method imitation to OUT, said to be tested only); the exit code of **timeout** is
    124. Ctrl-C gives the best one proved so far, with exit code 130.
    """
    interrupted = False
    with running(quiet=quiet, debug=debug) as on_event:
        import repairsolver as rs
        from repairsolver.report import files, records, sentences, subject
        from repairsolver.report.history import History
        from repairsolver.targets import keep_apart

        check_report(report)
        inputs = (network, *property_, *filter(None, (points, keep, prefer, domain)))
        files.check_output(out, *inputs, edit=edit)
        proofs = [] if certificate is None else proof_paths(certificate, len(property_))
        keep_apart((out, edit or files.change_of(out), report, *proofs), inputs)
        net = rs.load_network(network, normalise=normalise)
        props = [rs.load_property(path, network=net) for path in property_]
        history = History(on_event)
        try:
            fix = rs.repair(
                net,
                props if len(props) > 1 else props[0],
                method=method.value,
                layers=layers,
                parameters=parameters.value,
                neurons=None if neurons is None else chosen_neurons(neurons),
                mask=None if entries is None else chosen_entries(entries),
                norm=norm.value,
                max_change=_change(max_change),
                minimise=minimise.value,
                margin=margin,
                gap=gap,
                solver=solver,
                points=points,
                keep=keep,
                keep_soft=keep_soft,
                prefer=prefer,
                prefer_soft=prefer_soft,
                contradictory="drop" if drop_contradictory else "refuse",
                give_up=give_up,
                decision=decision.value,
                place=place.value,
                max_gates=max_gates,
                monitor=monitor,
                imitation=imitating.imitated(method.value, variant, optimiser, domain, prove, net),
                limits=rs.Limits(seconds=timeout, memory_gb=memory),
                seed=seed,
                on_event=history,
                certificate=certificate is not None,
                guarantee=guarantee.value,
                **guaranteeing.levels(guarantee, epsilon, eta, min_agreement),
            )
        except rs.Interrupted as stopped:
            fix, interrupted = cast(rs.Repair, stopped.result), True
        written, failed = _written(fix, out, edit)
    asked = {
        "method": method.value, "layers": layers, "parameters": parameters.value, "neurons": neurons,
        "entries": entries, "max_change": max_change, "minimise": minimise.value, "requested_gap": gap,
        "decision": decision.value, "points": None if points is None else str(points),
        "keep": None if keep is None else str(keep), "keep_soft": keep_soft, "give_up": give_up,
        "prefer": None if prefer is None else str(prefer), "prefer_soft": prefer_soft,
        "contradictory": "drop" if drop_contradictory else "refuse", "seconds_allowed": timeout,
    }  # fmt: skip
    record = subject.with_account(
        records.repair_record(fix, net, *props) | {"files": [str(path) for path in written]},
        kind="repair",
        asked=asked,
        history=history.rows(),
        explanation=sentences.explain_repair(fix),
        network=network,
        properties=property_,
    )
    # The files come first: whoever reads stdout may stop after the first line.
    try:
        if report is not None and failed is None:
            with running(quiet=True, debug=debug):
                write_report(record, net, fix.network if fix.proved else None, props, report)
        if certificate is not None and failed is None and not interrupted:
            with running(quiet=True, debug=debug):
                _write_certificates(fix, certificate, len(props))
    finally:
        if as_json:
            typer.echo(records.dump(record))
        else:
            typer.echo(fix.status.value)
            typer.echo(sentences.explain_repair(fix))
            if interrupted:
                better = "a smaller repair" if fix.proved else "a repair"
                typer.echo(f"Interrupted: {better} may exist.{'' if certificate is None else UNCERTIFIED}")
            for path in written:
                typer.echo(f"Written: {path}{UNPROVED if '.unproved.' in path.name else ''}")
    if failed is not None:
        with running(quiet=True, debug=debug):
            raise failed
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if fix.status is rs.RepairStatus.TIMEOUT:
        raise typer.Exit(TIMEOUT)


def _written(fix: Repair, out: Path, edit: Path | None) -> tuple[tuple[Path, ...], OSError | None]:
    """The files written, or why that failed: the answer is printed all the same, it may have taken hours."""
    from repairsolver.report.files import write_repair

    try:
        return write_repair(fix, out, edit), None
    except OSError as error:
        return (), error


def _write_certificates(fix: Repair, path: Path, count: int) -> None:
    """Of a proof for each of `count` properties, or of a statement about all of them together."""
    if not fix.proved and fix.statement is not None:
        write_statement(fix.statement, path)
        return
    verdicts = fix.verdicts or [fix.verdict]
    for verdict, target in zip(verdicts, proof_paths(path, count), strict=False):
        write_proof(verdict, target)


def _change(text: str | None) -> float | str | None:
    """A number as such; a share, and what is neither, as it is."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
