"""Repairs that cannot be, on the command line: what is wrong, where, and what would do."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from delta_networks import dense_network
from test_delta_objective import labelled
from typer.testing import CliRunner, Result

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import SolverError
from repairsolver.property.specification import Property
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta import exact
from repairsolver.verification import engine

DEMO = Path(rs.__file__).parent / "demo"
NOWHERE = Property((), 2, 3)


def repair(tmp_path: Path, *arguments: str) -> Result:
    out = str(tmp_path / "out.onnx")
    command = ["repair", str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib"), "-o", out, "--quiet"]
    return CliRunner().invoke(app, [*command, *arguments], catch_exceptions=False)


def points(tmp_path: Path, inputs: list[list[float]], labels: list[int]) -> str:
    file = tmp_path / "points.npz"
    np.savez(file, inputs=np.array(inputs, dtype=np.float32), labels=np.array(labels))
    return str(file)


INSIDE = [0.0, 0.0, 0.0, -0.75]


def test_contradictory_points_are_named(tmp_path: Path) -> None:
    done = repair(tmp_path, "--points", points(tmp_path, [INSIDE, INSIDE], [0, 1]))
    assert done.exit_code == 1
    assert "different labels" in done.stderr
    assert "points.npz[0] (label 0) and " in done.stderr
    assert "points.npz[1] (label 1)" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_label_out_of_range_is_named(tmp_path: Path) -> None:
    done = repair(tmp_path, "--points", points(tmp_path, [INSIDE], [7]))
    assert done.exit_code == 1
    assert "largest label is 7" in done.stderr
    assert "outputs 0 to 4" in done.stderr


def test_points_beyond_the_element_type_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "huge.npz"
    np.savez(file, inputs=np.array([[1e39, 0.0, 0.0, 0.0]]), labels=np.array([0]))
    done = repair(tmp_path, "--points", str(file))
    assert done.exit_code == 1
    assert "beyond 3.403e+38" in done.stderr


def test_points_without_labels_must_lie_in_a_region(tmp_path: Path) -> None:
    file = tmp_path / "outside.npz"
    np.savez(file, inputs=np.array([INSIDE, [100.0, 0.0, 0.0, 0.0]]))
    done = repair(tmp_path, "--points", str(file))
    assert done.exit_code == 1
    assert "points [1] lie in no region of head_on" in done.stderr
    assert "give labels, or leave them out" in done.stderr


def test_labelled_points_outside_are_remarked_on(tmp_path: Path) -> None:
    net = rs.load_network(DEMO / "controller.onnx")
    prop = rs.load_property(DEMO / "head_on.vnnlib", network=net)
    far = rs.PointSet(np.array([INSIDE, [100.0, 0.0, 0.0, 0.0]]), np.array([0, 0]), name="far")
    fix = rs.repair(net, prop, points=far, decision="min", limits=rs.Limits(seconds=3))
    (remark,) = fix.remarks
    assert "1 of 2 points to repair, the first of them far[1], lie in no region of head_on" in remark


def test_points_to_keep_that_have_another_label_are_remarked_on() -> None:
    """As with test data: a repair has to make them right, which keeps nothing."""
    net = rs.load_network(DEMO / "controller.onnx")
    prop = rs.load_property(DEMO / "head_on.vnnlib", network=net)
    inputs = np.array([[0.9, 0.0, 0.0, 0.0], [-0.9, 0.3, 0.1, 0.2]])
    labels = net(inputs).argmin(axis=1)
    right = rs.PointSet(inputs, labels, name="data")
    wrong = rs.PointSet(inputs, np.array([labels[0], (labels[1] + 1) % 5]), name="data")
    limits = rs.Limits(seconds=3)
    (remark,) = rs.repair(net, prop, keep=wrong, decision="min", limits=limits).remarks
    assert remark.startswith("1 of 2 points to keep, the first of them data[1], have another label than the")
    assert not rs.repair(net, prop, keep=right, decision="min", limits=limits).remarks


def test_a_layer_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    done = repair(tmp_path, "--layers", "nosuch")
    assert done.exit_code == 1
    assert "no layer 'nosuch'" in done.stderr
    empty = repair(tmp_path, "--layers", "")  # such as a variable of the shell that is not set
    assert empty.exit_code == 1
    assert "there is no layer '' with weights" in empty.stderr
    assert all(f"'layer{k}'" in done.stderr for k in range(1, 6))


@pytest.mark.parametrize(
    ("norm", "solver", "able"), [("l2", "z3", "gurobi, projection"), ("l0", "projection", "gurobi, pulp, z3")]
)
def test_a_solver_that_cannot_do_the_norm_names_those_that_can(
    tmp_path: Path, norm: str, solver: str, able: str
) -> None:
    done = repair(tmp_path, "--norm", norm, "--solver", solver)
    assert done.exit_code == 1
    assert f"solver '{solver}' cannot minimise the norm '{norm}'; solvers that can: highs" in done.stderr
    assert able in done.stderr


def test_a_limit_before_any_proof_saves_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proofs that all take too long: the candidates are there, and none is called a repair."""

    def late(*given: object, limits: rs.Limits, **options: object) -> rs.Verdict:
        time.sleep(limits.seconds or 0.0)
        return rs.Verdict(rs.VerifyStatus.TIMEOUT, methods=("attack",))

    monkeypatch.setattr(engine, "verify_property", late)
    done = repair(tmp_path, "--timeout", "5")
    lines = done.stdout.splitlines()
    assert (done.exit_code, lines[0]) == (124, "timeout")
    written = tmp_path / "out.unproved.onnx"
    if not written.exists():
        pytest.skip("the machine was too busy for one candidate in 4 s")
    assert f"Written: {written} (not proved)" in lines
    assert not (tmp_path / "out.onnx").exists()
    assert rs.load_network(written).sha256 != rs.load_network(DEMO / "controller.onnx").sha256


def test_pulp_says_that_it_gives_no_bound() -> None:
    network = dense_network(0, (2, 4, 3))
    fix = repair_property(
        network, NOWHERE, points=labelled(network, 2), solver="pulp", limits=rs.Limits(seconds=20)
    )
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.lower_bound == 0
    assert "no lower bound is known (solver 'pulp' gives none)" in fix.message


@pytest.mark.parametrize("norm", ["l1", "linf", "l0"])
def test_exact_rationals_confirm_the_optimum(norm: str) -> None:
    """z3's bound, without any tolerance, and HiGHS's cost agree on a small layer."""
    network = dense_network(1, (2, 3, 3))
    common = {"points": labelled(network, 2), "norm": norm, "limits": rs.Limits(seconds=30)}
    given, exactly = (repair_property(network, NOWHERE, solver=s, **common) for s in ("highs", "z3"))
    assert exactly.lower_bound > 0
    assert given.lower_bound == pytest.approx(exactly.lower_bound, rel=1e-5)
    assert given.cost == pytest.approx(exactly.cost, rel=1e-2)


def test_a_solver_that_fails_on_a_hidden_layer_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, name: str, watch: object) -> None:
            self.name = name

        def solve(self, *asked: object, **options: object) -> object:
            raise SolverError(f"{self.name} ended with status Unknown")

    monkeypatch.setattr(exact, "session", Failing)
    network = dense_network(0, (2, 6, 3))
    heard: list[str] = []
    fix = repair_property(
        network, NOWHERE, layers="layer0", norm="l1", points=labelled(network, 1),
        limits=rs.Limits(seconds=20), on_event=lambda event: heard.append(event.message),
    )  # fmt: skip
    assert fix.lower_bound == 0
    assert any("lower bound failed: highs ended with status Unknown" in message for message in heard)
    if fix.status is rs.RepairStatus.REPAIRED:
        assert "highs ended with status Unknown" in fix.message
