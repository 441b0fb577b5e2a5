"""The ACAS Xu repair benchmark: figures from rows, sources of published numbers, property 2 strengthened."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmarks.acasxu_repair.instances import kept_samples, strengthened
from benchmarks.acasxu_repair.plots import PUBLISHED, draw
from repairsolver.property import Property, load_property
from repairsolver.property.specification import Conjunction, Region

ROW = {"status": "repaired", "network": "2_1", "property": "2", "agreement": "1.0", "seconds": "3"}


def rows() -> list[dict[str, str]]:
    repaired = [ROW | {"cost": str(cost), "lower_bound": str(cost / 2)} for cost in (0.3, 0.02)]
    return [*repaired, ROW | {"status": "timeout", "cost": "None", "lower_bound": "0"}]


def box() -> Property:
    lower, upper = np.full(5, -0.5), np.full(5, 0.25)
    never = Conjunction(np.eye(5)[:1], np.zeros((1, 5)), np.full(1, -1e9))
    return Property((Region(lower, upper, (never,)),), 5, 5, name="box")


def test_the_same_rows_give_the_same_figures(tmp_path: Path) -> None:
    first, second = draw(rows(), tmp_path / "a"), draw(rows(), tmp_path / "b")
    assert [path.name for path in first] == [
        f"acasxu_repair_{name}.svg" for name in ("cost", "agreement", "seconds")
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000
    assert first[0].read_text(encoding="utf-8").count("N2,1/2") == 2


def test_nothing_is_drawn_without_repairs(tmp_path: Path) -> None:
    assert draw(rows()[2:], tmp_path) == []


def test_published_numbers_have_sources() -> None:
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert len(published) >= 8
    assert all("github.com/" in row["source"] and float(row["seconds"]) > 0 for row in published)


def test_strengthened_means_that_the_first_score_is_the_least(tmp_path: Path) -> None:
    prop = strengthened(box())
    rng = np.random.default_rng(0)
    inputs, outputs = rng.uniform(-0.5, 0.25, (500, 5)), rng.integers(-3, 3, (500, 5)).astype(float)
    wrong = (outputs[:, 1:] <= outputs[:, :1]).any(axis=1)
    assert 0 < wrong.sum() < 500
    assert ((prop.violation(inputs, outputs) >= 0) == wrong).all()
    path = tmp_path / "stated.vnnlib"
    path.write_text(prop.text, encoding="utf-8")
    again = load_property(path)
    assert ((again.violation(inputs, outputs) >= 0) == wrong).all()


def test_samples_are_kept_outside_the_box() -> None:
    kept = kept_samples(2000, 0, box())
    everywhere = kept_samples(2000, 0)
    assert kept is not None
    assert everywhere is not None
    inside = box().regions[0].contains(everywhere.inputs)
    assert inside.any()
    assert np.array_equal(kept.inputs, everywhere.inputs[~inside])
