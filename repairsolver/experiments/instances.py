"""Lists of instances: `instances.csv` as in VNN-COMP, and with a head of further columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repairsolver.errors import ExperimentError
from repairsolver.experiments.options import check_names, mode_of, read_option

HEADS = {
    "onnx": "network", "network": "network", "model": "network", "vnnlib": "property",
    "property": "property", "timeout": "timeout", "seconds": "timeout", "expected": "expected",
}  # fmt: skip
"""What columns may be called; any other is an option of the mode."""

VERDICTS = {"holds": "holds", "unsat": "holds", "violated": "violated", "sat": "violated"}
FOLDERS = (".", "onnx", "nnet", "vnnlib")
"""Where files of a list are looked for, beside it."""

MOST_ERRORS, MOST_ROWS = 20, 1_000_000

Row = tuple[int, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Instance:
    """One row of a list.

    Args:
        line: in the list, from 1.
        names: of network and property as the list has them.
        files: existing files by slot: `network`, `property` (several: all must hold) and options.
        timeout: seconds, or None.
        options: plain values, by name.
        expected: the known verdict, `holds`, `violated` or "".
    """

    line: int
    names: tuple[str, str]
    files: Mapping[str, tuple[Path, ...]]
    timeout: float | None
    options: Mapping[str, Any]
    expected: str = ""


def read_instances(
    source: str | Path | Sequence[Mapping[str, object]], mode: str, options: Mapping[str, str] | None = None
) -> list[Instance]:
    """The instances of a list.

    Args:
        source: a CSV file: network, property, timeout without a head, or with one that may name options of
            the mode, too; or rows as mappings with such names. Paths are relative to the list, its folders
            `onnx`, `nnet` and `vnnlib` included (of mappings, to the working folder); several properties of a
            row, and files of an option, are separated by `;`.
        options: for all rows; those of a row come first.

    Raises:
        ExperimentError: with every malformed row and missing file, by line; or two rows are alike.
        OSError: the list cannot be read.
    """
    general = dict(options or {})
    check_names(list(general), mode, "options")
    if isinstance(source, str | Path):
        where, folder, rows = str(source), Path(source).parent, _rows(Path(source))
    else:
        rows = [(n, {_named(k): str(v) for k, v in row.items()}) for n, row in enumerate(source, start=1)]
        where, folder = "the list", Path()
    if not rows:
        raise ExperimentError(f"{where}: no instances; expected rows of network, property, timeout")
    check_names(sorted({n for _, r in rows for n in r} - set(HEADS.values())), mode, where)
    found, errors = _read_all(rows, folder, mode, general)
    errors += _alike(found)
    if errors:
        more = f"\nand {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        raise ExperimentError("\n".join(f"{where}, {e}" for e in errors[:MOST_ERRORS]) + more)
    return found


def _read_all(
    rows: Sequence[Row], folder: Path, mode: str, general: Mapping[str, str]
) -> tuple[list[Instance], list[str]]:
    found, errors = [], []
    for line, row in rows:
        try:
            given = {name: text for name, text in ({**general, **row}).items() if text != ""}
            # what is general is relative to the working folder, what a row says to the list
            roots = {name: folder if row.get(name) else Path() for name in given}
            found.append(_instance(line, given, roots, mode))
        except ExperimentError as error:
            errors.append(f"line {line}: {error}")
    return found, errors


def _rows(path: Path) -> list[Row]:
    """The rows of a file by the names of their columns, with their lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: not a CSV file: {error}") from error
    if len(cells) > MOST_ROWS:
        raise ExperimentError(f"{path}: {len(cells)} rows, more than {MOST_ROWS}: split the list")
    if cells and cells[0][1][0].lower() in HEADS:
        head, cells = [_named(name) for name in cells[0][1]], cells[1:]
        twice = sorted({name for name in head if head.count(name) > 1})
        if twice:
            raise ExperimentError(f"{path}: line 1: two columns for {', '.join(twice)}")
    else:
        head = ["network", "property", "timeout"]
    wrong = [f"line {n}: {len(row)} cells" for n, row in cells if not 2 <= len(row) <= len(head)]
    if wrong:
        raise ExperimentError(
            f"{path}: expected 2 to {len(head)} cells with commas ({', '.join(head)}), got "
            f"{'; '.join(wrong[:MOST_ERRORS])}"
        )
    return [(n, dict(zip(head, row, strict=False))) for n, row in cells]


def _named(name: str) -> str:
    return HEADS.get(name.strip().lower(), name.strip())


def _instance(line: int, row: Mapping[str, str], roots: Mapping[str, Path], mode: str) -> Instance:
    missing = [name for name in ("network", "property") if name not in row]
    if missing:
        raise ExperimentError(f"no {' and no '.join(missing)}")
    slots = ("network", "property", *mode_of(mode).files)
    files = {slot: tuple(_files(row[slot], roots[slot])) for slot in slots if slot in row}
    expected = row.get("expected", "").lower()
    return Instance(
        line,
        (row["network"], row["property"]),
        files,
        _timeout(row.get("timeout")),
        {n: read_option(n, text, mode) for n, text in row.items() if n in mode_of(mode).options},
        # whatever else a list says, such as `unknown`, nothing is expected
        VERDICTS.get(expected, ""),
    )


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ExperimentError(f"timeout: expected seconds above 0, got {text!r}")
    return seconds


def _files(text: str, folder: Path) -> Iterator[Path]:
    """The files of a cell, each as it is, in a folder beside the list, or compressed."""
    for name in filter(None, (part.strip() for part in text.split(";"))):
        tries = [folder / beside / f"{name}{end}" for end in ("", ".gz") for beside in FOLDERS]
        path = next((path for path in tries if path.is_file()), None)
        if path is None:
            raise ExperimentError(f"no file {name} in {folder.resolve()}")
        yield path.resolve()


def _alike(found: Sequence[Instance]) -> list[str]:
    """Rows that ask the same as one before them."""
    seen: dict[str, int] = {}
    errors = []
    for one in found:
        asked = repr((sorted(one.files.items()), sorted(one.options.items())))
        first = seen.setdefault(asked, one.line)
        if first != one.line:
            errors.append(f"line {one.line}: asks the same as line {first}: take one of them out")
    return errors
