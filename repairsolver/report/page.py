"""Reports as one HTML file that needs nothing else: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repairsolver import __version__
from repairsolver.report import words
from repairsolver.report.pictures import pictures
from repairsolver.report.style import TEMPLATES, style
from repairsolver.report.subject import Subject
from repairsolver.targets import file_target, replacing

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_ENTRIES, MOST_NUMBERS = 30, 16
"""Changed numbers, and inputs or outputs of a counterexample, that a page lists."""


def result_page(subject: Subject) -> str:
    """The report of one result, as HTML."""
    record = subject.record
    look, answer, sense = words.verdict(record)
    told = record.get("network") or record.get("model") or {}
    return render(
        "result.html",
        title=f"{str(record.get('kind', 'result')).capitalize()}: {told.get('name', 'network')}",
        look=look,
        answer=answer,
        sense=sense,
        question=words.question(record),
        explanation=record.get("explanation") or [],
        guarantees=words.guarantees(record),
        fidelity=words.fidelity(record),
        counterexample=_counterexample(subject),
        edit=_edit(record),
        pictures=pictures(subject),
        missing=subject.missing,
        record=json.dumps(record, allow_nan=False),
    )


def write_page(html: str, path: Path) -> None:
    """Write a page; replaced as a whole or not at all.

    Raises:
        OSError: the path is a folder or device, or cannot be written to.
    """
    target = file_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as stream:
        stream.write(html.encode())


def render(name: str, **context: Any) -> str:
    """A page of the templates; everything in it is escaped."""
    environment = _environment()
    return environment.get_template(name).render(style=style(), version=__version__, **context)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _counterexample(subject: Subject) -> dict[str, Any] | None:
    """The worst counterexample as rows; of long ones the first numbers."""
    found = subject.counterexamples
    if not found:
        return None
    worst = found[0]
    rows = [
        (f"{letter}_{i}", f"{value:.9g}")
        for letter, values in (("X", worst.input), ("Y", worst.output))
        for i, value in enumerate(values[:MOST_NUMBERS])
    ]
    hidden = sum(max(0, len(values) - MOST_NUMBERS) for values in (worst.input, worst.output))
    return {"rows": rows, "hidden": hidden, "count": len(found), "violation": f"{worst.violation:.4g}"}


def _edit(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The changed numbers, the largest change first; of another kind of edit its JSON."""
    edit = record.get("edit")
    if not edit:
        return None
    if "tensors" not in edit:
        return {"count": None, "rows": [], "more": 0, "text": json.dumps(edit, indent=1)[:20_000]}
    entries = [entry for item in edit["tensors"] for entry in item["entries"]]
    entries.sort(key=lambda entry: -abs(entry["new"] - entry["old"]))
    return {
        "count": len(entries),
        "rows": _rows(entries),
        "more": max(0, len(entries) - MOST_ENTRIES),
        "text": "",
    }


def _rows(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [
        (e["entry"], f"{e['old']:.6g}", f"{e['new']:.6g}", f"{e['new'] - e['old']:+.3g}")
        for e in entries[:MOST_ENTRIES]
    ]
