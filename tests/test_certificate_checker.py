"""The checker: what it accepts, what it says about what it does not, and statements off by a hair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from certificate_mutants import Statement, statements
from random_networks import dense_network, random_network, random_property
from rational import exact_tensors
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import CertificateError, PropertyError
from repairsolver.network import Network
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import Certificate
from repairsolver.verification.engine import verify_property

DEMO = Path(rs.__file__).parent / "demo"


def below(network: Network, threshold: float, lower: np.ndarray, upper: np.ndarray) -> Property:
    """Violated where the first output is at most a threshold."""
    row = np.zeros((1, network.output_size))
    row[0, 0] = 1.0
    unsafe = Conjunction(row, np.zeros((1, network.input_size)), np.array([threshold]))
    return Property((Region(lower, upper, (unsafe,)),), network.input_size, network.output_size)


def exact_minimum(network: Network, lower: float, upper: float) -> Fraction:
    """Of the first output of a ReLU network with one input: it is linear between zeros of pre-activations."""
    points = [Fraction(lower), Fraction(upper)]
    for position, node in enumerate(network.nodes):
        if type(node.operator).__name__ != "Relu":
            continue
        values = [tensors(network, p)[position] for p in points]
        added = []
        for (a, u), (b, v) in zip(
            zip(points, values, strict=True), list(zip(points, values, strict=True))[1:], strict=False
        ):
            added += [a + (b - a) * p / (p - q) for p, q in zip(u, v, strict=True) if p * q < 0]
        points = sorted({*points, *added})
    return min(tensors(network, p)[-1][0] for p in points)


def tensors(network: Network, x: Fraction) -> list[list[Fraction]]:
    return exact_tensors(network, np.array([x], dtype=object))


@pytest.mark.parametrize("seed", range(8))
def test_thresholds_a_hair_from_the_exact_minimum(seed: int) -> None:
    """Just below it the statement is true, from it on false; a tree for the former must not prove that."""
    network = dense_network(seed, [1, 6, 6, 1])
    lower, upper = np.array([-1.0 / 3]), np.array([0.7])
    least = exact_minimum(network, lower[0], upper[0])
    nearest = float(least)
    false = nearest if Fraction(nearest) >= least else np.nextafter(nearest, np.inf)
    true = [nearest - 2.0**-k for k in (10, 20, 28)]
    forged: Certificate | None = None
    for threshold in true:
        prop = below(network, threshold, lower, upper)
        verdict = verify_property(network, prop, record=True)
        assert verdict.certificate is not None
        assert rs.check(verdict.certificate, network=network, property=prop).valid
        forged = verdict.certificate
    assert forged is not None
    for threshold in (false, np.nextafter(false, np.inf), false + 2.0**-40):
        wrong = Statement(network, below(network, threshold, lower, upper), forged).renamed()
        found = rs.check(wrong.certificate, network=wrong.network, property=wrong.prop)
        assert not found.valid
        assert "not proved" in found.reason


def test_a_final_softmax_is_removed_by_the_checker_itself() -> None:
    accepted = 0
    for seed in range(100, 130):
        network = random_network(seed, softmax=True, outputs=3)
        prop = random_property(seed, network, ordering=True)
        verdict = verify_property(network, prop, record=True)
        if verdict.certificate is not None:
            assert rs.check(verdict.certificate, network=network, property=prop).valid
            accepted += 1
    assert accepted >= 3


def test_rows_behind_a_softmax_that_are_no_comparisons_are_refused() -> None:
    network = random_network(100, softmax=True, outputs=3)
    prop = below(network, -1.0, np.zeros(network.input_size), np.ones(network.input_size))
    certificate = Certificate("", "", np.array([-1], np.int16), np.zeros(0), np.full((1, 1), 255, np.uint8))
    wrong = Statement(network, prop, certificate).renamed()
    found = rs.check(wrong.certificate, network=network, property=prop)
    assert not found.valid
    assert "softmax" in found.reason


def test_an_empty_property_has_an_empty_certificate() -> None:
    network = dense_network(0, [2, 3, 2])
    prop = Property((Region(np.zeros(2), np.ones(2), ()),), 2, 2)
    certificate = verify_property(network, prop, record=True).certificate
    assert certificate is not None
    assert rs.check(certificate, network=network, property=prop).valid


def test_overflow_proves_nothing() -> None:
    """Weights so large that every bound overflows: no leaf is proved, whatever the tree says."""
    network = dense_network(1, [2, 3, 2])
    huge = [replace(n, operator=_scaled(n.operator, 1e200)) for n in network.nodes]
    network = replace(network, nodes=tuple(huge))
    prop = below(network, -1e300, np.zeros(2), np.ones(2))
    certificate = Certificate("", "", np.array([-1], np.int16), np.zeros(0), np.full((1, 1), 255, np.uint8))
    wrong = Statement(network, prop, certificate).renamed()
    assert not rs.check(wrong.certificate, network=network, property=prop).valid


def _scaled(operator: object, factor: float) -> object:
    return replace(operator, weight=operator.weight * factor) if hasattr(operator, "weight") else operator  # type: ignore


@pytest.mark.parametrize("weight", [-1.0, 256.0, np.nan, np.inf])
def test_weights_that_no_file_can_hold_are_refused(weight: float) -> None:
    s = statements(5200, 5270)[0]
    weights = np.full(s.certificate.weights.shape, weight)
    found = rs.check(replace(s.certificate, weights=weights), network=s.network, property=s.prop)
    assert not found.valid
    assert "weights" in found.reason


def test_a_property_of_another_size_is_an_error() -> None:
    s = statements(5200, 5270)[0]
    other = dense_network(0, [9, 3, 2])
    with pytest.raises(PropertyError):
        rs.check(s.certificate, network=other, property=s.prop)


def test_without_being_asked_no_proof_is_kept() -> None:
    network = dense_network(0, [2, 3, 2])
    prop = below(network, -100.0, np.zeros(2), np.ones(2))
    assert rs.verify(network, prop).certificate is None
    assert rs.verify(network, prop, certificate=True).certificate is not None


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    network = dense_network(0, [2, 5, 2])
    net, prop = tmp_path / "net.onnx", tmp_path / "prop.vnnlib"
    rs.save_network(network, net)
    rs.save_property(below(network, -100.0, np.zeros(2), np.ones(2)), prop)
    return net, prop, tmp_path / "proof.cert"


def test_command_line_round_trip(files: tuple[Path, Path, Path]) -> None:
    net, prop, cert = files
    done = invoke("verify", net, prop, "--certificate", cert)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "unsat")
    assert f"Certificate: {cert}" in done.stderr
    done = invoke("check", cert, "--network", net, "--property", prop)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "valid")
    done = invoke("check", cert, "--network", net, "--property", prop, "--json")
    assert json.loads(done.stdout)["result"] == "valid"
    prop.write_text(prop.read_text() + "; changed\n")
    done = invoke("check", cert, "--network", net, "--property", prop)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "invalid")
    assert "another property" in done.stdout


def test_the_proof_is_kept_when_nobody_reads_the_answer(files: tuple[Path, Path, Path]) -> None:
    net, prop, cert = files
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "repairsolver.cli.main", "verify", str(net), str(prop), "--quiet"]
    with open(writer, "w") as unread:
        subprocess.run(
            [*command, "--certificate", str(cert)], stdout=unread, stderr=subprocess.PIPE, check=False
        )
    assert rs.check(cert, network=net, property=prop).valid


def test_a_violation_has_no_certificate(files: tuple[Path, Path, Path]) -> None:
    net, prop, cert = files
    rs.save_property(below(rs.load_network(net), 100.0, np.zeros(2), np.ones(2)), prop)
    done = invoke("verify", net, prop, "--certificate", cert, "--quiet")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "sat")
    assert "nothing is proved" in done.stderr
    assert not cert.exists()


def test_a_proof_that_cannot_be_certified_is_said_plainly(files, monkeypatch: pytest.MonkeyPatch) -> None:
    net, prop, cert = files
    held = rs.Verdict(rs.VerifyStatus.HOLDS, methods=("attack", "linear bounds", "milp"))
    monkeypatch.setattr("repairsolver.verification.engine.verify_property", lambda *_, **__: held)
    done = invoke("verify", net, prop, "--certificate", cert)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (1, "unsat")
    assert "milp" in done.stderr
    assert not cert.exists()


def test_a_repair_comes_with_a_certificate(tmp_path: Path) -> None:
    net, prop = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"
    out, cert = tmp_path / "out.onnx", tmp_path / "out.cert"
    done = invoke(
        "repair", net, prop, "-o", out, "--decision", "min", "--certificate", cert, "--quiet", "--gap", 0.5
    )
    assert done.stdout.splitlines()[0] == "repaired"
    assert rs.check(cert, network=out, property=prop).valid
    assert not rs.check(cert, network=net, property=prop).valid


def test_a_repair_without_a_certificate_saves_none(tmp_path: Path) -> None:
    network = dense_network(0, [2, 3, 2])
    fix = rs.repair(network, below(network, -100.0, np.zeros(2), np.ones(2)))
    assert fix.verdict is not None
    fix = replace(fix, verdict=replace(fix.verdict, certificate=None))
    with pytest.raises(CertificateError, match="certificate=True"):
        fix.save(tmp_path / "n.onnx", certificate=tmp_path / "n.cert")
    assert list(tmp_path.iterdir()) == []


def test_points_do_not_belong_to_a_proof(tmp_path: Path) -> None:
    """Nobody should take a proof for one about the points that they gave."""
    network = dense_network(0, [1, 3, 1])
    prop = below(network, -100.0, np.zeros(1), np.ones(1))
    proof = rs.verify(network, prop, certificate=True).certificate
    assert proof is not None
    assert rs.check(proof, network=network, property=prop).valid
    with pytest.raises(CertificateError, match=r"this certificate is a proof: leave points \(--points\) out"):
        rs.check(proof, network=network, property=prop, points=tmp_path / "points.npz")
