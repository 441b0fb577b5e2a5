"""Networks that upsample, pad in circles and sum up: proofs against samples, the checker, and repairs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from random_networks import Draft, random_property, sample

import repairsolver as rs
from repairsolver.network import Network


def network(seed: int, *, smooth: bool = False) -> Network:
    """3 inputs through every one of these operators, with ReLU (or SELU and CELU) between."""
    rng = np.random.default_rng(seed)
    draft = Draft(rng, (1, 3))
    draft.add("Gemm", [draft.current, draft.normal(3, 8, scale=0.8), draft.normal(8)], (1, 8))
    draft.add("Selu" if smooth else "Relu", [draft.current], (1, 8))
    draft.add("Reshape", [draft.current, draft.constant([1, 2, 2, 2], np.int64)], (1, 2, 2, 2))
    filters = [draft.normal(2, 2, 2, 3, scale=0.5), draft.normal(2)]
    draft.add("ConvTranspose", [draft.current, *filters], (1, 2, 3, 5), strides=[1, 2])
    draft.add("Celu" if smooth else "Relu", [draft.current], (1, 2, 3, 5))
    draft.add(
        "Pad", [draft.current, draft.constant([0, 0, 1, 0, 0, 0, 0, 1], np.int64)], (1, 2, 4, 6), mode="edge"
    )
    scales = draft.constant([1.0, 1.0, 1.5, 0.5])
    nearest = draft.add("Resize", [draft.current, "", scales], (1, 2, 6, 3))
    sizes = draft.constant([1, 2, 3, 5], np.int64)
    draft.add("Resize", [nearest, "", "", sizes], (1, 2, 3, 5), mode="linear")
    draft.add("CumSum", [draft.current, draft.constant(3, np.int64)], (1, 2, 3, 5), reverse=1)
    draft.add("ReduceL1", [draft.current], (1, 2), axes=[2, 3], keepdims=0)
    draft.add("Gemm", [draft.current, draft.normal(2, 2), draft.normal(2)], (1, 2))
    return draft.network(f"upsampling{seed}")


@pytest.mark.parametrize("smooth", [False, True])
def test_proofs_hold_on_samples_and_certificates_are_valid(smooth: bool) -> None:
    found: Counter[str] = Counter()
    for seed in range(20 if smooth else 8):
        net = network(seed, smooth=smooth)
        prop = random_property(seed, net, width=0.5)
        verdict = rs.verify(net, prop, limits=rs.Limits(seconds=20), seed=seed, certificate=not smooth)
        found[verdict.status] += 1
        if verdict.status is rs.VerifyStatus.HOLDS:
            for region in prop.regions:
                points = sample(np.random.default_rng(seed), region.lower, region.upper, 4000)
                assert not (prop.violation(points, net(points)) > 0).any()
            if verdict.certificate is not None:
                assert rs.check(verdict.certificate, network=net, property=prop).valid
    assert found["holds"] >= 2
    assert found["violated"] >= 2


def test_a_network_that_upsamples_is_repaired_in_its_last_layer() -> None:
    net = network(1)
    lower, upper = np.full(3, -0.25), np.full(3, 0.25)
    most = float(net(sample(np.random.default_rng(0), lower, upper, 2000))[:, 0].max())
    prop = rs.output_range(lower, upper, 0, 2, at_most=most - 0.1)
    fix = rs.repair(net, prop, limits=rs.Limits(seconds=30))
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    assert (fix.network(sample(np.random.default_rng(1), lower, upper, 2000))[:, 0] <= most - 0.1).all()
