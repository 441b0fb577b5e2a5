"""Notebooks: results show themselves, figures are figures, and the documentation's notebook is run."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_docs import hook
from test_experiments import Here

import repairsolver as rs
from repairsolver.display import result_html, shown
from repairsolver.errors import ReportError
from repairsolver.report.comparison import compare
from repairsolver.results import VerifyStatus

DEMO = Path(rs.__file__).parent / "demo"
ROOT = Path(__file__).parents[1]
NET, PROP = rs.load_network(DEMO / "controller.onnx"), rs.load_property(DEMO / "head_on.vnnlib")
BOX = PROP.regions[0]
SAFE = rs.output_range(BOX.lower, BOX.upper, output=0, outputs=5, at_most=1000.0)


class Text(HTMLParser):
    """The text of HTML; open elements that are not closed are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(result: object) -> str:
    return " ".join(Text(result._repr_html_()).words)


@pytest.fixture(scope="module")
def fix() -> tuple[rs.Repair, rs.plot.History]:
    history = rs.plot.History()
    return rs.repair(NET, PROP, decision="min", certificate=True, on_event=history), history


def test_a_verdict_says_what_is_guaranteed() -> None:
    violated = text_of(rs.verify(NET, PROP))
    assert violated.startswith("violated : an input of the property's regions violates it")
    assert "violated by" in violated
    holds = rs.verify(NET, SAFE, certificate=True)
    assert holds.status is VerifyStatus.HOLDS
    said = text_of(holds)
    assert "proved for every input of the property's regions, in real arithmetic" in said
    assert "certificate kept" in said
    open_ = text_of(rs.Verdict(VerifyStatus.TIMEOUT, proved_volume=0.25, best_bound=-0.5))
    assert "proved on 25.00% of the input volume, and nothing is said of the rest" in open_
    assert "holds" not in open_


def test_a_repair_says_what_is_guaranteed_and_what_it_kept(fix: tuple[rs.Repair, rs.plot.History]) -> None:
    said = text_of(fix[0])
    assert said.startswith("repaired : the repaired network has the property, proved for every input")
    assert "no repair of this layer has less than" in said
    assert re.search(r"agreement 99\.\d+% \(95 %: ", said)
    open_ = replace(
        fix[0], status=rs.RepairStatus.TIMEOUT, verdict=rs.Verdict(VerifyStatus.TIMEOUT), message="late"
    )
    assert text_of(open_).startswith(
        "timeout : not proved: the network is a candidate, NOT a proved repair; late"
    )


def test_other_results_say_that_they_prove_nothing() -> None:
    assert "which proves nothing" in text_of(rs.falsify(NET, SAFE))
    assert "onnxruntime replayed every one" in text_of(rs.falsify(NET, PROP, count=2))
    sampled = text_of(rs.sample(NET, PROP, epsilon=0.2, eta=0.01))
    assert "no proof, for this distribution alone" in sampled
    ranked = text_of(rs.localise(NET, PROP, samples=2000))
    assert ranked.startswith("The most responsible neurons")


def test_what_people_wrote_is_escaped() -> None:
    html = result_html("bad", "<b>", "a & b", {"<i>": "<script>", "none": None})
    assert "<script>" not in html
    assert Text(html).words == ["<b>", ": a & b", "<i>", "<script>"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.1234567, "0.123457"), ([1.0, 2.5], "1, 2.5"), ("ab", "ab"), (3, "3")],
)
def test_values_are_short(value: object, text: str) -> None:
    assert shown(value) == text


def test_long_vectors_are_cut() -> None:
    assert shown([0.0] * 784).endswith("0, ... (784 in all)")


def test_a_sweep_and_a_comparison_show_their_rows(tmp_path: Path) -> None:
    rows = [{"network": DEMO / "controller.onnx", "property": DEMO / "head_on.vnnlib"}]
    made = rs.sweep(rows, tmp_path / "a", executor=Here())
    assert text_of(made).startswith("1 of 1 instance: 1 sat onnx vnnlib")
    assert "controller.onnx" in text_of(made)
    assert "a 1 1 0" in text_of(compare([tmp_path / "a"]))
    assert len(rs.plot.cactus(made, tmp_path / "a").axes[0].lines) == 2
    assert rs.plot.scatter(made, tmp_path / "a" / "results.csv").axes[0].get_xlabel().startswith("results")


def test_slices_are_figures(fix: tuple[rs.Repair, rs.plot.History], tmp_path: Path) -> None:
    one = rs.plot.slice(NET, PROP, decision="min")
    three = rs.plot.slice(NET, PROP, fix[0], decision="min", inputs=(1, 3), axes=("bearing", "speed"))
    assert (len(one.axes), len(three.axes)) == (1, 3)
    assert three.axes[0].get_xlabel() == "bearing"
    pixels = [np.asarray(axes.images[0].get_array()) for axes in three.axes]
    np.testing.assert_array_equal(pixels[0] != pixels[1], pixels[2].astype(bool))
    point = fix[0].counterexamples[0].input
    offsets = three.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(offsets[0], point[[1, 3]])
    one.savefig(tmp_path / "one.pdf")
    assert one._repr_png_().startswith(b"\x89PNG")


def test_history_is_a_figure(fix: tuple[rs.Repair, rs.plot.History], tmp_path: Path) -> None:
    made, events = fix
    axes = rs.plot.history(events, made).axes[0]
    assert axes.get_ylabel() == "l1 norm of the change"
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(made.cost, rel=0.05)
    record = {"kind": "repair", "result": "repaired", "history": events.rows(), "norm": "l1", "seconds": 1.0}
    (tmp_path / "result.json").write_text(json.dumps(record))
    again = rs.plot.history(tmp_path).axes[0]
    np.testing.assert_array_equal(again.lines[0].get_ydata(), axes.lines[0].get_ydata())


def test_what_cannot_be_drawn_is_said(fix: tuple[rs.Repair, rs.plot.History]) -> None:
    history = rs.plot.History()
    verdict = rs.verify(NET, PROP, on_event=history)
    with pytest.raises(ReportError, match="nothing to draw"):
        rs.plot.history(history, verdict)
    with pytest.raises(ReportError, match=r"expected two of 0 to 3, got \(1, 1\)"):
        rs.plot.slice(NET, PROP, inputs=(1, 1))
    with pytest.raises(ReportError, match="expected 4 numbers"):
        rs.plot.slice(NET, PROP, through=[0.0])
    with pytest.raises(ReportError, match="there is no repaired network to draw: infeasible"):
        rs.plot.slice(NET, PROP, replace(fix[0], status=rs.RepairStatus.INFEASIBLE, network=None))


@pytest.fixture
def notebook() -> ModuleType:
    pytest.importorskip("nbclient", reason="the extra `docs` is not installed")
    return hook("notebook")


def test_the_committed_notebook_has_no_outputs() -> None:
    content = json.loads((ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 6
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def cell(source: str) -> dict[str, object]:
    return {
        "cell_type": "code", "id": f"c{abs(hash(source))}", "metadata": {}, "source": source, "outputs": [],
        "execution_count": None,
    }  # fmt: skip


def written(*sources: str) -> str:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({
        "cells": [cell(source) for source in sources], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5,
    })  # fmt: skip


def test_notebooks_are_run_when_the_site_is_built(notebook: ModuleType) -> None:
    text = notebook.rendered(notebook.executed(written(
        "print(6 * 7)",
        "from repairsolver.report.figure import figure\nfigure(1, 1)",
        "class A:\n    def _repr_html_(self): return '<p>\\n\\nb</p>'\nA()",
        "'x'",
    )))  # fmt: skip
    assert "```text\n42\n```" in text
    picture = re.search(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)">', text)
    assert picture is not None
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert "<p> b</p>" in text
    assert "```text\n'x'\n```" in text


def test_a_cell_that_raises_fails_the_build(
    notebook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nbclient.exceptions import CellExecutionError

    (tmp_path / "x.ipynb").write_text(written("1 / 0"))
    monkeypatch.setattr(notebook, "DOCS", tmp_path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebook.on_page_markdown("<!-- notebook: x.ipynb -->")
    assert notebook.on_page_markdown("nothing of it") == "nothing of it"
