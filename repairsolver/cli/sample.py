"""`repairsolver sample`: how probable is a violation, stated with a confidence?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from repairsolver.cli.options import Debug, Json, Normalise, Quiet, Seed, Timeout
from repairsolver.cli.running import INTERRUPTED, running
from repairsolver.cli.writing import write_statement
from repairsolver.errors import SamplingError

if TYPE_CHECKING:
    from repairsolver.network import Network
    from repairsolver.sampling.distributions import Distribution


class Kind(StrEnum):
    """Where inputs come from."""

    UNIFORM = "uniform"
    TRUNCATED_NORMAL = "truncated-normal"
    POINTS = "points"


def sample(
    network: Annotated[Path, typer.Argument(metavar="NET", help="Network: ONNX (also .gz) or NNet.")],
    property_: Annotated[
        Path, typer.Argument(metavar="PROP", help="Property: VNN-LIB 1.0 or 2.0 (also .gz).")
    ],
    epsilon: Annotated[
        float | None, typer.Option(help="The probability of a violation allowed; 0.001 without it.")
    ] = None,
    eta: Annotated[
        float | None, typer.Option(help="The probability of a wrong answer; 0.001 without it.")
    ] = None,
    distribution: Annotated[
        Kind, typer.Option(help="Of the inputs. In Python it may also be a function, numpy or torch.")
    ] = Kind.UNIFORM,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Truncated normal: standard deviation, as a share of each input's width; 0.25 without it."
        ),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Points to draw from, each equally likely: .npz or .csv.")
    ] = None,
    noise: Annotated[float, typer.Option(help="By how much every input of a point is moved at most.")] = 0.0,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential/--fixed", help="Stop as soon as an answer is shown, or look once, at the end."
        ),
    ] = True,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=1, help="Of a fixed test; by default the least. Else the most to be drawn."
        ),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Run every sample by itself instead of in batches.")
    ] = False,
    prove: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Prove so long first; sample only what stays open. Uniform inputs.",
        ),
    ] = None,
    rare: Annotated[
        bool,
        typer.Option("--rare", help="Estimate a tiny probability by splitting, without guarantee."),
    ] = False,
    timeout: Timeout = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="Where batches are computed: cpu or a torch device.")] = "cpu",
    normalise: Normalise = True,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate", metavar="FILE", help="Write the statement; *repairsolver check* samples anew."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """State, from random inputs, whether the probability of a violation is at most epsilon.

    Prints **accepted** (it is, with confidence 1 - eta), **rejected** (it is larger, with that confidence) or
    **undecided**. It is a statement about the distribution of the inputs, and no proof. With *--rare* it
    prints **estimated**, and an estimate with the spread of its repetitions.
    """
    if rare:
        _check_rare(
            {
                "--epsilon": epsilon is not None,
                "--eta": eta is not None,
                "--certificate": certificate is not None,
                "--alone": alone,
                "--prove": prove is not None,
                "--fixed": not sequential,
                "--samples": samples is not None,
                "--device": device != "cpu",
            }
        )
    interrupted = False
    with running(quiet=quiet, debug=debug) as on_event:
        import repairsolver as rs
        from repairsolver.report import records, sentences
        from repairsolver.targets import keep_apart

        keep_apart((certificate,), (network, property_, points))
        net = rs.load_network(network, normalise=normalise)
        prop = rs.load_property(property_, network=net)
        chosen = _distribution(distribution, net, scale, points, noise)
        if rare:
            estimate = rs.estimate_rare_event(
                net,
                prop,
                distribution=cast(rs.Uniform, chosen),
                limits=rs.Limits(seconds=timeout),
                seed=seed,
                on_event=on_event,
            )
            record = records.estimate_record(estimate, net, prop)
            typer.echo(records.dump(record) if as_json else sentences.explain_estimate(estimate))
            return
        levels = {name: value for name, value in (("epsilon", epsilon), ("eta", eta)) if value is not None}
        try:
            found = rs.sample(
                net,
                prop,
                **levels,
                distribution=chosen,
                sequential=sequential,
                samples=samples,
                alone=alone,
                prove=prove,
                limits=rs.Limits(seconds=timeout),
                seed=seed,
                on_event=on_event,
                device=device,
            )
        except rs.Interrupted as stopped:
            # `sample --prove` may be in its proof still, of which there is no statement.
            if not isinstance(stopped.result, rs.Statement):
                raise
            found, interrupted = stopped.result, True
    try:
        if certificate is not None and not interrupted:
            with running(quiet=True, debug=debug):
                write_statement(found, certificate)
    finally:
        if as_json:
            typer.echo(records.dump(records.statement_record(found, net, prop)))
        else:
            typer.echo(found.status.value)
            typer.echo(sentences.explain_statement(found))
            if interrupted and certificate is not None:
                typer.echo(f"No certificate was written to {certificate}: the test was interrupted.")
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _check_rare(given: dict[str, bool]) -> None:
    """Raises BadParameter: options of a statement."""
    if names := [name for name, there in given.items() if there]:
        verb = "does" if len(names) == 1 else "do"
        raise typer.BadParameter(
            f"--rare gives an estimate without guarantee, on cpu: {', '.join(names)} {verb} not apply"
        )


def _distribution(
    kind: Kind, network: Network, scale: float | None, points: Path | None, noise: float
) -> Distribution:
    """The distribution that the options name.

    Raises:
        SamplingError: an option is missing, or belongs to another distribution.
    """
    from repairsolver.property import load_points
    from repairsolver.sampling.distributions import Points, TruncatedNormal, Uniform

    if scale is not None and kind is not Kind.TRUNCATED_NORMAL:
        raise SamplingError("--scale is of --distribution truncated-normal alone: leave it out")
    if (points is None) == (kind is Kind.POINTS):
        raise SamplingError("--points FILE and --distribution points go together: give both or neither")
    if points is not None:
        return Points(load_points(points, network), noise)
    if noise:
        raise SamplingError("--noise is of --distribution points alone: leave it out")
    if kind is Kind.UNIFORM:
        return Uniform()
    return TruncatedNormal() if scale is None else TruncatedNormal(scale)
