"""The checker accepts true certificates and rejects every one for a false statement, and every broken one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from certificate_mutants import broken, damaged, loosened, proved, rewired, scrambled, statements

from repairsolver.certificate import check, read_certificate
from repairsolver.certificate.format import from_bytes, to_bytes
from repairsolver.errors import CertificateError


def test_every_proof_is_accepted() -> None:
    """Over all operators; nothing that the verifier proves by splitting is lost to the checker's rounding."""
    accepted = 0
    # On the last one are neurons that are always 0, whose bounds are rounding alone: it must choose no slope.
    for seed, smooth in (*((seed, True) for seed in (*range(5000, 5090), 70394)), (40136, False)):
        s = proved(seed, smooth=smooth)
        if s is not None:
            found = check(from_bytes(to_bytes(s.certificate)), network=s.network, property=s.prop)
            assert found.valid, f"seed {seed}: {found.reason}"
            accepted += 1
            assert found.boxes <= len(s.certificate.axis), f"seed {seed}: leaves were halved"
    assert accepted >= 20


@pytest.mark.parametrize("seed", range(4))
def test_false_statements_are_rejected_whatever_the_tree(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    rejected = 0
    for s in statements(5200, 5270):
        for _ in range(1 + 2 * bool(len(s.certificate.value))):
            for false in (loosened(rng, s), rewired(rng, s)):
                if false is None:
                    continue
                for attempt in (false, scrambled(rng, false)):
                    found = check(attempt.certificate, network=attempt.network, property=attempt.prop)
                    assert not found.valid
                    rejected += 1
    assert rejected >= 60


def test_broken_trees_are_rejected() -> None:
    rng = np.random.default_rng(2)
    for s in statements(5200, 5270):
        for _ in range(6):
            mutant = broken(rng, s.certificate)
            assert not check(mutant, network=s.network, property=s.prop).valid


def test_damaged_files_are_rejected(tmp_path) -> None:
    """A changed byte either makes the file unreadable, or changes what says nothing about the proof."""
    rng = np.random.default_rng(3)
    path = tmp_path / "c.cert"
    read, s = 0, statements(5200, 5270)[0]
    for _ in range(200):
        path.write_bytes(damaged(rng, s.certificate))
        try:
            again = read_certificate(path)
        except CertificateError:
            assert not check(path, network=s.network, property=s.prop).valid
            continue
        read += 1
        if check(path, network=s.network, property=s.prop).valid:
            assert (again.network, again.property) == (s.certificate.network, s.certificate.property)
    assert read < 100


def test_a_leaf_whose_weights_are_zero_proves_nothing() -> None:
    for s in statements(5200, 5270):
        weights = np.zeros_like(s.certificate.weights)
        if weights.shape[1] == 1:
            continue
        found = check(replace(s.certificate, weights=weights), network=s.network, property=s.prop)
        assert "Leaf" in found.reason or found.valid
