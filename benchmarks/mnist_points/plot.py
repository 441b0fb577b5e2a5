"""Drawdown and generalisation of every layer beside published numbers: `results/comparison.svg`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plots import Series, dots, read

FOLDER = Path(__file__).parent
PANELS = ("drawdown, %", "generalisation, %")


def plot(results: Path, out: Path = FOLDER / "results" / "comparison.svg") -> None:
    """Draw the rows of fog repairs, network by network, the published ones below."""
    measured, published = read(results), read(FOLDER / "published.csv")
    rows = []
    for network in dict.fromkeys(row["network"] for row in measured):
        size = network.removeprefix("mnist_relu_").replace("_", "x")
        for ours, source in ((True, measured), (False, published)):
            for row in source:
                if row["network"] != network or row.get("corruption", "fog") != "fog":
                    continue
                values = [_percent(row["drawdown"]), _percent(row["generalisation"])]
                if values == [None, None]:
                    continue
                preferred = row.get("preferred", "0")
                seen = f", {preferred} foggy images" if preferred != "0" else ""
                name = f"{size}, {row['layer']}{seen}" if ours else f"{size}, {row['tool']} (published)"
                rows.append((name, Series(name, values, ours)))
    dots(out, rows, PANELS)


def _percent(text: str) -> float | None:
    return 100 * float(text) if text not in ("", "None") else None
