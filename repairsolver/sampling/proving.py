"""Prove as much as some seconds allow, and sample only the boxes that stay open."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from repairsolver.errors import SamplingError
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import COVERED, Limits, OnEvent, VerifyStatus
from repairsolver.sampling.binomial import check_level
from repairsolver.sampling.distributions import Distribution, Uniform
from repairsolver.sampling.domain import domain_of
from repairsolver.sampling.part import open_part
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.statement import SampleStatus, Statement
from repairsolver.verification.engine import verify_property
from repairsolver.verification.record import property_sha256


def sample_after_proof(
    network: Network,
    prop: Property,
    *,
    seconds: float,
    epsilon: float,
    eta: float,
    distribution: Distribution | None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    **wishes: Any,
) -> Statement:
    """A statement that is exact on the part proved within the seconds, and by samples on the rest.

    Where everything is proved, nothing is sampled and the test is called "proof". Where a violation is found,
    no part is proved and the whole regions are sampled.

    Args:
        wishes: those of `sample_property`.

    Raises:
        SamplingError: as in `sample_property`; or another distribution than the uniform one.
    """
    started = time.perf_counter()
    if distribution is not None and distribution != Uniform():
        raise SamplingError(
            "what a proof leaves open is sampled uniformly, by volume: leave the distribution out"
        )
    if not seconds > 0:
        raise SamplingError(f"prove: expected a positive number of seconds, got {seconds}")
    check_level("epsilon", epsilon)
    check_level("eta", eta)
    limits = Limits(seconds=seconds)
    verdict = verify_property(network, prop, limits=limits, seed=seed, on_event=on_event)
    if verdict.status is VerifyStatus.HOLDS:
        return _proved(network, prop, epsilon, eta, seed, time.perf_counter() - started)
    violated = verdict.status is VerifyStatus.VIOLATED
    found = sample_property(
        network,
        prop,
        epsilon=epsilon,
        eta=eta,
        seed=seed,
        on_event=on_event,
        part=None if violated else open_part(prop, verdict),
        **wishes,
    )
    note = ("An attack found an input that violates: no part of the regions is proved.",) if violated else ()
    return replace(found, seconds=time.perf_counter() - started, notes=(*found.notes, *note))


def _proved(
    network: Network, prop: Property, epsilon: float, eta: float, seed: int, seconds: float
) -> Statement:
    return Statement(
        status=SampleStatus.ACCEPTED,
        samples=0,
        violations=0,
        epsilon=float(epsilon),
        eta=float(eta),
        lower=0.0,
        upper=0.0,
        test="proof",
        limit=0,
        distribution=Uniform().facts(domain_of(network, prop)),
        seed=int(seed),
        network_sha256=network.sha256,
        property_sha256=property_sha256(prop),
        names=(network.name, prop.name),
        evaluation=f"a proof {COVERED['real']}",
        alone=0,
        seconds=seconds,
    )
