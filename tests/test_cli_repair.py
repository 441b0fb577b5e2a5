"""`repairsolver repair`: the word, the sentences, the files beside it, and what is never written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import SolverUnavailableError
from repairsolver.repairing.result import Delta, Repair, TensorChange

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib")
HOLDS = rs.Verdict(rs.VerifyStatus.HOLDS, methods=("input splitting",), boxes=12, best_bound=0.1)


def repaired() -> Repair:
    """The bundled network with half added to one bias."""
    net = rs.load_network(NET)
    layer = net.affine_layers[-1]
    source: Any = layer.operator
    old = source.bias.astype(np.float32)
    new = old.copy()
    new[0] += 0.5
    edit = Delta((TensorChange(source.bias_source.tensor, layer.layer, "bias", old, new),), net.sha256)
    box = rs.load_property(PROP).regions[0]
    kept = rs.fidelity(net, edit.apply(net), box.lower, box.upper, decision="min", samples=200)
    return Repair(
        status=rs.RepairStatus.REPAIRED,
        network=edit.apply(net),
        edit=edit,
        norm="l1",
        cost=0.5,
        lower_bound=0.4987,
        gap=0.0026,
        fidelity=kept,
        verdict=HOLDS,
        rounds=3,
        seconds=1.5,
        seed=0,
        solver="highs",
        message="proved",
    )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Repair]], dict[str, Any]]:
    """Replaces the repair engine; returns what it was called with."""

    def install(answer: Callable[[], Repair]) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def repair_property(network: rs.Network, prop: rs.Property, **options: Any) -> Repair:
            seen.update(options, network=network, prop=prop)
            return answer()

        module = ModuleType("repairsolver.repairing.engine")
        module.repair_property = repair_property  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "repairsolver.repairing.engine", module)
        return seen

    return install


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["repair", *arguments], catch_exceptions=False)


def test_a_repair_is_printed_and_written(engine: Any, tmp_path: Path) -> None:
    engine(repaired)
    out = tmp_path / "new" / "fixed.onnx"
    done = invoke(NET, PROP, "-o", str(out))
    lines = done.stdout.splitlines()
    assert (done.exit_code, lines[0], done.stderr) == (0, "repaired", "")
    assert "1 number changed, the l1 norm of the change is 0.5" in lines[1]
    assert "no repair of the same layer has less than 0.4987" in lines[1]
    assert lines[2] == f"  {repaired().edit.describe()}"  # type: ignore[union-attr]
    assert any("holds for every input" in line for line in lines)
    assert any("Same decision on" in line for line in lines)
    assert lines[-2:] == [f"Written: {out}", f"Written: {out.with_suffix('.delta.json')}"]
    assert rs.load_network(out).sha256 == repaired().network.sha256  # type: ignore[union-attr]


def test_the_change_beside_it_makes_the_same_network(engine: Any, tmp_path: Path) -> None:
    engine(repaired)
    invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"))
    original = rs.load_network(NET)
    edit = Delta.from_json((tmp_path / "fixed.delta.json").read_text(), original)
    assert edit.apply(original).sha256 == rs.load_network(tmp_path / "fixed.onnx").sha256


def test_json_has_the_change_and_the_files(engine: Any, tmp_path: Path) -> None:
    engine(repaired)
    done = invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"), "--json")
    record = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert record["result"] == "repaired"
    assert record["lower_bound"] == 0.4987
    assert record["repaired_sha256"] == rs.load_network(tmp_path / "fixed.onnx").sha256
    assert [len(t["entries"]) for t in record["edit"]["tensors"]] == [1]
    assert record["fidelity"]["agreement"]["total"] == 200
    assert record["verdict"]["status"] == "holds"
    assert record["files"] == [str(tmp_path / "fixed.onnx"), str(tmp_path / "fixed.delta.json")]
    assert (record["given_up"], record["dropped"]) == ([], [])


def test_json_names_the_regions_given_up_and_what_was_asked(engine: Any, tmp_path: Path) -> None:
    engine(lambda: replace(repaired(), status=rs.RepairStatus.UNKNOWN, given_up=(4, 7)))
    np.savez(tmp_path / "keep.npz", inputs=np.zeros((1, 4)))
    wishes = ["--give-up", "2", "--drop-contradictory", "--keep", str(tmp_path / "keep.npz")]
    done = invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"), "--json", *wishes)
    record = json.loads(done.stdout)
    assert record["given_up"] == [4, 7]
    assert record["asked"]["give_up"] == 2
    assert record["asked"]["contradictory"] == "drop"


@pytest.mark.parametrize(("status", "code"), [("unknown", 0), ("timeout", 124)])
def test_an_unproved_candidate_is_written_as_such(
    engine: Any, tmp_path: Path, status: str, code: int
) -> None:
    engine(lambda: replace(repaired(), status=rs.RepairStatus(status), message="3 rounds were not enough"))
    done = invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"))
    assert done.exit_code == code
    assert done.stdout.splitlines()[0] == status
    assert "3 rounds were not enough" in done.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"fixed.unproved.onnx", "fixed.unproved.delta.json"}
    assert done.stdout.splitlines()[-1] == f"Written: {tmp_path / 'fixed.unproved.delta.json'} (not proved)"
    wanted = repaired().network
    assert wanted is not None
    assert rs.load_network(tmp_path / "fixed.unproved.onnx").sha256 == wanted.sha256


def test_infeasible_is_an_answer(engine: Any, tmp_path: Path) -> None:
    nothing = {"network": None, "edit": None, "cost": None, "verdict": None, "fidelity": None}
    engine(lambda: replace(repaired(), status=rs.RepairStatus.INFEASIBLE, message="no weights do", **nothing))
    done = invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"))
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "infeasible")
    assert list(tmp_path.iterdir()) == []
    assert done.stdout.splitlines()[-1].startswith("What may help: another layer (--layers auto, or all)")


def test_a_price_of_lost_points_is_told_apart_from_the_norm(engine: Any, tmp_path: Path) -> None:
    engine(lambda: replace(repaired(), cost=0.75))
    done = invoke(NET, PROP, "-o", str(tmp_path / "fixed.onnx"))
    assert "norm of the change is 0.5, with the price of lost points or factors it is 0.75;" in done.stdout
    assert "l1 cost 0.75;" in repr(replace(repaired(), cost=0.75))
    assert "l1 norm 0.5;" in repr(repaired())


def test_options_reach_the_engine(engine: Any, tmp_path: Path) -> None:
    seen = engine(repaired)
    keep = tmp_path / "keep.csv"
    keep.write_text("0,0,0,0,1\n0.5,0,0,0,2\n")
    options = [
        "--norm",
        "linf",
        "--gap",
        "0.1",
        "--solver",
        "z3",
        "--decision",
        "min",
        "--timeout",
        "9",
        "--seed",
        "4",
        "--layers",
        "layer5",
    ]
    done = invoke(NET, PROP, "-o", str(tmp_path / "f.onnx"), "--keep", str(keep), *options)
    assert done.exit_code == 0
    assert (seen["norm"], seen["gap"], seen["solver"], seen["decision"]) == ("linf", 0.1, "z3", "min")
    assert (seen["limits"], seen["seed"], seen["layers"]) == (rs.Limits(seconds=9.0), 4, "layer5")
    assert (seen["method"], seen["points"]) == ("delta", None)
    assert seen["keep"].labels.tolist() == [1, 2]


def test_what_may_change_reaches_the_engine(engine: Any, tmp_path: Path) -> None:
    seen = engine(repaired)
    out, edit = tmp_path / "f.onnx", tmp_path / "change.npz"
    options = ["--parameters", "weights", "--neurons", "3,7", "--entries", "W[1,2]", "--edit", str(edit)]
    done = invoke(NET, PROP, "-o", str(out), *options)
    assert (seen["parameters"], seen["neurons"], seen["mask"]) == ("weights", [3, 7], {"W": [(1, 2)]})
    assert done.stdout.splitlines()[-1] == f"Written: {edit}"
    assert not out.with_suffix(".delta.json").exists()
    assert rs.apply_edit(rs.load_network(NET), edit).sha256 == rs.load_network(out).sha256


def test_a_missing_solver_exits_with_1(engine: Any, tmp_path: Path) -> None:
    def missing() -> Repair:
        raise SolverUnavailableError("unknown solver 'cplex'")

    engine(missing)
    done = invoke(NET, PROP, "-o", str(tmp_path / "f.onnx"), "--solver", "cplex")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: unknown solver 'cplex'\n"


@pytest.mark.parametrize(
    "arguments", [(NET, PROP), (NET, PROP, "-o", "x.onnx", "--norm", "l7"), (NET, "-o", "x.onnx")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
