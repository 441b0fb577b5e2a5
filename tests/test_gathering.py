"""Networks that gather, repeat, reshuffle and reduce: proofs against samples, the checker, and edits."""

from __future__ import annotations

from collections import Counter

import numpy as np
from random_networks import Draft, random_property, sample

import repairsolver as rs
from repairsolver.network import Network


def network(seed: int) -> Network:
    """6 inputs through every one of these operators, with ReLU between."""
    rng = np.random.default_rng(seed)
    draft = Draft(rng, (1, 3))
    draft.add("Gemm", [draft.current, draft.normal(3, 8, scale=0.8), draft.normal(8)], (1, 8))
    draft.add("Relu", [draft.current], (1, 8))
    draft.add("Gather", [draft.current, draft.constant(rng.integers(-8, 8, 8), np.int64)], (1, 8), axis=1)
    hidden = draft.add("Reshape", [draft.current, draft.constant([1, 8, 1, 1], np.int64)], (1, 8, 1, 1))
    draft.add("DepthToSpace", [hidden], (1, 2, 2, 2), blocksize=2, mode="CRD")
    squares = draft.add("SpaceToDepth", [draft.current], (1, 8, 1, 1), blocksize=2)
    wide = draft.add("Expand", [squares, draft.constant([1, 8, 1, 2], np.int64)], (1, 8, 1, 2))
    draft.add("Tile", [wide, draft.constant([1, 1, 2, 1], np.int64)], (1, 8, 2, 2))
    draft.add("Mul", [draft.current, draft.normal(8, 2, 2)], (1, 8, 2, 2))
    index = draft.constant(rng.integers(0, 2, (1, 8, 2, 1)), np.int64)
    picked = draft.add("GatherElements", [draft.current, index], (1, 8, 2, 1), axis=3)
    most = draft.add("ReduceMax", [picked], (1, 8), axes=[2, 3], keepdims=0)
    least = draft.add("ReduceMin", [wide], (1, 8), axes=[2, 3], keepdims=0)
    size = draft.add("Abs", [draft.add("Sub", [most, least], (1, 8))], (1, 8))
    mean = draft.add("Mean", [size, most], (1, 8))
    draft.add("GatherND", [mean, draft.constant([[0, 1], [0, 3], [0, 6]], np.int64)], (3,))
    draft.add("Gemm", [draft.add("Reshape", [draft.current, draft.constant([1, 3], np.int64)], (1, 3)),
                       draft.normal(3, 2), draft.normal(2)], (1, 2))  # fmt: skip
    return draft.network(f"gathering{seed}")


def test_proofs_hold_on_samples_and_certificates_are_valid() -> None:
    found: Counter[str] = Counter()
    for seed in range(12):
        net = network(seed)
        prop = random_property(seed, net, width=0.6)
        verdict = rs.verify(net, prop, limits=rs.Limits(seconds=20), seed=seed, certificate=True)
        found[verdict.status] += 1
        if verdict.status is rs.VerifyStatus.HOLDS:
            for region in prop.regions:
                points = sample(np.random.default_rng(seed), region.lower, region.upper, 4000)
                assert not (prop.violation(points, net(points)) > 0).any()
            if verdict.certificate is not None:
                assert rs.check(verdict.certificate, network=net, property=prop).valid
    assert found["holds"] >= 3
    assert found["violated"] >= 3


def test_a_network_behind_a_gather_is_repaired() -> None:
    net = network(1)
    lower, upper = np.full(3, -0.25), np.full(3, 0.25)
    most = float(net(sample(np.random.default_rng(0), lower, upper, 2000))[:, 0].max())
    prop = rs.output_range(lower, upper, 0, 2, at_most=most - 0.1)
    fix = rs.repair(net, prop, limits=rs.Limits(seconds=30))
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    assert (fix.network(sample(np.random.default_rng(1), lower, upper, 2000))[:, 0] <= most - 0.1).all()
