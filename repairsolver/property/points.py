"""Sets of inputs, with or without labels: what a repair must mend, and what it must keep.

Two kinds of files are read:

- `.npz`: an array `inputs`, `x` or `points`, [k, n] or [k, *input shape], and optionally `labels`, [k].
- `.csv`: one point per row, n columns, and optionally a last column of labels. The first row may be a
  header; its last name `label` or `labels` says that there are labels. Without a header a column more
  than the network has inputs says so.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repairsolver.errors import PointSetError, told
from repairsolver.network.graph import Network
from repairsolver.results import Array, counted
from repairsolver.signatures import refuse_misfit, typed

INPUT_NAMES = ("inputs", "x", "points")
LABEL_NAMES = ("label", "labels")
MAX_BYTES = 8 * 1024**3
"""Most that the arrays of an `.npz` file may unpack to."""

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True, eq=False)
class PointSet:
    """Inputs of a network, and what it should answer where that is known.

    Args:
        inputs: [k, n], finite, at least one point.
        labels: [k], whole numbers from 0; None where unknown.
        name: for messages.
    """

    inputs: Array
    labels: NDArray[np.int64] | None = None
    name: str = "points"

    def __post_init__(self) -> None:
        refuse_misfit("PointSet", "inputs", "ArrayLike", self.inputs)
        inputs = np.array(self.inputs, dtype=np.float64)
        if inputs.ndim != 2 or not inputs.size:
            none = "there are no points: " if inputs.ndim == 2 else ""
            raise PointSetError(
                f"{self.name}: {none}points have shape {inputs.shape}, expected [points, inputs], at least "
                "one of each"
            )
        bad = np.flatnonzero(~np.isfinite(inputs).all(axis=1))
        if bad.size:
            raise PointSetError(
                f"{self.name}: NaN or infinite numbers in points {_indices(bad)}: leave them out"
            )
        inputs.setflags(write=False)
        object.__setattr__(self, "inputs", inputs)
        if self.labels is not None:
            object.__setattr__(self, "labels", _whole(self.labels, len(inputs), self.name))

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else "labelled"
        count = counted(len(self), "point")
        return f"<PointSet {self.name}: {count} of {counted(self.inputs.shape[1], 'number')}, {labels}>"


@typed
def load_points(path: str | Path, network: Network | None = None) -> PointSet:
    """Read points from an `.npz` or `.csv` file.

    Args:
        network: where given, points and labels must fit it.

    Raises:
        PointSetError: the file cannot be read, holds no points, numbers that are not finite, rows of
            different lengths (all of them listed by line), arrays that are not known by name (listed),
            pickled objects, or does not fit the network.
    """
    file = Path(path)
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if file.suffix.lower() not in readers:
        raise PointSetError(f"{file}: expected a file that ends in .npz or .csv")
    try:
        points = readers[file.suffix.lower()](file, network)
    # RuntimeError is what zipfile raises for entries that are encrypted.
    except (OSError, EOFError, zipfile.BadZipFile, csv.Error, UnicodeDecodeError, RuntimeError) as error:
        raise PointSetError(f"{file}: cannot read the points: {told(error)}") from error
    if network is not None:
        _check_network(points, network)
    return points


def _check_network(points: PointSet, network: Network) -> None:
    if points.inputs.shape[1] != network.input_size:
        raise PointSetError(
            f"{points.name}: points have {counted(points.inputs.shape[1], 'number')}, but network "
            f"{network.name} has {counted(network.input_size, 'input')}: give the points of this network"
        )
    _check_labels(points, network)
    check_range(points, network)


def _check_labels(points: PointSet, network: Network) -> None:
    """Refuse labels that are no output, naming their points."""
    if points.labels is None:
        return
    bad = np.flatnonzero(points.labels >= network.output_size)
    if bad.size:
        raise PointSetError(
            f"{points.name}: the largest label is {points.labels.max()}, but network {network.name} has "
            f"outputs 0 to {network.output_size - 1}: correct the labels, which count from 0, of points "
            f"{_indices(bad)}, or leave these points out"
        )


def check_range(points: PointSet, network: Network) -> None:
    """Refuse points that the network's element type cannot hold.

    Raises:
        PointSetError: listing them.
    """
    largest = float(np.finfo(network.element).max)
    bad = np.flatnonzero((np.abs(points.inputs) > largest).any(axis=1))
    if bad.size:
        raise PointSetError(
            f"{points.name}: points {_indices(bad)} have numbers beyond {largest:.4g}, the largest "
            f"{network.element} number, where network {network.name} cannot be run: leave them out"
        )


def _read_npz(file: Path, network: Network | None) -> PointSet:
    arrays = _arrays(file)
    present = ", ".join(arrays) or "none"
    inputs = [name for name in INPUT_NAMES if name in arrays]
    unknown = [name for name in arrays if name not in (*INPUT_NAMES, "labels")]
    if len(inputs) != 1 or unknown:
        raise PointSetError(
            f"{file}: arrays present: {present}; expected exactly one of {', '.join(INPUT_NAMES)}, "
            f"optionally labels, and nothing else"
        )
    points = arrays[inputs[0]]
    if points.dtype.kind not in "fiu" or points.ndim < 2:
        raise PointSetError(
            f"{file}: array {inputs[0]} has type {points.dtype} and shape {list(points.shape)}, expected "
            "real numbers [points, inputs] or [points, *input shape]"
        )
    if not points.size:
        raise PointSetError(f"{file}: array {inputs[0]} has shape {list(points.shape)}: there are no points")
    labels = _whole(arrays["labels"], len(points), str(file)) if "labels" in arrays else None
    return PointSet(points.reshape(len(points), -1).astype(np.float64), labels, str(file))


def _arrays(file: Path) -> Mapping[str, NDArray[Any]]:
    """All arrays of an archive; refuses pickles and what unpacks to too much."""
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise PointSetError(
            f"{file}: the arrays unpack to {size} bytes, the most that is read is {MAX_BYTES}"
        )
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}
    except ValueError as error:
        raise PointSetError(
            f"{file}: holds something that is not a plain array of numbers (pickles are refused): {error}"
        ) from error


def _whole(labels: NDArray[Any], count: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.shape == (count, 1):
        array = array[:, 0]
    if array.dtype.kind not in "fiu" or array.shape != (count,):
        raise PointSetError(
            f"{name}: labels have type {array.dtype} and shape {list(array.shape)}, expected whole numbers "
            f"[{count}]"
        )
    bad = np.flatnonzero(~((array >= 0) & (array < 2**53) & (np.floor(array) == array)))
    if bad.size:
        raise PointSetError(f"{name}: labels of points {_indices(bad)} are not whole numbers from 0")
    whole = array.astype(np.int64)
    whole.setflags(write=False)
    return whole


def _read_csv(file: Path, network: Network | None) -> PointSet:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    header = [cell.strip() for cell in rows[0][1]] if rows and _is_header(rows[0][1]) else None
    body = rows if header is None else rows[1:]
    if not body:
        raise PointSetError(f"{file}: there are no points: expected one row of numbers for each")
    columns, labelled = _columns(header or body[0][1], header is not None, network)
    if network is not None and columns - labelled != network.input_size:
        raise PointSetError(
            f"{file}:{rows[0][0]}: {counted(columns, 'column')}, {_last(header)}but network {network.name} "
            f"has {counted(network.input_size, 'input')}: expected that many, separated by commas, and "
            "optionally a last one of labels, which a header has to call label or labels"
        )
    values = _numbers(body, columns, file)
    if labelled:
        return PointSet(values[:, :-1], _whole(values[:, -1], len(values), str(file)), str(file))
    return PointSet(values, None, str(file))


def _columns(first: Sequence[str], is_header: bool, network: Network | None) -> tuple[int, bool]:
    """How many columns there are, and whether the last one holds labels."""
    if is_header:
        return len(first), first[-1].lower() in LABEL_NAMES
    return len(first), network is not None and len(first) == network.input_size + 1


def _last(header: Sequence[str] | None) -> str:
    """The name on which it rests whether there are labels, where a file has names."""
    return f"the last of them called {header[-1]!r}, " if header else ""


def _is_header(row: Sequence[str]) -> bool:
    """Whether no cell of a row is a number."""
    return all(_number(cell) is None for cell in row)


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _numbers(rows: Sequence[tuple[int, Sequence[str]]], columns: int, file: Path) -> Array:
    """All rows as numbers, [k, columns]; every malformed line is reported."""
    values = np.empty((len(rows), columns))
    problems = []
    for index, (line, row) in enumerate(rows):
        if len(row) != columns:
            problems.append(f"line {line}: {len(row)} columns, expected {columns}")
            continue
        for place, cell in enumerate(row):
            number = _number(cell)
            if number is None or not np.isfinite(number):
                problems.append(f"line {line}, column {place + 1}: {cell.strip()!r} is not a finite number")
            else:
                values[index, place] = number
    if problems:
        raise PointSetError(f"{file}: {_some(problems, '; ')}")
    return values


def _indices(points: NDArray[np.intp]) -> str:
    """Indices of points in a message, in brackets: they count from 0."""
    return _some([f"[{index}]" for index in points.tolist()])


def _some(items: Sequence[object], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _MOST_SHOWN} more" if len(items) > _MOST_SHOWN else ""
    return separator.join(map(str, items[:_MOST_SHOWN])) + more
