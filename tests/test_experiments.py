"""Sweeps: lists, rows, files, and going on after every kind of end."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import ExperimentError
from repairsolver.executors.task import Outcome, Task, perform
from repairsolver.experiments import folder as folders
from repairsolver.experiments.instances import read_instances
from repairsolver.experiments.options import MODES
from repairsolver.report.subject import load_subject

DEMO = Path(rs.__file__).parent / "demo"
SAFE = """(declare-const X_0 Real) (declare-const X_1 Real) (declare-const X_2 Real) (declare-const X_3 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real) (declare-const Y_2 Real) (declare-const Y_3 Real)
(declare-const Y_4 Real)
(assert (>= X_0 0)) (assert (<= X_0 0.1)) (assert (>= X_1 0)) (assert (<= X_1 0.1))
(assert (>= X_2 0)) (assert (<= X_2 0.1)) (assert (>= X_3 0)) (assert (<= X_3 0.1))
(assert (>= Y_0 1000))
"""


class Here:
    """An executor without processes, that notes what it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        for task in tasks:
            self.ran.append(task.name)
            yield task, Outcome(**perform(task), cpu_seconds=0.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as VNN-COMP has them: a list beside `onnx` and `vnnlib`."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "vnnlib").mkdir()
    shutil.copy(DEMO / "controller.onnx", tmp_path / "onnx")
    shutil.copy(DEMO / "head_on.vnnlib", tmp_path / "vnnlib")
    (tmp_path / "vnnlib" / "safe.vnnlib.gz").write_bytes(gzip.compress(SAFE.encode()))
    (tmp_path / "instances.csv").write_text(
        "onnx/controller.onnx,vnnlib/head_on.vnnlib,30\ncontroller.onnx,safe.vnnlib,20.5\n"
    )
    return tmp_path


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)


def test_a_list_is_verified_and_everything_kept(root: Path) -> None:
    said = []
    out = root / "out"
    made = rs.sweep(root / "instances.csv", out, executor=Here(), on_row=lambda *of: said.append(of[1:]))
    assert said == [(1, 2), (2, 2)]
    rows = rows_of(out)
    assert [row["result"] for row in rows] == ["sat", "unsat"] == [i.status for i in made.sweep.instances]
    assert [row["timeout"] for row in rows] == ["30.0", "20.5"]
    assert float(rows[0]["margin"]) < 0 < float(rows[1]["margin"])
    assert rows[0]["cpu_seconds"] == "0.5"
    net = rs.load_network(DEMO / "controller.onnx")
    violated, proved = (out / "instances" / row["folder"] for row in rows)
    point = load_subject(violated).counterexamples[0].input
    prop = rs.load_property(DEMO / "head_on.vnnlib")
    assert prop.violation(point[None], rs.replay(net, point[None]))[0] > 0
    assert (violated / "counterexample.txt").read_text().startswith("((X_0")
    safe = root / "vnnlib" / "safe.vnnlib.gz"
    assert rs.check(proved / "certificate.cert", network=net, property=safe).valid
    assert not load_subject(proved).missing
    run = json.loads((out / "run.json").read_text())
    assert run["versions"]["numpy"] == np.__version__
    assert (run["seed"], run["mode"]) == (0, "verify")
    assert [r["state"] for r in run["runs"]] == ["finished"]
    assert run["runs"][0]["start"] <= run["runs"][0]["end"]
    assert not list((out / "instances").glob("*.part"))
    assert "2 of 2 instances: 1 sat, 1 unsat" in repr(made)


def test_a_seed_among_the_options_counts_and_is_checked(root: Path) -> None:
    """It was overwritten by the default without a word."""
    (root / "one.csv").write_text("controller.onnx,head_on.vnnlib,60\n")
    rs.sweep(root / "one.csv", root / "out", options={"seed": 7}, seed=3, executor=Here())
    assert [row["seed"] for row in rows_of(root / "out")] == ["7"]
    with pytest.raises(ExperimentError, match="seed: expected a whole number from 0, got 'abc'"):
        rs.sweep(root / "one.csv", root / "other", options={"seed": "abc"}, executor=Here())


def test_repairs_with_options_of_their_rows(root: Path) -> None:
    keep = np.random.default_rng(0).uniform(-1, 1, (200, 4))
    net = rs.load_network(DEMO / "controller.onnx")
    labels = net(keep).argmin(axis=1)
    np.savez(root / "keep.npz", inputs=keep[:100], labels=labels[:100])
    np.savez(root / "unseen.npz", inputs=keep[100:], labels=labels[100:])
    np.savez(root / "prefer.npz", inputs=keep[:5], labels=(labels[:5] + 1) % 5)
    (root / "repairs.csv").write_text(
        "network,property,timeout,norm,keep,unseen,expected,prefer,prefer_soft\n"
        "controller.onnx,head_on.vnnlib,60,linf,keep.npz,unseen.npz,,,\n"
        "controller.onnx,safe.vnnlib,60,,,,holds,,\n"
        "controller.onnx,head_on.vnnlib,60,linf,,,,prefer.npz,1\n"
    )
    out = root / "out"
    rs.sweep(root / "repairs.csv", out, mode="repair", options={"decision": "min"}, executor=Here())
    first, second, third = rows_of(out)
    assert (third["result"], third["options"]) == ("repaired", "decision=min norm=linf prefer_soft=1.0")
    assert float(third["cost"]) > 1.5 * float(first["cost"])  # other labels are preferred, at a price
    assert (first["result"], first["measure"], first["proved"]) == ("repaired", "linf", "true")
    assert (second["measure"], float(second["cost"])) == ("l1", 0.0)
    assert first["options"] == "decision=min norm=linf"
    assert 0 < float(first["lower_bound"]) <= float(first["cost"])
    assert float(first["drawdown"]) == 0.0
    assert 0.9 < float(first["generalisation"]) <= 1
    files = out / "instances" / first["folder"]
    repaired = files / "repaired.onnx"
    assert rs.verify(repaired, DEMO / "head_on.vnnlib").status == "holds"
    assert rs.check(files / first["certificate"], network=repaired, property=DEMO / "head_on.vnnlib").valid
    change = np.abs(np.concatenate([
        (a - b).ravel() for a, b in zip(weights(rs.load_network(repaired)), weights(net), strict=True)
    ]))  # fmt: skip
    assert change.max() == pytest.approx(float(first["cost"]))
    subject = load_subject(files)
    assert subject.repaired is not None
    assert not subject.missing


def weights(net: rs.Network) -> list[np.ndarray]:
    return [part for node in net.affine_layers for part in (node.operator.weight, node.operator.bias)]


def test_what_ran_is_not_run_again_unless_something_changed(root: Path) -> None:
    out, runner = root / "out", Here()
    rs.sweep(root / "instances.csv", out, executor=runner)
    before = (out / "results.csv").read_bytes()
    made = rs.sweep(root / "instances.csv", out, executor=runner, resume=True)
    assert (made.ran, made.kept, len(runner.ran)) == (0, 2, 2)
    assert (out / "results.csv").read_bytes() == before
    # the content of a file
    (root / "vnnlib" / "safe.vnnlib.gz").write_bytes(gzip.compress(SAFE.replace("1000", "900").encode()))
    made = rs.sweep(root / "instances.csv", out, executor=runner, resume=True)
    assert (made.ran, made.kept, len(rows_of(out))) == (1, 1, 2)
    # an option of all
    made = rs.sweep(root / "instances.csv", out, executor=runner, resume=True, seed=1)
    assert (made.ran, made.kept) == (2, 0)
    with (out / "replaced.csv").open(newline="") as file:
        assert [row["vnnlib"] for row in csv.DictReader(file)] == [
            "safe.vnnlib", "vnnlib/head_on.vnnlib", "safe.vnnlib",
        ]  # fmt: skip
    assert [r["ran"] for r in json.loads((out / "run.json").read_text())["runs"]] == [2, 0, 1, 2]


def test_a_row_that_is_not_whole_is_run_again(root: Path) -> None:
    out, runner = root / "out", Here()
    rs.sweep(root / "instances.csv", out, executor=runner)
    content = (out / "results.csv").read_bytes()
    (out / "results.csv").write_bytes(content[:-9])
    made = rs.sweep(root / "instances.csv", out, executor=runner, resume=True)
    assert (made.ran, made.kept) == (1, 1)
    assert [row["result"] for row in rows_of(out)] == ["sat", "unsat"]


def test_errors_are_rows_and_stop_nothing(root: Path) -> None:
    (root / "onnx" / "broken.onnx").write_bytes(b"no network")
    list_ = root / "instances.csv"
    list_.write_text("broken.onnx,safe.vnnlib,20\n" + list_.read_text())
    made = rs.sweep(list_, root / "out", executor=Here())
    first, *others = made.rows
    assert (first["result"], first["reason"]) == ("error", "input")
    assert "broken.onnx: not an ONNX model" in first["message"]
    assert [row["result"] for row in others] == ["sat", "unsat"]
    runner = Here()
    assert rs.sweep(list_, root / "out", executor=runner, resume=True).ran == 0
    shutil.copy(DEMO / "controller.onnx", root / "onnx" / "broken.onnx")
    (root / "vnnlib" / "head_on.vnnlib").write_text("(")
    made = rs.sweep(list_, root / "out", executor=runner, resume=True)
    assert {row["onnx"]: row["result"] for row in made.rows} == {
        "broken.onnx": "unsat", "onnx/controller.onnx": "error", "controller.onnx": "unsat",
    }  # fmt: skip
    made = rs.sweep(list_, root / "out", executor=runner, resume=True, retry=True)
    assert (made.ran, made.kept) == (1, 2)


def test_a_known_verdict_that_is_contradicted_is_an_alarm(root: Path) -> None:
    (root / "known.csv").write_text("onnx,vnnlib,expected\ncontroller.onnx,safe.vnnlib,sat\n")
    result = bench(root / "known.csv", "--out", root / "out", "--timeout", 20)
    assert result.exit_code == 3
    assert "WRONG: controller.onnx safe.vnnlib: unsat, expected violated" in result.stdout
    assert result.stdout.startswith("finished\n1 of 1 instances; 1 run now, 0 kept.\n")


@pytest.mark.parametrize(
    ("number", "state", "code"), [(signal.SIGKILL, "running", -9), (signal.SIGINT, "interrupted", 130)]
)
def test_going_on_after_a_sudden_end(root: Path, number: int, state: str, code: int) -> None:
    list_, out = root / "many.csv", root / "out"
    texts = [SAFE.replace("1000", str(1000 + i)) for i in range(40)]
    for i, text in enumerate(texts):
        (root / f"{i}.vnnlib").write_text(text)
    list_.write_text("".join(f"controller.onnx,{i}.vnnlib,20\n" for i in range(40)))
    command = [sys.executable, "-m", "repairsolver.cli.main", "bench", list_, "--out", out, "--jobs", "2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "results.csv").exists() or (out / "results.csv").read_bytes().count(b"\n") < 4:
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.02)
    running.send_signal(number)
    printed, _ = running.communicate()
    assert running.returncode == code
    assert json.loads((out / "run.json").read_text())["runs"][-1]["state"] == state
    whole = (out / "results.csv").read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    done = kept.count(b"\n") - 1
    assert 3 <= done < 40
    if number == signal.SIGINT:
        assert printed.startswith(f"interrupted\n{done} of 40 instances")
    runner = Here()
    made = rs.sweep(list_, out, executor=runner, resume=True)
    assert (made.kept, made.ran) == (done, 40 - done)
    assert (out / "results.csv").read_bytes().startswith(kept)
    assert not list((out / "instances").glob("*.part"))
    assert sorted(row["vnnlib"] for row in rows_of(out)) == sorted(f"{i}.vnnlib" for i in range(40))
    assert {row["result"] for row in rows_of(out)} == {"unsat"}


def test_two_jobs_answer_as_one(root: Path) -> None:
    one = rs.sweep(root / "instances.csv", root / "here", executor=Here())
    two = rs.sweep(root / "instances.csv", root / "out", jobs=2, memory_gb=4)
    same = ("onnx", "vnnlib", "result", "boxes", "margin", "methods")
    both = [sorted(tuple(r[n] for n in same) for r in made.rows) for made in (one, two)]
    assert both[0] == both[1]
    assert all(0 < float(row["peak_gb"]) < 4 and float(row["cpu_seconds"]) > 0 for row in two.rows)


def test_what_is_over_its_limit_is_killed_and_told(root: Path) -> None:
    made = rs.sweep(root / "instances.csv", root / "out", memory_gb=0.02)
    assert {(row["result"], row["reason"]) for row in made.rows} <= {("error", "memory")}
    assert "0.02 GB" in made.rows[0]["message"] or "more memory" in made.rows[0]["message"]


class Full:
    """An executor whose tasks find no room."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        for task in tasks:
            yield task, Outcome("failed", reason="disk", message="No space left on device")


def test_a_full_disk_says_so_and_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExperimentError, match="the disk is full; rows kept: 0; make room, and resume"):
        rs.sweep(root / "instances.csv", root / "out", executor=Full())
    synced, written = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        if synced.count("results.csv") >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(handle)

    monkeypatch.setattr(folders.os, "fsync", fsync)
    with pytest.raises(ExperimentError, match="the disk is full; rows kept: 1"):
        rs.sweep(root / "instances.csv", root / "out", executor=Here(), resume=True)
    monkeypatch.undo()
    assert [row["result"] for row in rows_of(root / "out")] == ["sat"]
    assert rs.sweep(root / "instances.csv", root / "out", executor=Here(), resume=True).ran == 1


def test_folders_that_are_not_taken(root: Path) -> None:
    list_, out = root / "instances.csv", root / "out"
    rs.sweep(list_, out, executor=Here())
    with pytest.raises(ExperimentError, match="holds a sweep already; resume it"):
        rs.sweep(list_, out, executor=Here())
    with pytest.raises(ExperimentError, match="of mode verify, not repair"):
        rs.sweep(list_, out, mode="repair", executor=Here(), resume=True)
    (root / "other.csv").write_text("onnx/controller.onnx,safe.vnnlib,3\n")
    with pytest.raises(ExperimentError, match=r"holds a sweep of .*instances.csv, none of which"):
        rs.sweep(root / "other.csv", out, executor=Here(), resume=True)
    with folders.Folder(out).locked(), pytest.raises(ExperimentError, match="another sweep is running"):
        rs.sweep(list_, out, executor=Here(), resume=True)
    (out / "run.json").write_text("[]")
    with pytest.raises(ExperimentError, match="not of a sweep of this version"):
        rs.sweep(list_, out, executor=Here(), resume=True)
    (out / "run.json").unlink()
    with pytest.raises(ExperimentError, match=r"results.csv without run.json"):
        rs.sweep(list_, out, executor=Here(), resume=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no instances"),
        ("a.onnx\n", "expected 2 to 3 cells with commas .* line 1: 1 cells"),
        ("controller.onnx,safe.vnnlib,20\n\na,b,c,d\n", "line 3: 4 cells"),
        ("controller.onnx,safe.vnnlib,soon\n", "line 1: timeout: expected seconds above 0, got 'soon'"),
        ("controller.onnx,safe.vnnlib,-1\n", "line 1: timeout"),
        ("none.onnx,safe.vnnlib\ncontroller.onnx,not.vnnlib\n", r"1: no file none.onnx.*\n.*2: no file not"),
        ("controller.onnx,safe.vnnlib,1\ncontroller.onnx,safe.vnnlib,2\n", "line 2: asks the same as line 1"),
        ("controller.onnx,safe.vnnlib,1\ncontroller.onnx,copy.vnnlib,1\n", None),
        ("onnx,vnnlib,colour\nx,y,z\n", "mode repair has no 'colour'; its options are seed"),
        ("onnx,network,vnnlib\nx,y,z\n", "two columns for network"),
        ("onnx,vnnlib,norm\ncontroller.onnx,safe.vnnlib,l7\n", "line 2: norm: expected one of l0.* got 'l7'"),
        ("onnx,vnnlib,max_gates\ncontroller.onnx,safe.vnnlib,two\n", "expected a whole number"),
        ("onnx,timeout\ncontroller.onnx,3\n", "line 2: no property"),
    ],
)  # fmt: skip
def test_lists_that_are_refused(root: Path, text: str, words: str | None) -> None:
    (root / "copy.vnnlib").write_text(SAFE)
    (root / "list.csv").write_text(text)
    if words is None:
        assert len(read_instances(root / "list.csv", "repair")) == 2
        return
    with pytest.raises(ExperimentError, match=words):
        read_instances(root / "list.csv", "repair")
    assert not (root / "out").exists()


def test_rows_that_ask_the_same_of_copies(root: Path) -> None:
    for place in ("a", "b"):
        (root / place).mkdir()
        (root / place / "copy.vnnlib").write_text(SAFE)
    (root / "list.csv").write_text("controller.onnx,a/copy.vnnlib,1\ncontroller.onnx,b/copy.vnnlib,1\n")
    with pytest.raises(ExperimentError, match="lines 1 and 2 ask the same of files with the same content"):
        rs.sweep(root / "list.csv", root / "out", executor=Here())


def test_rows_may_be_mappings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    rows = [
        {"network": "onnx/controller.onnx", "property": p, "timeout": 9}
        for p in ("head_on.vnnlib", "safe.vnnlib")
    ]
    assert [i.timeout for i in read_instances(rows, "verify", {"seed": "3"})] == [9.0, 9.0]
    with pytest.raises(ExperimentError, match="jobs must be at least 1, got 0"):
        rs.sweep(rows, "out", jobs=0)
    with pytest.raises(ExperimentError, match="timeout must be above 0, got 0"):
        rs.sweep(rows, "out", timeout=0)
    with pytest.raises(ExperimentError, match="no mode is called 'mend'"):
        rs.sweep(rows, "out", mode="mend")
    with pytest.raises(ExperimentError, match="options: mode verify has no 'norm'"):
        rs.sweep(rows, "out", options={"norm": "l1"})


def test_several_properties_in_one_row(root: Path) -> None:
    (root / "list.csv").write_text("onnx,vnnlib\ncontroller.onnx,head_on.vnnlib;safe.vnnlib\n")
    (one,) = read_instances(root / "list.csv", "repair")
    assert [path.name for path in one.files["property"]] == ["head_on.vnnlib", "safe.vnnlib.gz"]


def test_options_are_arguments_of_the_verbs() -> None:
    import inspect

    for mode, verb in (("verify", rs.verify), ("repair", rs.repair)):
        known = set(inspect.signature(verb).parameters)
        own = {"normalise", "memory_gb", "unseen"}
        assert {*MODES[mode].options, *MODES[mode].files} - own <= known


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--option", "norm"], 2, "expected NAME=VALUE"),
        (["--jobs", "0"], 2, "jobs"),
        (["--option", "norm=l1"], 1, "mode verify has no 'norm'"),
    ],
)
def test_the_command_refuses(root: Path, arguments: list[str], code: int, words: str) -> None:
    result = bench(root / "instances.csv", "--out", root / "out", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert not (root / "out").exists()
