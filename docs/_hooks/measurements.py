"""The benchmark page: what every family says of itself, and a table of the results that are there."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

MARK = "<!-- measurements -->"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIGURES = Path(__file__).parents[1] / "figures"
DRAWN = ("repairs",)
"""The results files that figures are drawn from."""
MACHINE = ("seed", "date", "machine", "versions")
MOST_ROWS = 40
Row = dict[str, str]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the measurements where a page asks for them."""
    return markdown.replace(MARK, measurements()) if MARK in markdown else markdown


def measurements(folder: Path = BENCHMARKS) -> str:
    """One section for every family with results."""
    families = groupby(sorted(folder.glob("*/results/*.csv")), key=lambda path: path.parents[1])
    return "\n".join("\n".join(_section(family, list(files))) for family, files in families)


def _section(family: Path, files: Sequence[Path]) -> Iterator[str]:
    measured = [(path, rows) for path in files if path.stem != "only" and (rows := _read(path))]
    if not measured:
        return
    title, _, text = (family / "README.md").read_text(encoding="utf-8").partition("\n")
    yield f"## {title.lstrip('# ')}\n"
    yield text.replace("\n#", "\n###").strip() + "\n"
    for path, rows in measured:
        yield from _results(family, path, rows)
    yield from _plot(family / "results" / "comparison.svg")


def _results(family: Path, results: Path, rows: Sequence[Row]) -> Iterator[str]:
    yield f"### Measured: {results.name}\n"
    yield from SUMMARIES.get(family.name, _everything)(rows)
    yield ""
    yield from _figures(family.name) if results.stem in DRAWN else ()
    yield from _plot(results.parent / f"comparison_{results.stem}.svg")
    for fact in ("machine", "versions", "date"):
        yield f"- {fact}: {'; '.join(sorted({row[fact] for row in rows}))}"
    yield ""


def _figures(family: str) -> Iterator[str]:
    """What the family's command has drawn from its rows."""
    for path in sorted(FIGURES.glob(f"{family}_*.svg")):
        what = path.stem.removeprefix(f"{family}_").replace("_", " ")
        yield f"![{family.replace('_', ' ')}: {what}](figures/{path.name})\n"


def _plot(path: Path) -> Iterator[str]:
    """A comparison with published numbers, where there is one, as data: nothing is copied."""
    if path.exists():
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        yield f"![Measured (filled) and published (open) numbers](data:image/svg+xml;base64,{data})\n"


def _acasxu_verify(rows: Sequence[Row]) -> Iterator[str]:
    yield from _head("property", "instances", "decided", "wrong", "median s", "sum s", "slowest s")
    by_property = sorted(rows, key=lambda row: int("".join(filter(str.isdigit, row["property"]))))
    for prop, group in groupby(by_property, key=lambda row: row["property"].removesuffix(".vnnlib")):
        yield _verified(prop, list(group))
    yield _verified("**all**", rows)


def _verified(name: str, rows: Sequence[Row]) -> str:
    decided = [row for row in rows if row["verdict"] in ("holds", "violated")]
    wrong = sum(row["verdict"] != row["expected"] for row in decided)
    seconds = [float(row["seconds"]) for row in rows]
    return (
        f"| {name} | {len(rows)} | {len(decided)} | {wrong} | {median(seconds):.2f} | {sum(seconds):.1f} "
        f"| {max(seconds):.2f} |"
    )


def _acasxu_repair(rows: Sequence[Row]) -> Iterator[str]:
    if "norm" not in rows[0]:
        yield from _everything(rows)
        return
    valid = sum(row["certificate"] == "valid" for row in rows)
    kept = [float(row["agreement"]) for row in rows if row["agreement"] not in ("", "None")]
    seconds = [float(row["seconds"]) for row in rows]
    mean = f"{sum(kept) / len(kept):.3%}" if kept else "-"
    yield f"{valid} of {len(rows)} repaired, with certificates that `check` calls valid; mean agreement"
    yield f"{mean}; mean {sum(seconds) / len(rows):.1f} s, median {median(seconds):.1f} s.\n"
    numbers = ("cost", "lower_bound", "entries", "rounds", "seconds")
    shares = {"agreement": "same advisory", "region_agreement": "same in the region", "drawdown": "drawdown"}
    yield from _head(
        "network", "property", "status", "certificate", "norm", *(name.replace("_", " ") for name in numbers),
        *shares.values(),
    )  # fmt: skip
    for row in rows:
        network = f"N{row['network'].replace('_', ',')}"
        words = (network, row["property"], row["status"], row["certificate"], row["norm"])
        kept_shares = (_short(row[name], ".3%") for name in shares)
        yield f"| {' | '.join([*words, *(_short(row[name]) for name in numbers), *kept_shares])} |"


def _watermark(rows: Sequence[Row]) -> Iterator[str]:
    yield from _head("watermarks", "programs", "optimal", "largest relative error", "median s", "slowest s")
    for k, group in groupby(sorted(rows, key=lambda row: int(row["k"])), key=lambda row: row["k"]):
        part = list(group)
        seconds = [float(row["build_seconds"]) + float(row["solve_seconds"]) for row in part]
        optimal = [row for row in part if row["status"] == "optimal"]
        error = max((float(row["relative_error"]) for row in optimal), default=float("nan"))
        times = f"{median(seconds):.3f} | {max(seconds):.3f}"
        yield f"| {k} | {len(part)} | {len(optimal)} | {error:.1e} | {times} |"


def _bigm_build(rows: Sequence[Row]) -> Iterator[str]:
    sizes = ("columns", "binaries", "rows", "nonzeros")
    yield from _head("network", "repeats", *sizes, "median s", "slowest s")
    for network, group in groupby(rows, key=lambda row: row["network"]):
        part = list(group)
        seconds = [float(row["total_seconds"]) for row in part]
        size = " | ".join(part[0][name] for name in sizes)
        yield f"| {network} | {len(part)} | {size} | {median(seconds):.3f} | {max(seconds):.3f} |"


def _everything(rows: Sequence[Row]) -> Iterator[str]:
    """All columns but those about the machine, for results that need no summary."""
    names = [name for name in rows[0] if name not in MACHINE]
    yield from _head(*names)
    for row in rows[:MOST_ROWS]:
        yield f"| {' | '.join(_short(row[name]) for name in names)} |"
    if len(rows) > MOST_ROWS:
        yield f"\n{len(rows) - MOST_ROWS} further rows are in the file."


def _head(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"


def _short(text: str, form: str = ".6g") -> str:
    try:
        return format(float(text), form)
    except ValueError:
        return "-" if text in ("", "None") else text.replace("|", "\\|")


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _falsify(rows: Sequence[Row]) -> Iterator[str]:
    yield from _head("family", "attack", "instances", "within 1 s", "within 5 s", "median s")
    for family, attack in dict.fromkeys((row["family"], row["attack"]) for row in rows):
        part = [row for row in rows if (row["family"], row["attack"]) == (family, attack)]
        found = [float(row["seconds"]) for row in part if row["found"] == "True"]
        within = " | ".join(str(sum(second <= limit for second in found)) for limit in (1.0, 5.0))
        times = median(float(row["seconds"]) for row in part)
        yield f"| {family} | {attack} | {len(part)} | {within} | {times:.3f} |"


def _imitation(rows: Sequence[Row]) -> Iterator[str]:
    if "positives_agree" not in rows[0]:
        yield from _everything(rows)
        return
    shares = ("repaired_unseen", "positives_agree", "domain_agree")
    yield "Medians over runs, with the worst run behind them; shares in %, seconds of the processor.\n"
    yield from _head("networks", "method", "runs", *shares, "seconds")

    def key(row: Row) -> tuple[str, str]:
        hard = (row["network"], row["property"]) in (("1_9", "7"), ("2_9", "8"), ("3_3", "2"))
        return f"N{row['network']}/{row['property']}" if hard else "others/2", row["method"]

    for (name, method), group in groupby(sorted(rows, key=key), key=key):
        part = list(group)
        values = [[100 * float(row[share]) for row in part] for share in shares]
        cells = [f"{median(v):.2f} ({min(v):.2f})" for v in values]
        seconds = [float(row["cpu_seconds"]) for row in part]
        cells += [f"{median(seconds):.1f} ({max(seconds):.1f})"]
        yield f"| {name} | {method} | {len(part)} | " + " | ".join(cells) + " |"


SUMMARIES: dict[str, Callable[[Sequence[Row]], Iterator[str]]] = {
    "acasxu_repair": _acasxu_repair,
    "acasxu_verify": _acasxu_verify,
    "bigm_build": _bigm_build,
    "falsify": _falsify,
    "imitation": _imitation,
    "watermark": _watermark,
}
