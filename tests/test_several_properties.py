"""Several properties at once: the union is what is repaired, and each holds in the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from delta_networks import dense_network
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import PropertyError
from repairsolver.property import load_property, parse_property, save_property, write_property
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing.several import united

NETWORK = dense_network(0, (2, 6, 3))
POINTS = np.random.default_rng(0).uniform(-2, 2, (3000, 2)).astype(np.float32).astype(np.float64)


def output_below(output: int, share: float, low: float, high: float) -> Property:
    """Output `output` must stay below a share of what it reaches in the box."""
    lower, upper = np.full(2, low), np.full(2, high)
    inside = POINTS[((lower <= POINTS) & (upper >= POINTS)).all(axis=1)]
    reached = NETWORK(inside)[:, output].max()
    row = -np.eye(3)[output : output + 1]
    unsafe = Conjunction(row, np.zeros((1, 2)), np.array([-(reached - (1 - share) * abs(reached))]))
    prop = Property((Region(lower, upper, (unsafe,)),), 2, 3, name=f"output {output}")
    return replace(prop, text=write_property(prop))


FIRST, SECOND = output_below(0, 0.9, -1.0, 0.0), output_below(1, 0.95, 0.0, 1.0)


def test_the_union_is_violated_where_one_is() -> None:
    both = united([FIRST, SECOND])
    outputs = NETWORK(POINTS)
    expected = np.maximum(FIRST.violation(POINTS, outputs), SECOND.violation(POINTS, outputs))
    np.testing.assert_array_equal(both.violation(POINTS, outputs), expected)
    read = parse_property(both.text)
    np.testing.assert_array_equal(read.violation(POINTS, outputs), expected)
    assert both.name == "output 0 and output 1"


def test_one_property_is_itself_and_none_is_refused() -> None:
    assert united([FIRST]) is FIRST
    with pytest.raises(PropertyError, match="no property is given"):
        rs.repair(NETWORK, [])
    other = Property((), 2, 4, name="other")
    with pytest.raises(PropertyError, match=r"output 0: 2 -> 3, other: 2 -> 4"):
        united([FIRST, other])


def test_both_hold_in_the_end_each_with_its_certificate() -> None:
    assert (FIRST.violation(POINTS, NETWORK(POINTS)) > 0).any()
    assert (SECOND.violation(POINTS, NETWORK(POINTS)) > 0).any()
    fix = rs.repair(NETWORK, [FIRST, SECOND], gap=0.2, certificate=True, limits=rs.Limits(seconds=60))
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    assert len(fix.verdicts) == 2
    for prop, verdict in zip((FIRST, SECOND), fix.verdicts, strict=True):
        assert rs.verify(fix.network, prop).status is rs.VerifyStatus.HOLDS
        assert verdict.certificate is not None
        assert verdict.certificate.property == prop.sha256
        assert (prop.violation(POINTS, fix.network(POINTS)) < 0).all()


def test_on_the_command_line_with_a_certificate_for_each(tmp_path: Path) -> None:
    rs.save_network(NETWORK, tmp_path / "net.onnx")
    paths = []
    for index, prop in enumerate((FIRST, SECOND)):
        save_property(prop, tmp_path / f"p{index}.vnnlib")
        paths.append(str(tmp_path / f"p{index}.vnnlib"))
    out, cert = tmp_path / "fixed.onnx", tmp_path / "proof.cert"
    arguments = ["repair", str(tmp_path / "net.onnx"), *paths, "-o", str(out), "--gap", "0.3", "--quiet"]
    result = CliRunner().invoke(
        app, [*arguments, "--certificate", str(cert), "--max-change", "500%", "--timeout", "60"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("repaired\n")
    for index, path in enumerate(paths, 1):
        assert rs.verify(out, path).status is rs.VerifyStatus.HOLDS
        proof = CliRunner().invoke(
            app, ["check", str(tmp_path / f"proof.{index}.cert"), "--network", str(out), "--property", path]
        )
        assert proof.stdout.startswith("valid"), proof.output
    assert load_property(paths[0]).sha256 != load_property(paths[1]).sha256


def test_contradictory_properties_are_told_on_the_command_line(tmp_path: Path) -> None:
    """One file says that output 0 must beat output 1 in the box, the other the opposite."""
    rs.save_network(NETWORK, tmp_path / "net.onnx")
    paths = []
    for index, sign in enumerate((1.0, -1.0)):
        order = Conjunction(np.array([[sign, -sign, 0.0]]), np.zeros((1, 2)), np.zeros(1))
        prop = Property((Region(-np.ones(2), np.ones(2), (order,)),), 2, 3, name=f"order {index}")
        save_property(prop, tmp_path / f"p{index}.vnnlib")
        paths.append(str(tmp_path / f"p{index}.vnnlib"))
    arguments = ["repair", str(tmp_path / "net.onnx"), *paths, "-o", str(tmp_path / "out.onnx"), "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.stdout.startswith("infeasible\n")
    assert "region 1 and region 2 meet in an input that no output is right for" in result.stdout
    assert "must not violate region 1, conjunction 1 of the property." in result.stdout
    assert not (tmp_path / "out.onnx").exists()
    record = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert record["core"]["ties"]
    assert len(record["core"]["demands"]) == len(record["properties"]) == 2


def test_soft_points_and_behaviour_on_the_command_line(tmp_path: Path) -> None:
    rs.save_network(NETWORK, tmp_path / "net.onnx")
    save_property(FIRST, tmp_path / "p.vnnlib")
    np.savez(tmp_path / "keep.npz", inputs=POINTS[:50])
    arguments = [
        "repair",
        str(tmp_path / "net.onnx"),
        str(tmp_path / "p.vnnlib"),
        "-o",
        str(tmp_path / "o.onnx"),
    ]
    options = ["--keep", str(tmp_path / "keep.npz"), "--keep-soft", "0.01", "--minimise", "behaviour"]
    result = CliRunner().invoke(app, [*arguments, *options, "--gap", "0.3", "--timeout", "60", "--quiet"])
    assert result.stdout.startswith("repaired\n"), result.output
    assert "the mean change of margins to the decision is" in result.stdout
    assert "Points to keep that were right and are wrong now" in result.stdout
    refused = CliRunner().invoke(app, [*arguments, "--max-change", "-1", "--quiet"])
    assert refused.exit_code == 1
    assert "max_change must be at least 0" in refused.output
