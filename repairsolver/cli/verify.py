"""`repairsolver verify`: does a network have a property?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

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
    TreeFile,
)
from repairsolver.cli.running import INTERRUPTED, running
from repairsolver.cli.workers import Jobs, Ray, answers_alone, workers
from repairsolver.cli.writing import check_report, write_proof, write_report
from repairsolver.errors import PropertyError


class Arithmetic(StrEnum):
    """What a proof speaks of."""

    REAL = "real"
    FLOAT32 = "float32"


def verify(
    first: Annotated[Path, typer.Argument(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="PROP", help="Property: VNN-LIB 1.0 or 2.0 (also .gz).")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=NET", help="The network, as VNN-LIB 2.0 has it: *verify PROP --network N=NET*."
        ),
    ] = None,
    timeout: Timeout = None,
    memory: Memory = 4.0,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="Where bounds are computed: cpu or a torch device.")] = "cpu",
    normalise: Normalise = True,
    certificate: CertificateFile = None,
    tree: TreeFile = None,
    arithmetic: Annotated[
        Arithmetic,
        typer.Option(help="What a proof speaks of: the exact network, or every float32 execution."),
    ] = Arithmetic.REAL,
    jobs: Jobs = None,
    ray: Ray = None,
    report: ReportFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Prove that a network has a property, or find an input that violates it.

    Prints **unsat** (the property holds), **sat** (violated; an input follows), **unknown** or **timeout**.
    Ctrl-C prints what was reached, as **timeout**, with exit code 130; with *--tree* it can be continued.
    """
    net_path, prop_path, title = _files(first, second, network)
    with running(quiet=quiet, debug=debug) as on_event, answers_alone(ray):
        import repairsolver as rs
        from repairsolver.report import records, sentences, subject
        from repairsolver.report.history import History
        from repairsolver.targets import keep_apart

        check_report(report)
        keep_apart((certificate, report, tree), (net_path, prop_path))
        net = rs.load_network(net_path, normalise=normalise)
        prop = rs.load_property(prop_path, network=net)
        if title and prop.network and title != prop.network:
            raise PropertyError(
                f"{prop_path} is about a network called {prop.network}, but --network gives one "
                f"called {title}: write --network {prop.network}={net_path} if that is the network meant"
            )
        history = History(on_event)
        limits = rs.Limits(seconds=timeout, memory_gb=memory)
        try:
            verdict = rs.verify(
                net,
                prop,
                limits=limits,
                seed=seed,
                on_event=history,
                device=device,
                certificate=certificate is not None,
                tree=tree,
                arithmetic=arithmetic.value,
                **workers(jobs, ray),
            )
        except rs.Interrupted as stopped:
            verdict = cast(rs.Verdict, stopped.result)
    record = subject.with_account(
        records.verdict_record(verdict, net, prop),
        kind="verify",
        asked={
            "seconds_allowed": timeout,
            "memory_gb": memory,
            "device": device,
            "arithmetic": arithmetic.value,
        },
        history=history.rows(),
        explanation=sentences.explain_verdict(verdict),
        network=net_path,
        properties=[prop_path],
    )
    # The files come first: whoever reads stdout may stop after the first line.
    try:
        if report is not None:
            with running(quiet=True, debug=debug):
                write_report(record, net, None, [prop], report)
        if certificate is not None:
            with running(quiet=True, debug=debug):
                write_proof(verdict, certificate)
    finally:
        if as_json:
            typer.echo(records.dump(record))
        else:
            typer.echo(verdict.status.word)
            if verdict.counterexample is not None:
                typer.echo(sentences.assignment(verdict.counterexample))
            typer.echo(sentences.explain_verdict(verdict))
    if verdict.interrupted:
        raise typer.Exit(INTERRUPTED)


def _files(first: Path, second: Path | None, network: str | None) -> tuple[Path, Path, str]:
    """Network, property and the network's name, if one is given, of either form of the command line."""
    if network is None and second is not None:
        return first, second, ""
    if network is None:
        raise typer.BadParameter("expected NET PROP, or PROP --network NAME=NET")
    if second is not None:
        raise typer.BadParameter("expected one file, the property, together with --network")
    name, separator, path = network.partition("=")
    if not (name and separator and path):
        raise typer.BadParameter(f"--network {network}: expected NAME=NET, such as N=net.onnx")
    return Path(path), first, name
