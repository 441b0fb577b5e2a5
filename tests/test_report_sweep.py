"""Reports of sweeps: rows under any of their names, tables in every form, plots that hold every instance."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repairsolver.cli.main import app
from repairsolver.errors import ReportError
from repairsolver.report import plots, tables
from repairsolver.report.sweep import read_sweep, shared
from repairsolver.report.sweep_page import are_sweeps, read_sweeps, sweep_page

OURS = """network,property,verdict,expected,seconds,timeout,drawdown
a_1.onnx,p1,holds,holds,0.5,10,0.25
a_1.onnx,p2,violated,violated,0.25,10,
b&c.onnx,p1,timeout,holds,10.1,10,0.75
b&c.onnx,p2,holds,violated,1.0,10,
"""
THEIRS = """onnx,vnnlib,result,time
a_1.onnx,p1,unsat,2
a_1.onnx,p2,unknown,3
b&c.onnx,p1,unsat,4
elsewhere,p1,unsat,4
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "ours.csv").write_text(OURS)
    (tmp_path / "theirs.csv").write_text(THEIRS)
    return [tmp_path / "ours.csv", tmp_path / "theirs.csv"]


def test_columns_are_known_by_their_names(files: list[Path]) -> None:
    ours, theirs = map(read_sweep, files)
    assert ours.keys == theirs.keys == ("network", "property")
    assert ours.times == [0.25, 0.5]
    assert [i.wrong for i in ours.instances] == [False, False, False, True]
    assert ours.mean("drawdown") == 0.5
    assert theirs.times == [2.0, 4.0, 4.0]
    assert shared([ours, theirs]) == [("a_1.onnx", "p1"), ("a_1.onnx", "p2"), ("b&c.onnx", "p1")]


def test_one_table_in_every_form(files: list[Path]) -> None:
    table = tables.summary([read_sweep(path) for path in files])
    rows = list(csv.reader(io.StringIO(tables.written(table, "csv"))))
    assert rows[1] == ["ours", "4", "2", "1", "0.375", "0.75", "0.5"]
    assert rows[2][-1] == ""
    latex = tables.written(table, "latex")
    assert latex.index(r"\toprule") < latex.index(r"\midrule") < latex.index(r"\bottomrule")
    assert r"ours & 4 & 2 & 1 & 0.375 & 0.75 & 50.000\% \\" in latex
    assert "50.000%" in tables.written(table, "text")


def test_latex_is_escaped_and_balanced(files: list[Path]) -> None:
    latex = tables.written(tables.instances([read_sweep(files[0])]), "latex")
    assert r"b\&c.onnx" in latex
    assert r"a\_1.onnx" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_the_scatter_plot_holds_every_shared_instance(files: list[Path]) -> None:
    ours, theirs = map(read_sweep, files)
    axes = plots.scatter(ours, theirs).axes[0]
    solved, lost = (collection.get_offsets() for collection in axes.collections)
    assert len(solved) == 1
    assert len(lost) == 2
    assert lost[:, 0].max() == pytest.approx(1.3 * 10)


def test_the_cactus_plot_counts_what_was_solved(files: list[Path]) -> None:
    lines = plots.cactus([read_sweep(path) for path in files]).axes[0].lines
    assert [list(line.get_xdata()) for line in lines] == [[1, 2], [1, 2, 3]]


def test_a_page_of_two_runs(files: list[Path], tmp_path: Path) -> None:
    out, folder = tmp_path / "r.html", tmp_path / "tables"
    done = CliRunner().invoke(app, ["report", *map(str, files), "-o", str(out), "--tables", str(folder)])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in folder.iterdir()) == [
        "instances.csv",
        "instances.tex",
        "summary.csv",
        "summary.tex",
    ]
    html = out.read_text()
    assert "2 runs compared" in html
    assert "ours against theirs" in html
    assert html.count("<figure>") == 3


def test_markup_in_rows_is_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("network,property,status,seconds\n<script>alert(1)</script>,p,holds,1\n")
    assert "<script" not in sweep_page(read_sweeps([tmp_path / "x.csv"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no rows"), ("network,seconds\na,1\n", "no column of answers"), ("\x00\x00", "no|not")],
)
def test_files_without_answers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ReportError, match=message):
        read_sweep(tmp_path / "x.csv")


def test_runs_without_a_common_instance_are_refused(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("network,property,status\nq,q,holds\n")
    with pytest.raises(ReportError, match="no instance"):
        shared([read_sweep(files[0]), read_sweep(tmp_path / "x.csv")])
    (tmp_path / "y.csv").write_text("instance,status\nq,holds\n")
    with pytest.raises(ReportError, match="names its instances by"):
        shared([read_sweep(files[0]), read_sweep(tmp_path / "y.csv")])


def test_mixtures_are_refused() -> None:
    with pytest.raises(ReportError, match="expected one result"):
        are_sweeps([Path("a.csv"), Path("b.json")])


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text("network,property,status,seconds\nn,p,holds,1\n")
    names = [s.name for s in read_sweeps([tmp_path / n / "x.csv" for n in ("a", "b")])]
    assert len(set(names)) == 2


def test_a_folder_of_bench_stands_for_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "my.sweep"
    folder.mkdir()
    (folder / "results.csv").write_text(OURS)
    told = CliRunner().invoke(app, ["report", str(folder), "-o", str(tmp_path / "page.html")])
    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, "written")
    assert "my.sweep" in (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "theirs.csv").write_text(THEIRS)
    assert are_sweeps([folder, tmp_path / "theirs.csv"])
    assert [s.name for s in read_sweeps([folder, tmp_path / "theirs.csv"])] == ["my.sweep", "theirs"]
