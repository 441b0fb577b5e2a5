"""Gates by the command line: repaired again, files of other tools, old operators, convolutions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnx_models import model
from test_gate_repair import run, violated_sometimes
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.network import load_network


def repair(network: Path, prop: Path, out: Path, *more: object) -> str:
    return run("repair", network, prop, "-o", out, "--method", "gate", "--timeout", 60, "--quiet", *more)


def test_a_gated_file_is_repaired_again_and_keeps_what_held(tmp_path: Path) -> None:
    network, first = violated_sometimes(2)
    points = np.random.default_rng(3).uniform(-1, 0, (2000, 2))
    label = int(np.bincount(network(points).argmax(axis=1), minlength=3).argmax())
    rs.save_network(network, tmp_path / "net.onnx")
    rs.save_property(first, tmp_path / "first.vnnlib")
    rs.save_property(rs.not_maximal([-1, -1], [-0.5, 0], label, 3), tmp_path / "second.vnnlib")
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    repair(tmp_path / "net.onnx", tmp_path / "first.vnnlib", once, "--place", "output")
    said = run("repair", once, tmp_path / "first.vnnlib", tmp_path / "second.vnnlib", "-o", twice,
               "--method", "gate", "--timeout", 60, "--quiet")  # fmt: skip
    assert said.startswith("repaired")
    for name in ("first", "second"):
        assert run("verify", twice, tmp_path / f"{name}.vnnlib", "--quiet").startswith("unsat")
    run("gates", twice, "--remove", "-o", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == network.model


def test_a_gated_file_that_another_tool_edited_is_an_ordinary_network(tmp_path: Path) -> None:
    network, prop = violated_sometimes(1)
    rs.save_network(network, tmp_path / "net.onnx")
    rs.save_property(prop, tmp_path / "prop.vnnlib")
    gated = tmp_path / "gated.onnx"
    repair(tmp_path / "net.onnx", tmp_path / "prop.vnnlib", gated, "--place", "output")
    content = onnx.load(gated)
    content.producer_name = "another tool"
    content.graph.doc_string = "edited"
    edited = tmp_path / "edited.onnx"
    onnx.save(content, edited)
    assert run("gates", edited).startswith("unrecognised")
    assert run("verify", edited, tmp_path / "prop.vnnlib", "--quiet").startswith("unsat")
    result = CliRunner().invoke(app, ["gates", str(edited), "--remove", "-o", str(tmp_path / "x.onnx")])
    assert result.exit_code == 1
    assert "another tool" in " ".join((result.output + (result.stderr or "")).split())


def test_a_file_with_old_operators_is_raised_and_goes_back(tmp_path: Path) -> None:
    network, prop = violated_sometimes(1)
    old = onnx.load_from_string(network.model)
    old.opset_import[0].version = 9
    (tmp_path / "old.onnx").write_bytes(old.SerializeToString())
    rs.save_property(prop, tmp_path / "prop.vnnlib")
    gated = tmp_path / "gated.onnx"
    repair(tmp_path / "old.onnx", tmp_path / "prop.vnnlib", gated, "--place", "output")
    assert onnx.load(gated).opset_import[0].version >= 13
    run("gates", gated, "--remove", "-o", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == (tmp_path / "old.onnx").read_bytes()


def test_gates_of_a_convolution_are_listed_with_how_often_they_are_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["h"]),
        helper.make_node("Flatten", ["h"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "v"], ["y"]),
    ]
    stored = {"k": rng.normal(size=(2, 1, 2, 2)), "b": rng.normal(size=2)}
    stored |= {"w": rng.normal(size=(8, 3)), "v": np.zeros(3)}
    data = model(nodes, ["N", 1, 3, 3], {k: v.astype(np.float32) for k, v in stored.items()})
    (tmp_path / "net.onnx").write_bytes(data.SerializeToString())
    network = load_network(tmp_path / "net.onnx")
    upper = np.concatenate([[0.75, 0.75], np.full(7, 0.5)])
    points = rng.uniform(np.full(9, 0.5), upper, (200, 9))
    label = int(np.bincount(network(points).argmax(axis=1), minlength=3).argmax())
    rs.save_property(rs.not_maximal(np.full(9, 0.5), upper, label, 3), tmp_path / "prop.vnnlib")
    gated = tmp_path / "gated.onnx"
    said = repair(tmp_path / "net.onnx", tmp_path / "prop.vnnlib", gated, "--place", "inner")
    assert said.startswith("repaired")
    np.savez(tmp_path / "points.npz", inputs=np.vstack([points, points - 5]))
    record = json.loads(run("gates", gated, "--json", "--data", tmp_path / "points.npz"))
    assert 0 < sum(gate["on"] for gate in record["gates"]) <= 0.5
    run("gates", gated, "--remove", "-o", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
