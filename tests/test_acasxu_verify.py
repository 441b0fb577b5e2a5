"""The benchmark `acasxu_verify` on a folder that looks like ACAS Xu but holds the demo's network."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from benchmarks.acasxu_verify import __main__ as benchmark
from benchmarks.acasxu_verify.instances import Instance, load_instances
from benchmarks.acasxu_verify.summary import is_wrong, summarise

NETWORK = "ACASXU_run2a_{}_batch_2000.onnx"
SAFE = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)(declare-const X_3 Real)
(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)(declare-const Y_3 Real)
(declare-const Y_4 Real)
(assert (and (>= X_0 0) (<= X_0 0.01) (>= X_1 0) (<= X_1 0.01) (>= X_2 0) (<= X_2 0.01)))
(assert (>= X_3 0))(assert (<= X_3 0.01))(assert (>= Y_0 100))
"""


def data(folder: Path, expected: str) -> Path:
    """Two instances: the demo's violated property, and one that holds."""
    family = folder / "acasxu"
    for name in ("onnx", "vnnlib"):
        (family / name).mkdir(parents=True)
    demo = files("repairsolver.demo")
    for network in ("1_1", "2_9"):
        shutil.copy(str(demo / "controller.onnx"), family / "onnx" / NETWORK.format(network))
    shutil.copy(str(demo / "head_on.vnnlib"), family / "vnnlib" / "prop_8.vnnlib")
    (family / "vnnlib" / "prop_1.vnnlib").write_text(SAFE)
    rows = [
        (NETWORK.format("1_1"), "prop_1.vnnlib", "holds"),
        (NETWORK.format("2_9"), "prop_8.vnnlib", expected),
    ]
    (family / "acasxu_instances.csv").write_text("".join(f"{n},{p},116\n" for n, p, _ in rows))
    known = "".join(f"{n},{p},116,{verdict},9,0\n" for n, p, verdict in rows)
    header = "onnx,vnnlib,timeout_s,status,tools_holds,tools_violated\n"
    (family / "acasxu_ground_truth.csv").write_text(header + known)
    return folder


def run(monkeypatch, folder: Path, *arguments: str) -> list[dict[str, str]]:
    monkeypatch.setenv("REPAIRSOLVER_DATA", str(folder))
    monkeypatch.setenv("REPAIRSOLVER_THREADS", "1")
    out = folder / "results" / "run.csv"
    monkeypatch.setattr(sys, "argv", ["acasxu_verify", "--out", str(out), *arguments])
    benchmark.main()
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_summary(monkeypatch, tmp_path):
    rows = run(monkeypatch, data(tmp_path, "violated"))
    assert [(row["verdict"], row["expected"]) for row in rows] == [("holds",) * 2, ("violated",) * 2]
    assert all(float(row["total_seconds"]) >= float(row["seconds"]) > 0 for row in rows)
    summary = json.loads((tmp_path / "results" / "run.json").read_text())
    assert (summary["instances"], summary["decided"], summary["wrong"]) == (2, 2, [])
    assert "| prop_8 | 1 | 1 |" in (tmp_path / "results" / "run.md").read_text()


def test_resume_keeps_rows_and_only_selects(monkeypatch, tmp_path):
    folder = data(tmp_path, "violated")
    first = run(monkeypatch, folder, "--only", "N2,9 prop_8")
    assert [row["property"] for row in first] == ["prop_8.vnnlib"]
    both = run(monkeypatch, folder, "--resume")
    assert both[0] == first[0]
    assert [row["property"] for row in both] == ["prop_8.vnnlib", "prop_1.vnnlib"]


def test_wrong_verdict_stops_the_run(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, data(tmp_path, "holds"))
    assert stopped.value.code == benchmark.WRONG_VERDICT
    assert "WRONG VERDICT: N2,9 prop_8 is known to be holds, got violated" in capsys.readouterr().err
    assert not (tmp_path / "results" / "run.json").exists()


def test_nothing_selected(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="no instance matches"):
        run(monkeypatch, data(tmp_path, "violated"), "--only", "N9,9")


def test_undecided_is_neither_wrong_nor_decided():
    row = dict.fromkeys(("timeout", "jobs", "threads", "machine", "versions", "date"), "any") | {
        "network": NETWORK.format("1_1"),
        "property": "prop_1.vnnlib",
        "expected": "holds",
        "verdict": "timeout",
        "seconds": "2.5",
        "total_seconds": "3",
    }
    assert not is_wrong(row)
    summary = summarise([row])
    assert summary["decided"] == 0
    assert summary["undecided"] == ["ACASXU_run2a_1_1_batch_2000 prop_1"]


@pytest.mark.data
def test_the_list_has_186_instances_with_known_verdicts(acasxu):
    instances = load_instances(acasxu)
    assert len(instances) == 186
    assert sum(instance.expected == "violated" for instance in instances) == 47
    assert Instance(NETWORK.format("2_9"), "prop_8.vnnlib", "violated") in instances


@pytest.fixture
def acasxu() -> Path:
    root = os.environ.get("REPAIRSOLVER_DATA")
    if not root:
        pytest.skip("REPAIRSOLVER_DATA is not set: the benchmark data folder is needed")
    return Path(root) / "acasxu"
