"""The verbs about samples; and `check`, of proofs and of statements by samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from repairsolver.errors import CertificateError, SamplingError
from repairsolver.network import Network
from repairsolver.property import PointSet, Property
from repairsolver.results import Certificate, Limits, OnEvent
from repairsolver.signatures import typed
from repairsolver.verbs.arguments import (
    as_network,
    as_points,
    as_property,
    check_device,
    check_options,
)

if TYPE_CHECKING:
    from repairsolver.certificate import CheckResult
    from repairsolver.sampling.characterise import Characterisation
    from repairsolver.sampling.distributions import Distribution, TruncatedNormal, Uniform
    from repairsolver.sampling.splitting import RareEvent
    from repairsolver.sampling.statement import Statement


@typed
def sample(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - as in verify
    *,
    epsilon: float = 1e-3,
    eta: float = 1e-3,
    distribution: Distribution | str | Callable[[int, int], ArrayLike] = "uniform",
    sequential: bool = True,
    samples: int | None = None,
    alone: bool = False,
    prove: float | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
) -> Statement:
    """State by sampling whether P(violation) <= epsilon, with confidence 1 - eta.

    A statement about inputs drawn from a distribution, no proof: where `verify` can prove, prove. The samples
    are fresh: they follow from the seed and the hashes of network, property and distribution.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation.
        epsilon, eta: the probability of a violation that is allowed, and that of a wrong answer.
        distribution: "uniform" on the property's regions, "truncated-normal", an object such as
            `Points(load_points(FILE), noise=0.01)`, or a function: `function(count, seed)` gives that many
            inputs [count, n], as array or torch tensor.
        sequential: stop as soon as one of the two answers is shown; else a fixed number, looked at once.
        samples: that number (by default the least that can show P <= epsilon), or the most to be drawn.
        alone: run every sample by itself instead of in batches; see `Statement.evaluation`.
        prove: prove for so many seconds first, and sample only the boxes that stay open: the statement is
            exact on the rest (`Statement.part`). For the uniform distribution.
        limits: seconds of the sampling.
        seed: the same seed gives the same samples.
        device: "cpu", or a torch device such as "cuda" that computes batches, in full float32; onnxruntime
            decides whatever comes near a violation, and looks at some other samples besides.

    Raises:
        SamplingError: epsilon or eta outside (0, 1); a distribution that leaves the property's regions;
            outputs that are NaN; regions whose volumes cannot be compared; a device without batches.
        DeviceError: torch cannot use the device.
        NetworkError, PropertyError: a file is malformed, or property and network do not fit.
    """
    check_options(seed, limits)
    net = as_network(network)
    prop = as_property(property, net)
    if alone and device != "cpu":
        raise SamplingError(
            f"device {device!r} computes batches, and alone=True (--alone) makes none: every sample is run "
            "by itself on onnxruntime, on the CPU; leave one of the two out"
        )
    check_device(device)
    from repairsolver.sampling.distributions import chosen_distribution
    from repairsolver.sampling.proving import sample_after_proof
    from repairsolver.sampling.sampler import sample_property

    make = sample_property if prove is None else partial(sample_after_proof, seconds=prove)
    return make(
        net,
        prop,
        epsilon=epsilon,
        eta=eta,
        distribution=chosen_distribution(distribution),
        sequential=sequential,
        samples=samples,
        alone=alone,
        limits=limits,
        seed=int(seed),
        on_event=on_event,
        device=device,
    )


@typed
def estimate_rare_event(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - as in verify
    *,
    distribution: Uniform | TruncatedNormal | None = None,
    particles: int = 2000,
    repetitions: int = 20,
    moves: int = 10,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> RareEvent:
    """Estimate the probability of a violation that is too rare to be met by samples. No guarantee.

    Multilevel splitting: particles are led to the violation level by level, and the shares that get on are
    multiplied. The error comes from the spread of independent repetitions.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation.
        distribution: `Uniform()` without it, or `TruncatedNormal(...)`.
        particles, repetitions, moves: of each run; runs; steps at each level.
        limits: seconds; at least two repetitions are made.
        seed: the same seed gives the same particles.
        on_event: called with progress reports.

    Raises:
        SamplingError: another distribution; too few particles or repetitions; outputs that are NaN.
    """
    check_options(seed, limits)
    net = as_network(network)
    prop = as_property(property, net)
    from repairsolver.sampling.splitting import estimate_rare_event

    return estimate_rare_event(
        net, prop, distribution=distribution, particles=particles, repetitions=repetitions, moves=moves,
        limits=limits, seed=int(seed), on_event=on_event,
    )  # fmt: skip


@typed
def characterise(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - as in verify
    *,
    epsilon: float = 1e-3,
    eta: float = 1e-3,
    leaves: int = 32,
    limits: Limits | None = None,
    seed: int = 0,
) -> Characterisation:
    """Part a property's regions into boxes that affine PAC models call safe, violated or unclear.

    With confidence 1 - eta at most a share epsilon of the volume of the safe boxes violates. Where an exact
    proof is out of reach, this says where the violations are.

    Args:
        network: a network or an ONNX or NNet file, with at most 50 inputs that vary.
        property: a property or a VNN-LIB file; it describes the violation.
        leaves: the most boxes.
        limits: seconds; the partition is then coarser.
        seed: the same seed gives the same samples.

    Raises:
        SamplingError: epsilon or eta outside (0, 1); too many inputs; outputs that are NaN.
    """
    check_options(seed, limits)
    net = as_network(network)
    prop = as_property(property, net)
    from repairsolver.sampling.characterise import characterise_property

    return characterise_property(
        net, prop, epsilon=epsilon, eta=eta, leaves=leaves, limits=limits, seed=int(seed)
    )


@typed
def check(
    certificate: Certificate | str | Path,
    *,
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002
    points: PointSet | str | Path | None = None,
    seconds: float | None = None,
    on_event: OnEvent | None = None,
) -> CheckResult:
    """Does a certificate show what it claims: a proof (`certificate.check`), or a statement by sampling?

    A proof is replayed with rigorous rounding; the samples of a statement are drawn and counted again.

    Args:
        certificate: as `verify` returned it, or a file that `verify`, `repair` or `sample` wrote.
        network, property: those that the certificate names by hash.
        points: the points that the samples of a statement come from, if they do.
        seconds: give up on a proof after this time: the answer is then that nothing is proved.
        on_event: called with progress reports while samples are drawn anew.

    Raises:
        NetworkError, PropertyError: a file is malformed, or network and property do not fit.
        CertificateError: points are given for a proof.
        OSError: a file cannot be opened.
    """
    from repairsolver.certificate import check as check_proof

    net = as_network(network)
    prop = as_property(property, net)
    if isinstance(certificate, str | Path):
        from repairsolver.sampling.certificate import check_statement, is_statement

        if is_statement(certificate):
            given = as_points(points, net)
            return check_statement(certificate, network=net, prop=prop, points=given, on_event=on_event)
    if points is not None:
        raise CertificateError(
            "points are of statements by sampling, which come from them, but this certificate is a proof: "
            "leave points (--points) out"
        )
    return check_proof(certificate, network=net, property=prop, seconds=seconds)
