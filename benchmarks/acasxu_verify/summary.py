"""The summary of a run: how many were decided, and how fast; for programs (JSON) and people (Markdown)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

Row = Mapping[str, str]
DECIDED = ("holds", "violated")


def is_wrong(row: Row) -> bool:
    """Whether a row's verdict contradicts the known one."""
    return row["verdict"] in DECIDED and row["verdict"] != row["expected"]


def summarise(rows: Sequence[Row]) -> dict[str, object]:
    """Counts and seconds over all rows; an undecided row counts with the time that it took."""
    slowest = max(rows, key=lambda row: float(row["seconds"]))
    return {
        "instances": len(rows),
        "decided": sum(row["verdict"] in DECIDED for row in rows),
        "holds": sum(row["verdict"] == "holds" for row in rows),
        "violated": sum(row["verdict"] == "violated" for row in rows),
        "undecided": [_name(row) for row in rows if row["verdict"] not in DECIDED],
        "wrong": [_name(row) for row in rows if is_wrong(row)],
        "median_seconds": _median(rows, "seconds"),
        "sum_seconds": _sum(rows, "seconds"),
        "median_total_seconds": _median(rows, "total_seconds"),
        "sum_total_seconds": _sum(rows, "total_seconds"),
        "slowest": _name(slowest),
        "slowest_seconds": round(float(slowest["seconds"]), 2),
        "timeout_seconds": _distinct(rows, "timeout"),
        "jobs": _distinct(rows, "jobs"),
        "threads": _distinct(rows, "threads"),
        "machine": _distinct(rows, "machine"),
        "versions": _distinct(rows, "versions"),
        "date": _distinct(rows, "date"),
    }


def markdown(rows: Sequence[Row]) -> str:
    """The summary as a table, and a table by property."""
    facts = summarise(rows)
    lines = ["| | |", "|---|---|"]
    for key, value in facts.items():
        shown = (", ".join(value) or "none") if isinstance(value, list) else value
        lines.append(f"| {key.replace('_', ' ')} | {shown} |")
    lines += [
        "",
        "| property | instances | decided | median s | sum s | slowest s |",
        "|---|---|---|---|---|---|",
    ]
    for prop in sorted({row["property"] for row in rows}, key=_number):
        part = [row for row in rows if row["property"] == prop]
        decided = sum(row["verdict"] in DECIDED for row in part)
        slowest = max(float(row["seconds"]) for row in part)
        lines.append(
            f"| {prop.removesuffix('.vnnlib')} | {len(part)} | {decided} | {_median(part, 'seconds')} "
            f"| {_sum(part, 'seconds')} | {slowest:.2f} |"
        )
    return "\n".join(lines) + "\n"


def write_summary(rows: Sequence[Row], results: Path) -> str:
    """Write the summary beside the results as .json and .md; the Markdown."""
    results.with_suffix(".json").write_text(json.dumps(summarise(rows), indent=1) + "\n", encoding="utf-8")
    text = markdown(rows)
    results.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def _name(row: Row) -> str:
    return f"{row['network'].removesuffix('.onnx')} {row['property'].removesuffix('.vnnlib')}"


def _number(prop: str) -> int:
    return int(prop.removeprefix("prop_").removesuffix(".vnnlib"))


def _median(rows: Iterable[Row], column: str) -> float:
    return round(median(float(row[column]) for row in rows), 3)


def _sum(rows: Iterable[Row], column: str) -> float:
    return round(sum(float(row[column]) for row in rows), 1)


def _distinct(rows: Iterable[Row], column: str) -> str:
    return "; ".join(sorted({row[column] for row in rows}))
