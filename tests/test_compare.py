"""Runs side by side: contradictions are alarms, nothing is left out, published numbers stand beside ours."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from repairsolver.cli.main import app
from repairsolver.errors import ReportError
from repairsolver.report.comparison import compare

OURS = """network,property,result,seconds,timeout,drawdown
./onnx/a.onnx,vnnlib/p1.vnnlib,unsat,0.5,10,0.25
onnx/a.onnx,vnnlib/p2.vnnlib,sat,0.25,10,
onnx/b.onnx,vnnlib/p1.vnnlib,timeout,10.1,10,
"""
THEIRS = """cat,onnx/a.onnx,p1.vnnlib.gz,0.1,unsat,2
cat,onnx/a.onnx,p2.vnnlib,0.1,unknown,3
cat,onnx/c.onnx,p1.vnnlib,0.1,holds,4
"""
TOTALS = 'tool,solved,median_s,drawdown,source\nElse & Co,7,3.5,0.01,"A paper, table 2"\n'
REPAIRS = "onnx,vnnlib,options,result,seconds,measure,cost,lower_bound\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "results.csv").write_text(OURS)
    (tmp_path / "theirs.csv").write_text(THEIRS)
    (tmp_path / "totals.csv").write_text(TOTALS)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)


def test_a_folder_against_published_rows_and_totals(root: Path) -> None:
    result = run("ours", "--published", "theirs.csv", "--published", "totals.csv", "--out", "out")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "agree"
    assert "Not in ours: 1: c.onnx p1.vnnlib" in lines
    assert "Not in theirs: 1: b.onnx p1.vnnlib" in lines
    assert "Else & Co: A paper, table 2" in lines
    with (root / "out" / "instances.csv").open(newline="") as file:
        rows = {(row["network"], row["property"]): row for row in csv.DictReader(file)}
    assert len(rows) == 4
    assert (
        rows["a.onnx", "p1.vnnlib"]["ours answer"] == rows["a.onnx", "p1.vnnlib"]["theirs answer"] == "unsat"
    )
    assert rows["c.onnx", "p1.vnnlib"]["ours answer"] == ""
    with (root / "out" / "summary.csv").open(newline="") as file:
        summary = {row["run"]: row for row in csv.DictReader(file)}
    assert summary["Else & Co"]["solved"] == "7.0"
    assert summary["Else & Co"]["drawdown"] == "0.01"
    assert (summary["ours"]["solved"], summary["theirs"]["solved"]) == ("2", "2")
    assert r"Else \& Co" in (root / "out" / "summary.tex").read_text()
    made = sorted(path.name for path in (root / "out").iterdir())
    assert made == [
        "comparison.html", "instances.csv", "instances.tex", "instances.txt", "ours-against-theirs.svg",
        "solved-over-time.svg", "summary.csv", "summary.tex", "summary.txt",
        "what-repairs-kept-and-what-they-mend.svg",
    ]  # fmt: skip
    assert "Not in ours: 1" in (root / "out" / "comparison.html").read_text()


def test_a_contradiction_is_an_alarm(root: Path) -> None:
    (root / "theirs.csv").write_text(THEIRS.replace("unknown", "unsat"))
    result = run("ours", "theirs.csv", "--out", "out")
    assert result.exit_code == 3
    assert result.stdout.startswith(
        "contradiction\nCONTRADICTION: a.onnx p2.vnnlib: ours says violated, theirs says holds\n"
    )
    assert "CONTRADICTION" in (root / "out" / "comparison.html").read_text()


def test_of_three_runs_every_pair_is_compared(root: Path) -> None:
    (root / "third.csv").write_text(THEIRS.replace("unsat", "sat"))
    found = compare([root / "ours", root / "theirs.csv", root / "third.csv"]).contradictions
    assert [(c.first, c.second, c.key[1]) for c in found] == [
        ("ours", "third", "p1.vnnlib"),
        ("theirs", "third", "p1.vnnlib"),
    ]


def test_an_answer_against_its_own_file_is_an_alarm(root: Path) -> None:
    (root / "x.csv").write_text(
        "network,property,result,seconds,expected\na.onnx,p1.vnnlib,unsat,1,violated\n"
    )
    result = run("x.csv")
    assert result.exit_code == 3
    assert "WRONG: a.onnx p1.vnnlib: x says holds" in result.stdout


@pytest.mark.parametrize(
    ("cost", "measure", "options", "words"),
    [
        ("0.9", "l1", "layers=last", "costs 0.9, but a claims that none costs less than 1"),
        ("1.0", "l1", "layers=last", ""),
        ("0.9999999", "l1", "layers=last", ""),
        ("0.9", "l2", "layers=last", ""),
        ("0.9", "l1", "layers=all", ""),
    ],
)
def test_no_repair_is_cheaper_than_a_proved_bound(
    root: Path, cost: str, measure: str, options: str, words: str
) -> None:
    (root / "a.csv").write_text(f"{REPAIRS}n.onnx,p,layers=last,repaired,1,l1,1.005,1\n")
    (root / "b.csv").write_text(f"{REPAIRS}n.onnx,p,{options},repaired,1,{measure},{cost},0.5\n")
    for order in (("a.csv", "b.csv"), ("b.csv", "a.csv")):
        found = compare([root / name for name in order]).contradictions
        assert bool(found) == bool(words)
        assert all(words in str(c) for c in found)


def test_rows_of_one_folder_are_parted_by_their_options(root: Path) -> None:
    (root / "ours" / "results.csv").write_text(
        f"{REPAIRS}n.onnx,p,decision=min norm=l1,repaired,1,l1,1,1\n"
        "n.onnx,p,decision=min norm=l2,repaired,1,l2,2,1\n"
    )
    made = compare([root / "ours"])
    assert [s.name for s in made.sweeps] == ["ours [norm=l1]", "ours [norm=l2]"]
    assert made.instances.head[2:5] == ("ours [norm=l1] answer", "ours [norm=l1] s", "ours [norm=l1] cost")
    assert made.instances.rows == (("n.onnx", "p", "repaired", 1.0, 1.0, "repaired", 1.0, 2.0),)


def test_runs_without_a_common_instance_are_shown_without_a_scatter(root: Path) -> None:
    (root / "x.csv").write_text("network,property,result,seconds\nz.onnx,p9,unsat,1\n")
    made = compare([root / "ours", root / "x.csv"])
    assert [title for _, title, _ in made.figures()] == [
        "Solved over time",
        "What repairs kept and what they mend",
    ]
    assert len(made.instances.rows) == 4


def test_the_same_run_twice_agrees_and_keeps_both_names(root: Path) -> None:
    made = compare([root / "ours", root / "ours"])
    assert [s.name for s in made.sweeps] == ["ours (1)", "ours (2)"]
    assert not made.contradictions


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"x.csv": "id,result,seconds\n1,unsat,1\n"}, "no column names the instances of all runs"),
        (
            {"x.csv": "network,result\nonnx/a.onnx,unsat\nother/a.onnx,sat\n"},
            "3 rows, but only 2 different network: give",
        ),
        ({"x.csv": "network,property\na,b\n"}, "no column of answers"),
        ({"x.csv": ""}, "holds no rows"),
    ],
)
def test_what_cannot_be_compared_is_said(root: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (root / name).write_text(text)
    with pytest.raises(ReportError, match=words):
        compare([root / "ours", root / "x.csv"])
    assert run("ours", "x.csv").exit_code == 1


def test_a_folder_without_results(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(
        ReportError, match=r"no results.csv in it; expected the folder of `repairsolver bench`"
    ):
        compare([root / "empty"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paper,solved\nx,1\n", "neither a column of answers"),
        ("tool,solved\nx,many\n", "line 2: solved: expected a number, got 'many'"),
        ("tool,drawdown\nx,1.28\n", "line 2: drawdown: expected a share from 0 to 1, got '1.28'"),
        ("tool,colour\nx,red\n", "line 2: no numbers; the columns are instances, solved"),
    ],
)
def test_published_numbers_that_are_refused(root: Path, text: str, words: str) -> None:
    (root / "p.csv").write_text(text)
    with pytest.raises(ReportError, match=words):
        compare([root / "ours"], [root / "p.csv"])


def test_published_rows_of_several_tools(root: Path) -> None:
    (root / "p.csv").write_text(
        "tool,network,property,result,seconds\nA,a.onnx,p1.vnnlib,sat,1\nB,a.onnx,p1.vnnlib,unsat,1\n"
    )
    made = compare([root / "ours"], [root / "p.csv"])
    assert [s.name for s in made.sweeps] == ["ours", "A", "B"]
    assert [str(c) for c in made.contradictions] == [
        "a.onnx p1.vnnlib: ours says holds, A says violated",
        "a.onnx p1.vnnlib: A says violated, B says holds",
    ]


def test_verdicts_without_times_count_and_are_not_drawn(root: Path) -> None:
    (root / "known.csv").write_text("onnx,vnnlib,status\na.onnx,p1.vnnlib,holds\na.onnx,p2.vnnlib,disputed\n")
    made = compare([root / "ours"], [root / "known.csv"])
    assert made.summary.rows[1][:3] == ("known", 2, 1)
    assert not any("against" in title for _, title, _ in made.figures())


def test_no_runs_are_none_to_compare() -> None:
    with pytest.raises(ReportError, match="no runs to compare: give folders of `bench`"):
        compare([])
