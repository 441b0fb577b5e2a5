"""Options of a repair that mean nothing without another one are refused, and heard with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import EditError
from repairsolver.repairing.combined import RULES, check_combined

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"
USUAL = {
    "method": "delta", "guarantee": "exact", "imitation": None, "place": "auto", "points": None, "keep": None,
    "keep_soft": None, "prefer": None, "prefer_soft": 0.1, "contradictory": "refuse", "epsilon": 1e-3,
    "eta": 1e-3, "min_agreement": 0.99, "margin": None, "gap": 0.01, "solver": "highs", "max_gates": None,
    "monitor": False,
}  # fmt: skip
POINTS = rs.PointSet(np.zeros((1, 4)))
PROVED = rs.Imitation(prove=True)
TUNED = rs.Imitation(variant="tune")

UNHEARD = (
    ({"keep_soft": 0.1}, {"keep": POINTS}),
    ({"prefer_soft": 0.2}, {"prefer": POINTS}),
    ({"contradictory": "drop"}, {"keep": POINTS}),
    ({"contradictory": "drop"}, {"points": POINTS}),
    ({"epsilon": 0.01}, {"guarantee": "pac"}),
    ({"eta": 0.01}, {"guarantee": "auto"}),
    ({"min_agreement": 0.5}, {"guarantee": "auto"}),
    ({"guarantee": "pac", "min_agreement": 0.5}, {"guarantee": "auto"}),
    ({"guarantee": "pac", "margin": 0.1}, {"guarantee": "exact"}),
    ({"method": "imitation", "margin": 0.1}, {"imitation": PROVED}),
    ({"method": "gate", "gap": 0.1}, {"method": "delta"}),
    ({"method": "imitation", "gap": 0.1}, {"imitation": PROVED}),
    ({"method": "imitation", "solver": "z3"}, {"imitation": TUNED}),
    ({"method": "gate", "place": "output", "max_gates": 2}, {"place": "inner"}),
    ({"guarantee": "pac", "place": "inner"}, {"guarantee": "exact"}),
    ({"guarantee": "pac", "max_gates": 2}, {"guarantee": "exact"}),
    ({"guarantee": "pac", "monitor": True}, {"guarantee": "exact"}),
    ({"guarantee": "pac", "imitation": PROVED}, {"guarantee": "exact"}),
)


@pytest.mark.parametrize(("given", "helps"), UNHEARD)
def test_wishes_without_effect(given: dict[str, object], helps: dict[str, object]) -> None:
    with pytest.raises(EditError, match=r"has no effect here: leave it out, or"):
        check_combined(USUAL | given)
    check_combined(USUAL | given | helps)


def test_every_rule_has_a_case() -> None:
    check_combined(USUAL)
    broken = {
        rule for rule in RULES for given, _ in UNHEARD if rule.name in given and not rule.heard(USUAL | given)
    }
    assert broken == set(RULES)


def test_the_defaults_are_those_of_repair() -> None:
    import inspect

    wishes = inspect.signature(rs.repair).parameters
    assert {name: wishes[name].default for name in USUAL} == USUAL


def test_a_price_without_points_in_python() -> None:
    with pytest.raises(EditError, match=r"keep_soft \(--keep-soft\) got 0.5, but has no effect here"):
        rs.repair(NET, PROP, keep_soft=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-soft", "0.5"], "keep_soft (--keep-soft) got 0.5"),
        (["--prefer-soft", "0.5"], "prefer_soft (--prefer-soft) got 0.5"),
        (["--drop-contradictory"], "contradictory (--drop-contradictory)"),
        (["--method", "gate", "--gap", "0.1"], "gap (--gap) got 0.1"),
        (["--method", "gate", "--place", "output", "--max-gates", "3"], "max_gates (--max-gates) got 3"),
        (["--method", "imitation", "--solver", "z3"], "solver (--solver) got 'z3'"),
        (["--guarantee", "pac", "--monitor"], "monitor (--monitor) got True"),
        (["--guarantee", "pac", "--margin", "0.1"], "margin (--margin) got 0.1"),
    ],
)
def test_on_the_command_line(options: list[str], message: str, tmp_path: Path) -> None:
    out = tmp_path / "fixed.onnx"
    done = CliRunner().invoke(app, ["repair", str(NET), str(PROP), "-o", str(out), "--quiet", *options])
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in " ".join(done.stderr.split())
    assert not out.exists()


@pytest.mark.parametrize(
    "make",
    [
        lambda: rs.Imitation(tuning=rs.Tuning(neurons=3)),
        lambda: rs.Imitation(variant="tune", retraining=rs.Retraining(wake=False)),
        lambda: rs.Tuning(alpha=0.3),
    ],
)
def test_options_of_another_variant(make: object) -> None:
    with pytest.raises(EditError, match="leave"):
        make()


def test_options_of_the_variant_are_taken() -> None:
    rs.Imitation(variant="tune", tuning=rs.Tuning(neurons=3, optimiser="swarm", alpha=0.3))
    gradient = rs.Tuning(optimiser="gradient")
    rs.Imitation(variant="tune", tuning=gradient, retraining=rs.Retraining(relabel="feature"))
