"""One table and one plot from the rows alone: `python -m benchmarks.gates.compare`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import matplotlib

HERE = Path(__file__).parent / "results"
DELTA = Path(__file__).parents[1] / "acasxu_repair" / "results" / "repairs.csv"
NAMES = {
    "auto": "gates, auto",
    "output": "gates at the scores",
    "inner": "gates at hidden neurons",
    "shield": "scores of whole regions",
    "greedy": "greedy placement",
    "delta": "weights (delta)",
}
Row = dict[str, str]


def main() -> None:
    """Print the table as Markdown, and write the plot beside the rows."""
    rows = read()
    for line in table(rows):
        print(line)
    plot(rows, HERE / "fidelity.png")


def read() -> list[Row]:
    """The rows of all gates, and of the repairs of weights in the same columns."""
    rows = [row for path in sorted(HERE.glob("acasxu*.csv")) for row in _rows(path)]
    for row in _rows(DELTA):
        renamed = {"box_fidelity": row["region_agreement"], "domain_fidelity": row["agreement"]}
        rows.append(row | renamed | {"method": "delta", "gates": row["entries"], "changes": row["entries"]})
    return rows


def _rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(rows: list[Row]) -> Iterator[str]:
    """One line for each method, over the pairs that it has rows for."""
    heads = ("method", "pairs", "proved", "changes", "in the box: mean, worst", "scores unchanged")
    heads += ("whole domain: worst", "guards: median, most", "s", "CPU s")
    heads += ("latency 1: median, worst; 1000",)
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for method, name in NAMES.items():
        part = [row for row in rows if row["method"] == method]
        if part:
            proved = sum(row["certificate"] == "valid" for row in part)
            inside, whole = _numbers(part, "box_fidelity"), _numbers(part, "domain_fidelity")
            same, changes = _numbers(part, "box_unchanged"), _numbers(part, "changes")
            seconds, busy = _numbers(part, "seconds"), _numbers(part, "cpu_seconds")
            single, many = _numbers(part, "latency_1"), _numbers(part, "latency_1000")
            guards = _numbers(part, "volume")
            yield (
                f"| {name} | {len(part)} | {proved} | {_middle(changes, '.3g')} | {_mean(inside)}, "
                f"{_least(inside)} | {_mean(same)} | {_least(whole)} "
                f"| {_middle(guards, '.1%')}, {_most(guards, '.0%')} | {_middle(seconds, '.3g')} "
                f"| {_middle(busy, '.3g')} | {_middle(single, '.3g')}, {_most(single, '.3g')}; "
                f"{_middle(many, '.3g')} |"
            )


def _numbers(rows: list[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows if row.get(column) not in (None, "", "None")]


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3%}" if values else "-"


def _least(values: list[float]) -> str:
    return f"{min(values):.3%}" if values else "-"


def _middle(values: list[float], form: str) -> str:
    return format(median(values), form) if values else "-"


def _most(values: list[float], form: str) -> str:
    return format(max(values), form) if values else "-"


def plot(rows: list[Row], path: Path) -> None:
    """Fidelity in the property's box against the number of changes, one point for each repair."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for method, name in NAMES.items():
        part = [r for r in rows if r["method"] == method and r.get("box_fidelity") not in (None, "", "None")]
        if part:
            loss = [max(1 - float(row["box_fidelity"]), 1e-5) for row in part]
            axes.scatter([float(row["changes"]) for row in part], loss, s=18, alpha=0.6, label=name)
    axes.set(xscale="log", yscale="log", xlabel="changes: gated neurons, half-spaces, or weights")
    axes.set_ylabel("changed advisories in the box (1e-5: none)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
