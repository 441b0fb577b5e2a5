"""Points that contradict others: left out one at a time, reported, and nothing else given up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_delta_core import crowded
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import EditError
from repairsolver.network import Network, replay
from repairsolver.property import PointSet
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing import Repair, repair_property
from repairsolver.results import Limits, RepairStatus

LIMITS = Limits(seconds=60.0)


def nothing(network: Network) -> Property:
    """A property that no change of reasonable size breaks."""
    n, m = network.input_size, network.output_size
    never = Conjunction(np.eye(m)[:1], np.zeros((1, n)), np.array([-1e6]))
    return Property((Region(-np.ones(n), np.ones(n), (never,)),), n, m, name="nothing")


def dropped(fix: Repair, source: str) -> set[int]:
    return {d.index for d in fix.dropped if d.source == source and d.index is not None}


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_others_are_met_and_every_drop_is_told(seed: int) -> None:
    network, points = crowded(seed)
    refused = repair_property(network, nothing(network), points=points, limits=LIMITS)
    assert refused.status is RepairStatus.INFEASIBLE
    assert refused.dropped == ()
    fix = repair_property(network, nothing(network), points=points, limits=LIMITS, contradictory="drop")
    assert fix.status is RepairStatus.REPAIRED
    assert fix.network is not None
    assert points.labels is not None
    gone = dropped(fix, "points")
    assert 0 < len(gone) == len(fix.dropped) < len(points)
    left = [k for k in range(len(points)) if k not in gone]
    answers = replay(fix.network, points.inputs).argmax(axis=1)
    np.testing.assert_array_equal(answers[left], points.labels[left])
    for demand, remark in zip(fix.dropped, fix.remarks, strict=False):
        assert demand.index is not None
        np.testing.assert_array_equal(demand.input, points.inputs[demand.index])
        assert demand.label == points.labels[demand.index]
        assert remark.startswith(f"Dropped points[{demand.index}], as it contradicts others: ")
    # What was left out first was in an irreducible contradiction, among the points given.
    assert refused.core is not None
    assert fix.dropped[0].index in {demand.index for demand in refused.core.demands}


def test_points_to_keep_go_first() -> None:
    network, points = crowded(0)
    assert points.labels is not None
    half = len(points) // 2
    first, second = (
        PointSet(points.inputs[some], points.labels[some]) for some in (slice(half), slice(half, None))
    )
    alone = repair_property(network, nothing(network), points=first, limits=LIMITS)
    fix = repair_property(
        network, nothing(network), points=first, keep=second, limits=LIMITS, contradictory="drop"
    )
    assert fix.status is RepairStatus.REPAIRED
    assert dropped(fix, "keep")
    if alone.status is RepairStatus.REPAIRED:
        assert not dropped(fix, "points")


def test_the_property_is_never_weakened() -> None:
    network, points = crowded(0)
    rows = np.array([[1.0, -1.0, 0.0]])
    both = tuple(Conjunction(sign * rows, np.zeros((1, 2)), np.array([1.0])) for sign in (1.0, -1.0))
    prop = Property((Region(-np.ones(2), np.ones(2), both),), 2, 3)
    fix = repair_property(network, prop, keep=points, limits=LIMITS, contradictory="drop")
    assert fix.status is RepairStatus.INFEASIBLE
    assert fix.network is None


def test_misuse_is_refused() -> None:
    network, points = crowded(0)
    with pytest.raises(EditError, match="unknown contradictory 'ignore': choose one of refuse, drop"):
        repair_property(network, nothing(network), points=points, contradictory="ignore")
    with pytest.raises(EditError, match="method 'gate' looks for no contradictions"):
        repair_property(network, nothing(network), method="gate", contradictory="drop")
    with pytest.raises(EditError, match="takes the exact guarantee"):
        rs.repair(network, nothing(network), guarantee="pac", contradictory="drop")


def test_command_line_says_what_was_dropped(tmp_path: Path) -> None:
    network, points = crowded(2)
    rs.save_network(network, tmp_path / "net.onnx")
    np.savez(tmp_path / "points.npz", inputs=points.inputs, labels=points.labels)
    (tmp_path / "nothing.vnnlib").write_text(rs.property.write_property(nothing(network)), encoding="utf-8")
    command = [
        "repair", str(tmp_path / "net.onnx"), str(tmp_path / "nothing.vnnlib"),
        "-o", str(tmp_path / "fixed.onnx"), "--points", str(tmp_path / "points.npz"),
    ]  # fmt: skip
    refused = CliRunner().invoke(app, command)
    assert "infeasible" in refused.output
    done = CliRunner().invoke(app, [*command, "--drop-contradictory"])
    assert "Dropped points[" in done.output
    assert (tmp_path / "fixed.onnx").exists()
