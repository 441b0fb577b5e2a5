"""Cases that once went wrong."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_models import model

import repairsolver as rs
from repairsolver.errors import SolverError
from repairsolver.verification import exact

WEIGHT = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
BIAS = np.array([0.1, -0.2], np.float32)


def dense(*tail: str) -> rs.Network:
    names = [f"t{i}" for i in range(len(tail))] + ["y"]
    nodes = [helper.make_node("Gemm", ["x", "W", "b"], [names[0]])]
    nodes += [helper.make_node(op, [names[i]], [names[i + 1]]) for i, op in enumerate(tail)]
    return rs.load_network(model(nodes, (1, 2), {"W": WEIGHT, "b": BIAS}).SerializeToString())


def test_an_order_behind_a_softmax_is_repaired() -> None:
    """The attack with a margin asked for more than comparisons, which a softmax does not allow."""
    prop = rs.output_order([0, 0], [0.2, 0.2], 1, 0, 2)
    fix = rs.repair(dense("Softmax"), prop, limits=rs.Limits(seconds=60))
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    points = np.random.default_rng(0).uniform(0, 0.2, (1000, 2))
    found = rs.replay(fix.network, points)
    assert (found[:, 1] < found[:, 0]).all()


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_what_only_equality_meets_is_no_candidate(norm: str) -> None:
    """It once ended as unknown, praising a best candidate although there was none."""
    box = "".join(f"(assert (>= X_{i} 0))(assert (<= X_{i} 1))" for i in (0, 1))
    names = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in (0, 1))
    prop = rs.property.parse_property(f"{names}{box}(assert (or (<= Y_0 1) (>= Y_0 1)))")
    fix = rs.repair(dense(), prop, norm=norm, limits=rs.Limits(seconds=60))  # type: ignore[arg-type]
    assert fix.status is rs.RepairStatus.INFEASIBLE
    assert fix.network is None
    assert "equality, which is not enough" in fix.message


def test_entries_that_cost_nothing_in_linf_may_keep_decisions() -> None:
    """Left at zero, they once turned every third decision of the demo controller."""
    demo = files("repairsolver.demo")
    prop = rs.load_property(Path(str(demo / "head_on.vnnlib")))
    limits = rs.Limits(seconds=60)
    fix = rs.repair(
        Path(str(demo / "controller.onnx")), prop, norm="linf", decision="min", gap=0.1, limits=limits
    )
    assert fix.proved
    assert fix.fidelity is not None
    assert fix.fidelity.agreement is not None
    assert fix.fidelity.agreement.value > 0.99


@pytest.mark.parametrize(("norm", "size"), [("l2", 1e-4), ("l2", 1e4), ("l2", 1e8), ("l1", 1e8)])
def test_repairs_do_not_depend_on_the_size_of_inputs(norm: str, size: float) -> None:
    """HiGHS's quadratic solver failed, and the projection took no step where the change is tiny."""
    prop = rs.not_maximal([size, size], [1.5 * size, 2 * size], 1, 2)
    fix = rs.repair(dense(), prop, norm=norm, limits=rs.Limits(seconds=60))  # type: ignore[arg-type]
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    assert fix.cost is not None
    assert fix.lower_bound <= fix.cost
    points = np.random.default_rng(0).uniform([size, size], [1.5 * size, 2 * size], (1000, 2))
    found = rs.replay(fix.network, points)
    assert (found[:, 1] < found[:, 0]).all()


def test_a_solver_that_fails_leaves_a_box_unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error once ended the verification."""

    class Failing:
        def solve(self, *arguments: object, **options: object) -> object:
            raise SolverError("the solver failed")

    monkeypatch.setattr(exact, "get_solver", lambda name: Failing())
    known = {"t0": (np.array([-2.0, -1.0]), np.array([2.0, 3.0]))}
    rows = exact.Rows(np.array([[-1.0, 0.0]]), np.zeros((1, 2)), np.array([-1.0]))
    answer = exact.largest_violation(dense("Relu"), np.zeros(2), np.ones(2), rows, known, seconds=1)
    assert (answer.impossible, answer.point, answer.bound) == (False, None, -np.inf)
    assert answer.failure == "the solver failed"
