"""`repairsolver repair`: the least change that gives a network a property."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from repairsolver.cli.choosing import chosen_entries, chosen_neurons
from repairsolver.cli.options import CertificateFile, Debug, Json, Memory, Normalise, Quiet, Seed, Timeout
from repairsolver.cli.running import INTERRUPTED, TIMEOUT, running
from repairsolver.cli.writing import proof_paths, write_proof

UNPROVED = " (not proved)"
UNCERTIFIED = " No certificate was written."


class Method(StrEnum):
    """How to repair."""

    DELTA = "delta"


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

    MAX = "max"
    MIN = "min"


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
    method: Annotated[Method, typer.Option(help="delta: change weights and biases.")] = Method.DELTA,
    layers: Annotated[
        str, typer.Option(help="Layers that may change: *last*, *all*, *auto*, or names with commas.")
    ] = "last",
    parameters: Annotated[
        Parameters, typer.Option(help="Which numbers of the layers may change.")
    ] = Parameters.BOTH,
    neurons: Annotated[
        str | None,
        typer.Option(metavar="I,J,...", help="Only these neurons (filters) of one layer, counted from 0."),
    ] = None,
    entries: Annotated[
        str | None,
        typer.Option(
            metavar="W[I,J],...", help="Only these entries of stored tensors, such as W2[3,7],b2[0]."
        ),
    ] = None,
    norm: Annotated[
        Norm,
        typer.Option(help="Norm of the change that is to be least; *relative*: by the size of each weight."),
    ] = Norm.L1,
    max_change: Annotated[
        str | None,
        typer.Option(metavar="R", help="Largest change of a weight: a number, or a share such as 10%."),
    ] = None,
    minimise: Annotated[
        Minimise,
        typer.Option(
            help="*behaviour*: instead of weights, change margins least, at --keep or in the regions."
        ),
    ] = Minimise.WEIGHTS,
    margin: Annotated[
        float | None,
        typer.Option(metavar="M", help="What points must exceed the border by, in units of the outputs."),
    ] = None,
    gap: Annotated[float, typer.Option(min=0.0, help="Relative distance to the optimum to stop at.")] = 0.01,
    solver: Annotated[str, typer.Option(help="See *repairsolver solvers*.")] = "highs",
    points: Annotated[Path | None, typer.Option(help="Points to repair: .npz or .csv.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Points whose decision must stay: .npz or .csv.")] = None,
    keep_soft: Annotated[
        float | None,
        typer.Option(
            metavar="W", help="Points of --keep may be lost, at this price for each unit of output."
        ),
    ] = None,
    decision: Annotated[
        Decision, typer.Option(help="Whether the largest or the smallest output is chosen.")
    ] = Decision.MAX,
    timeout: Timeout = None,
    memory: Memory = 4.0,
    seed: Seed = 0,
    normalise: Normalise = True,
    certificate: CertificateFile = None,
    edit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The change, .json or .npz, instead of OUT.delta.json."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Change a network as little as possible so that it has a property, proved.

    Prints **repaired**, **infeasible**, **unknown** or **timeout**. The best candidate that was not proved
    goes to OUT.unproved.onnx; the exit code of **timeout** is 124. Ctrl-C gives the best one proved so far,
    with exit code 130.
    """
    interrupted = False
    with running(quiet=quiet, debug=debug) as on_event:
        import repairsolver as rs
        from repairsolver.report import files, records, sentences
        from repairsolver.targets import file_target

        if certificate is not None:
            for path in proof_paths(certificate, len(property_)):
                file_target(path)
        files.check_output(out, network, *property_, *filter(None, (points, keep)), edit=edit)
        net = rs.load_network(network, normalise=normalise)
        props = [rs.load_property(path, network=net) for path in property_]
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
                decision=decision.value,
                limits=rs.Limits(seconds=timeout, memory_gb=memory),
                seed=seed,
                on_event=on_event,
                certificate=certificate is not None,
            )
        except rs.Interrupted as stopped:
            fix, interrupted = cast(rs.Repair, stopped.result), True
        written = files.write_repair(fix, out, edit)
    # The file comes first: whoever reads stdout may stop after the first line.
    try:
        if certificate is not None and not interrupted:
            with running(quiet=True, debug=debug):
                verdicts = fix.verdicts if len(props) > 1 else [fix.verdict]
                for verdict, path in zip(verdicts, proof_paths(certificate, len(props)), strict=False):
                    write_proof(verdict, path)
    finally:
        if as_json:
            paths = {"files": [str(path) for path in written]}
            typer.echo(records.dump(records.repair_record(fix, net, *props) | paths))
        else:
            typer.echo(fix.status.value)
            typer.echo(sentences.explain_repair(fix))
            if interrupted:
                typer.echo(
                    f"Interrupted: a smaller repair may exist.{'' if certificate is None else UNCERTIFIED}"
                )
            for path in written:
                typer.echo(f"Written: {path}{UNPROVED if '.unproved.' in path.name else ''}")
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if fix.status is rs.RepairStatus.TIMEOUT:
        raise typer.Exit(TIMEOUT)


def _change(text: str | None) -> float | str | None:
    """A number as such; a share, and what is neither, as it is."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
