"""Reports of single results: what they say, what they hold, and that nothing of a file becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import ReportError
from repairsolver.report import heatmap, outputs, words
from repairsolver.report.history import History, Thinning, curve
from repairsolver.report.page import result_page
from repairsolver.report.plane import chosen_plane, resolution
from repairsolver.report.style import style_hash
from repairsolver.report.subject import Subject, load_subject, read_record

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repair of the bundled network: result.json, fixed.onnx, report.html."""
    folder = tmp_path_factory.mktemp("repair")
    done = CliRunner().invoke(
        app,
        ["repair", "--quiet", str(NET), str(PROP), "-o", str(folder / "fixed.onnx"), "--decision", "min",
         "--gap", "0.5", "--report", str(folder / "report.html"), "--json", "--timeout", "20"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (folder / "result.json").write_text(done.stdout.splitlines()[0])
    return folder


def test_a_repair_report_says_everything_and_holds_itself(repaired: Path) -> None:
    html = (repaired / "report.html").read_text()
    for heading in (
        "The violation",
        "In plain words",
        "The edit",
        "What was kept",
        "Pictures",
        "What was asked",
    ):
        assert f"<h2>{heading}</h2>" in html
    titles = re.findall(r"<h3>(.*?)</h3>", html)
    assert titles[:4] == [
        "Decisions on a slice of the input space",
        "Where the outputs lie",
        "The change, weight by weight",
        "Cost and lower bound",
    ]
    assert len(re.findall(r'<img src="data:image/(?:png|svg\+xml);base64,', html)) == len(titles)
    assert not re.search(r"(?:src|href)=\"(?!data:)", html), "something of the page lies elsewhere"
    assert not re.search(r"\son\w+=|<style[^>]*>[^<]*@import", html)
    assert all(alt for alt in re.findall(r'alt="([^"]*)"', html))
    assert len(html) < 3_000_000


def test_the_page_holds_the_record(repaired: Path) -> None:
    html = (repaired / "report.html").read_text()
    held = re.search(r'<script type="application/json" id="record">(.*?)</script>', html, re.DOTALL)
    assert held is not None
    assert json.loads(held[1]) == read_record(repaired)


def test_a_report_from_the_record_is_the_report(repaired: Path) -> None:
    """The files that the record names suffice; pictures are the same bytes."""
    done = CliRunner().invoke(app, ["report", str(repaired), "-o", str(repaired / "again.html")])
    assert done.stdout.splitlines()[0] == "written"
    assert (repaired / "again.html").read_bytes() == (repaired / "report.html").read_bytes()


def test_changed_files_are_not_drawn(repaired: Path, tmp_path: Path) -> None:
    record = read_record(repaired)
    other = rs.load_network(repaired / "fixed.onnx")
    rs.save_network(other, tmp_path / "controller.onnx")
    record["inputs"]["network"] = str(tmp_path / "controller.onnx")
    (tmp_path / "result.json").write_text(json.dumps(record))
    subject = load_subject(tmp_path)
    assert subject.network is None
    assert "not the one of this result" in subject.missing[0]
    assert "not the one of this result" in result_page(subject)


def test_names_become_text_and_not_markup(repaired: Path) -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    record = read_record(repaired)
    record["network"]["name"] = record["property"]["name"] = record["message"] = evil
    record["properties"][0]["name"] = evil
    record["explanation"] = [evil]
    record["asked"]["layers"] = evil
    record["edit"]["tensors"][0]["entries"][0]["entry"] = evil
    record["edit"]["tensors"][0]["layer"] = evil
    html = result_page(Subject(record))
    assert html.count("<script") == 1
    assert "<img src=x" not in html
    assert html.count("</script") == 1


def test_the_style_is_the_one_that_a_policy_allows(repaired: Path) -> None:
    import base64
    import hashlib

    style = re.search(r"<style>(.*?)</style>", (repaired / "report.html").read_text(), re.DOTALL)
    assert style is not None
    assert style_hash() == f"sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}"


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"result": 1}', "[" * 100_000, "\x00", "nan"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReportError):
        read_record(tmp_path / "x.json")


def test_several_single_results_are_refused(repaired: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(repaired), str(repaired)])
    assert done.exit_code == 1
    assert "one report for each" in done.stderr


def test_the_name_of_a_report_is_looked_at_before_the_work(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(NET), str(PROP), "--report", str(tmp_path / "x.onnx")])
    assert done.exit_code == 1
    assert "ends in .html" in done.stderr
    assert done.stdout == ""


def test_verify_reports_a_violation(tmp_path: Path) -> None:
    out = tmp_path / "v.html"
    done = CliRunner().invoke(app, ["verify", "-q", str(NET), str(PROP), "--report", str(out)])
    assert done.stdout.startswith("sat")
    assert "The property is violated" in out.read_text()


def test_the_slice_follows_the_inputs_that_matter() -> None:
    net, prop = rs.load_network(NET), rs.load_property(PROP)
    region = prop.regions[0]
    plane = chosen_plane(net, prop, region.lower)
    assert plane is not None
    base, moves = region.lower, []
    for index in range(net.input_size):
        points = np.repeat(base[None], 9, axis=0)
        points[:, index] = np.linspace(region.lower[index], region.upper[index], 9)
        moves.append(np.ptp(net(points), axis=0).max())
    assert {plane.x.index, plane.y.index} == set(np.argsort(moves)[-2:])
    assert plane.x.lower < region.lower[plane.x.index]
    assert resolution(net) == 300


def test_violations_are_violations_in_every_projection() -> None:
    """A sample that violates lies on the unsafe side of the half-space that is drawn."""
    rng = np.random.default_rng(0)
    for outputs_in_row in (1, 2, 3):
        weights = np.zeros(4)
        weights[:outputs_in_row] = rng.normal(size=outputs_in_row)
        row = outputs.Conjunction(weights[None], np.zeros((1, 3)), np.array([0.1]))
        x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 4))
        shown = outputs.projection(row, 0, y)
        unsafe = shown(x, y) @ shown.normal <= shown.bound
        assert np.array_equal(unsafe, row.violation(x, y) >= 0)


def test_blocks_keep_the_largest_change() -> None:
    values = np.zeros((300, 500))
    values[299, 1], values[7, 400] = -3.0, 2.0
    cells = heatmap.blocks(values)
    assert max(cells.shape) <= 64
    assert cells.min() == -3.0
    assert cells.max() == 2.0
    assert np.count_nonzero(cells) == 2


def test_histories_stay_short_and_keep_what_counts() -> None:
    history = History()
    for i in range(200_000):
        history(rs.Event("split", "", i / 1000, {"proved_volume": i / 200_000, "bound": float("-inf")}))
        if i % 50_000 == 0:
            history(rs.Event("proved", "", i / 1000, {"best": float(i)}))
    rows = history.rows()
    assert len(rows) < 2500
    assert curve(rows, "best").values == (0.0, 50_000.0, 100_000.0, 150_000.0)
    assert rows[-1]["seconds"] == pytest.approx(199.999)
    assert "bound" not in rows[0]["numbers"]
    assert Thinning().keeps(rs.Event("solve", "", 0.0))


def test_words_of_every_answer() -> None:
    for word in ("unsat", "sat", "unknown", "timeout", "repaired", "infeasible", "valid", "invalid"):
        look, answer, _ = words.verdict({"result": word, "kind": "verify"})
        assert look in ("good", "bad", "open")
        assert answer
    rows: Any = words.guarantees(
        {"result": "timeout", "kind": "verify", "proved_volume": 0.25, "methods": []}
    )
    assert rows[0][0] == "Proved on 25.00% of the input volume."
