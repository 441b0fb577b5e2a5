"""Runs side by side: where they contradict each other, what only some of them have, tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from repairsolver.display import table_html
from repairsolver.errors import ReportError
from repairsolver.report import tables
from repairsolver.report.figure import image
from repairsolver.report.plots import sweep_figures
from repairsolver.report.published import Published, read_published
from repairsolver.report.sweep import Instance, Sweep, read_rows, sweep_of
from repairsolver.report.tables import Form, Table
from repairsolver.signatures import typed
from repairsolver.targets import file_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPPOSITE = frozenset({"holds", "violated"})
ROUNDING = 1e-6
"""Relative; a cost must be below another run's lower bound by more to contradict it."""

ENDINGS: dict[Form, str] = {"csv": "csv", "latex": "tex", "text": "txt"}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two runs that cannot both be right about an instance.

    Args:
        key: what the runs call the instance.
        first, second: the names of the runs.
        what: how they contradict each other, in words.
    """

    key: tuple[str, ...]
    first: str
    second: str
    what: str

    def __str__(self) -> str:
        return f"{' '.join(self.key)}: {self.what}"


@dataclass(frozen=True)
class Comparison:
    """Runs with the same columns of keys.

    Args:
        sweeps: the runs, the baseline last.
        published: totals of further tools.
    """

    sweeps: tuple[Sweep, ...]
    published: tuple[Published, ...] = ()

    @cached_property
    def contradictions(self) -> list[Contradiction]:
        """Every pair of runs and instance that contradict each other."""
        return [
            Contradiction(key, one.name, two.name, what)
            for one, two in combinations(self.sweeps, 2)
            for key in one.by_key
            if key in two.by_key and (what := _contradict(one, two, key))
        ]

    @cached_property
    def wrong(self) -> list[tuple[str, Instance]]:
        """Rows that contradict the answer that their own file says to be right."""
        return [(s.name, one) for s in self.sweeps for one in s.by_key.values() if one.wrong]

    def missing(self, sweep: Sweep) -> list[tuple[str, ...]]:
        """Instances that other runs have, and this one has not."""
        every = dict.fromkeys(k for s in self.sweeps for k in s.by_key)
        return [key for key in every if key not in sweep.by_key]

    @cached_property
    def summary(self) -> Table:
        return tables.summary(self.sweeps, self.published)

    @cached_property
    def instances(self) -> Table:
        return tables.instances(self.sweeps, every=True)

    def figures(self, timeout: float | None = None) -> Iterator[tuple[Figure, str, str]]:
        """Every plot with its title and what it shows."""
        return sweep_figures(self.sweeps, timeout, self.published)

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{escape(line)}</li>" for line in self.sentences())
        table = self.summary
        return f"<ul>{said}</ul>" + table_html(table.caption, table.head, tables.shown(table))

    def sentences(self, most: int = 10) -> Iterator[str]:
        """What is wrong, and what cannot be compared, in plain words."""
        for found in self.contradictions:
            yield f"CONTRADICTION: {found}"
        for name, one in self.wrong:
            yield f"WRONG: {' '.join(one.key)}: {name} says {one.answer}, its file knows the opposite"
        for sweep in self.sweeps:
            lost = self.missing(sweep)
            if lost:
                shown = ", ".join(" ".join(key) for key in lost[:most])
                more = f" and {len(lost) - most} more" if len(lost) > most else ""
                yield f"Not in {sweep.name}: {len(lost)}: {shown}{more}"
        for tool in self.published:
            if tool.source:
                yield f"{tool.name}: {tool.source}"


@typed
def compare(paths: Sequence[str | Path], published: Sequence[str | Path] = ()) -> Comparison:
    """Put runs side by side: what each solved, how fast and how well, and where they contradict each other.

    Args:
        paths: folders of `sweep` or `bench`, or CSV files of one row an instance; the last is the baseline.
        published: CSV files of published numbers: rows of instances, or a row of totals for each tool.

    Raises:
        ReportError: a file is no such thing; or the runs have no columns in common that tell instances apart.
        OSError: one cannot be read.
    """
    if not paths:
        raise ReportError("no runs to compare: give folders of `bench`, or CSV files of one row an instance")
    sweeps = [sweep for path in paths for sweep in _read(Path(path))]
    totals: list[Published] = []
    for path in published:
        rows, found = read_published(Path(path))
        sweeps += rows
        totals += found
    return Comparison(tuple(_aligned(_told_apart(sweeps))), tuple(totals))


def write_comparison(made: Comparison, folder: Path, timeout: float | None = None) -> list[Path]:
    """Write both tables as .csv, .tex and .txt, every plot as .svg, and all of it as one page; the paths."""
    from repairsolver.report.page import write_page
    from repairsolver.report.sweep_page import comparison_page

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in (("summary", made.summary), ("instances", made.instances)):
        for form, ending in ENDINGS.items():
            paths.append(folder / f"{name}.{ending}")
            file_target(paths[-1]).write_text(tables.written(table, form), encoding="utf-8")
    for drawn, title, _ in made.figures(timeout):
        paths.append(folder / f"{_file_name(title)}.svg")
        file_target(paths[-1]).write_bytes(image(drawn, "svg"))
    paths.append(folder / "comparison.html")
    write_page(comparison_page(made, timeout), paths[-1])
    return paths


def _contradict(one: Sweep, two: Sweep, key: tuple[str, ...]) -> str:
    """How two runs contradict each other on an instance, or nothing."""
    a, b = one.by_key[key], two.by_key[key]
    if {a.answer, b.answer} == OPPOSITE:
        return f"{one.name} says {a.answer}, {two.name} says {b.answer}"
    if a.asked != b.asked or not a.asked[0]:
        return ""
    for (cheap, x), (dear, y) in (((one, a), (two, b)), ((two, b), (one, a))):
        if x.cost is not None and y.lower_bound is not None and _below(x.cost, y.lower_bound):
            return (
                f"the repair of {cheap.name} costs {x.cost:.9g}, but {dear.name} claims that none costs less "
                f"than {y.lower_bound:.9g}"
            )
    return ""


def _below(cost: float, bound: float) -> bool:
    return cost < bound - ROUNDING * abs(bound)


def _read(path: Path) -> list[Sweep]:
    """The runs in a folder of a sweep or in a CSV file: several where options tell rows apart."""
    file = path / "results.csv" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise ReportError(f"{path}: no results.csv in it; expected the folder of `repairsolver bench`")
    rows, name = read_rows(file), path.resolve().name if path.is_dir() else path.stem
    whole = sweep_of(rows, name, file)
    if len(whole.by_key) == len(rows) or "options" not in rows[0]:
        return [whole]
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["options"], []).append(row)
    shared = set.intersection(*(set(options.split()) for options in groups))
    return [
        sweep_of(group, f"{name} [{' '.join(o for o in options.split() if o not in shared)}]", file)
        for options, group in sorted(groups.items())
    ]


def _told_apart(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The sweeps by names of their own."""
    names = [s.name for s in sweeps]
    return [
        replace(s, name=f"{s.name} ({names[: i + 1].count(s.name)})") if names.count(s.name) > 1 else s
        for i, s in enumerate(sweeps)
    ]


def _aligned(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The sweeps by the columns of keys that all have; files by their names alone.

    Raises:
        ReportError: there are none, or they do not tell the instances of a sweep apart.
    """
    common = [k for k in sweeps[0].keys if all(k in s.keys for s in sweeps) and k != "row"]
    if not common:
        named = "; ".join(f"{s.name} by {', '.join(s.keys)}" for s in sweeps)
        raise ReportError(f"no column names the instances of all runs: {named}")
    aligned = []
    for s in sweeps:
        places = [s.keys.index(k) for k in common]
        made = replace(s, keys=tuple(common), instances=tuple(
            replace(i, key=tuple(_short(i.key[p], k) for p, k in zip(places, common, strict=True)))
            for i in s.instances
        ))  # fmt: skip
        if len(made.by_key) < len(made.instances):
            raise ReportError(
                f"{s.name}: {len(made.instances)} rows, but only {len(made.by_key)} different "
                f"{', '.join(common)}: give runs that name each instance once"
            )
        aligned.append(made)
    return aligned


def _short(text: str, key: str) -> str:
    """A file's name without folders and compression, as lists and tools write them differently."""
    if key not in ("network", "property"):
        return text
    return ";".join(Path(part.strip()).name.removesuffix(".gz") for part in text.split(";"))


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
