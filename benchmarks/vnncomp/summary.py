"""The summary of all families that have results: what was decided, and how fast."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

Row = Mapping[str, str]
WORDS = {"unsat": "holds", "sat": "violated"}


def is_wrong(row: Row) -> bool:
    """Whether a verdict contradicts a known one; where nobody knows, nothing does."""
    said = WORDS.get(row["result"])
    return said is not None and row["expected"] in WORDS.values() and said != row["expected"]


def summarise(rows: Sequence[Row]) -> dict[str, object]:
    """Counts and seconds of one network of one family."""
    decided = [row for row in rows if row["result"] in WORDS]
    known = [row for row in rows if row["expected"] in WORDS.values()]
    return {
        "instances": len(rows),
        "decided": len(decided),
        "share": round(len(decided) / len(rows), 3),
        "unsat": sum(row["result"] == "unsat" for row in rows),
        "sat": sum(row["result"] == "sat" for row in rows),
        "known": len(known),
        "known_and_decided": sum(row["result"] in WORDS for row in known),
        "wrong": [f"{row['onnx']} {row['vnnlib']}" for row in rows if is_wrong(row)],
        "median_seconds": round(median(float(row["time"]) for row in rows), 3),
        "sum_seconds": round(sum(float(row["time"]) for row in rows), 1),
        "timeout": ", ".join(sorted({row["timeout"] for row in rows})),
        "date": ", ".join(sorted({row["date"] for row in rows})),
        "machine": ", ".join(sorted({row["machine"] for row in rows})),
    }


def write_summary(folder: Path) -> str:
    """Summarise every CSV file of a folder into summary.json and summary.md; the Markdown."""
    found: dict[str, dict[str, object]] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if rows:
            found[path.stem] = summarise(rows)
            networks = sorted({row["onnx"] for row in rows})
            if len(networks) > 1:
                for network in networks:
                    part = [row for row in rows if row["onnx"] == network]
                    found[f"{path.stem} {network.removesuffix('.onnx')}"] = summarise(part)
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = _markdown(found)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    return text


def _markdown(found: Mapping[str, Mapping[str, object]]) -> str:
    columns = [
        "instances",
        "decided",
        "share",
        "unsat",
        "sat",
        "known",
        "known_and_decided",
        "median_seconds",
        "sum_seconds",
        "timeout",
    ]
    lines = ["| family, network | " + " | ".join(c.replace("_", " ") for c in columns) + " | wrong |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for name, facts in found.items():
        wrong = facts["wrong"]
        shown = ", ".join(wrong) if isinstance(wrong, list) and wrong else "none"
        lines.append(f"| {name} | " + " | ".join(str(facts[c]) for c in columns) + f" | {shown} |")
    return "\n".join(lines) + "\n"
