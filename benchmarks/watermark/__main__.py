"""Least Linf change of the last layer that removes k watermarks, against the published optima."""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.record import Recorder, data_folder
from benchmarks.watermark.plot import plot
from layerwise import affine, norm
from layerwise.program import Array, Expr, Program
from repairsolver.solvers import solve

RESULTS = Path(__file__).parent / "results" / "linf.csv"
COLUMNS = (
    "k",
    "sample",
    "status",
    "linf",
    "lower_bound",
    "published",
    "relative_error",
    "violation",
    "build_seconds",
    "solve_seconds",
    "solver",
)
SUMMARY_TOTAL = 100


@dataclass(frozen=True, slots=True, eq=False)
class Watermarks:
    """The last layer's weights [10, 150] and every watermark's input of it, label and runner-up."""

    weights: Array
    inputs: Array
    labels: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True, slots=True)
class Task:
    """One choice of watermarks with its published optimum."""

    k: int
    sample: int
    chosen: tuple[int, ...]
    published: float


def load(folder: Path) -> Watermarks:
    """The network's last layer and the watermarks."""
    model = onnx.load(next((folder / "onnx").glob("*.onnx")))
    layers = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    last = next(layer for layer in layers if set(layer.shape) == {150, 10}).astype(np.float64)
    data = np.load(folder / "watermarks.npz")
    ranked = np.argsort(-data["logits"], axis=1)
    weights = last if last.shape[0] == 10 else last.T
    return Watermarks(weights, data["last_layer_inputs"].astype(np.float64), ranked[:, 0], ranked[:, 1])


def tasks(folder: Path) -> list[Task]:
    """Every published sample: k = 1 (100), k = 2, 5, 25, 75 (100 each), k = 100 (1)."""
    single = [float(row["sat-epsilon"]) for row in _rows(folder / "published_linf_k1.csv")]
    found = [Task(1, i, (i,), optimum) for i, optimum in enumerate(single)]
    for row in _rows(folder / "published_linf_multi.csv"):
        chosen = tuple(map(int, row["watermark_indices"].split()))
        found.append(Task(int(row["k"]), int(row["sample"]), chosen, float(row["published_min_linf"])))
    for row in _rows(folder / "published_linf_summary.csv"):
        if int(row["Number of watermarks"]) == SUMMARY_TOTAL:
            everything = tuple(range(SUMMARY_TOTAL))
            found.append(Task(SUMMARY_TOTAL, 0, everything, float(row["Average change"])))
    return found


def build(marks: Watermarks, chosen: tuple[int, ...]) -> Program:
    """min max |D| so that no chosen watermark's label beats its runner-up under the weights W + D."""
    program, points = Program(), np.array(chosen)
    outputs, width = marks.weights.shape
    weights = norm.linf(program, outputs * width) + marks.weights.ravel()
    logits = affine.dense_unknown(weights, Expr.constants(np.zeros(outputs)), marks.inputs[points])
    first = np.arange(len(points)) * outputs
    program.rows(logits[first + marks.labels[points]] - logits[first + marks.seconds[points]], upper=0.0)
    return program


def main() -> None:
    """Run every task and write one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark", description=__doc__)
    parser.add_argument("--samples", type=int, default=100, help="samples of each k (default: all 100)")
    parser.add_argument("--solver", default="highs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--plot", action="store_true", help="only draw the rows that there are")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    if not arguments.plot:
        measure(arguments)
    plot(arguments.out, arguments.out.parent / "comparison.svg")


def measure(arguments: argparse.Namespace) -> None:
    """One row for each task."""
    folder = data_folder("watermark_lpar20")
    marks, recorder = load(folder), Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for task in tasks(folder):
        if task.sample < arguments.samples and not recorder.has(k=task.k, sample=task.sample):
            recorder.add(_row(marks, task, arguments.solver))
    _print_summary(recorder)


def _row(marks: Watermarks, task: Task, solver: str) -> dict[str, object]:
    started = time.perf_counter()
    program = build(marks, task.chosen)
    built = time.perf_counter() - started
    answer = solve(program, solver)
    error = abs(answer.objective - task.published) / task.published if answer.objective is not None else ""
    return {
        "k": task.k,
        "sample": task.sample,
        "status": answer.status.value,
        "linf": answer.objective,
        "lower_bound": answer.bound,
        "published": task.published,
        "relative_error": error,
        "violation": answer.violation,
        "build_seconds": round(built, 4),
        "solve_seconds": round(answer.seconds, 4),
        "solver": solver,
    }


def _print_summary(recorder: Recorder) -> None:
    print("    k  solved  largest relative error  median s  largest s")
    for k in sorted({int(row["k"]) for row in recorder.rows}):
        rows = [row for row in recorder.rows if int(row["k"]) == k and row["relative_error"]]
        seconds = [float(row["build_seconds"]) + float(row["solve_seconds"]) for row in rows]
        error = max(float(row["relative_error"]) for row in rows)
        print(f"{k:5d}  {len(rows):6d}  {error:22.2e}  {np.median(seconds):8.3f}  {max(seconds):9.3f}")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
