"""Least change (Linf, L1) of the last layer that removes k watermarks, against the published optima."""

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

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "k",
    "sample",
    "status",
    "cost",
    "lower_bound",
    "published_lower",
    "published",
    "relative_error",
    "violation",
    "build_seconds",
    "solve_seconds",
    "solver",
)
SUMMARY_TOTAL = 100
NORMS = {"linf": norm.linf, "l1": norm.l1}
PUBLISHED = {"linf": "published_min_linf", "l1": "published_min_l1_sat_bound"}
"""The column of the published optima of several watermarks."""


@dataclass(frozen=True, slots=True, eq=False)
class Watermarks:
    """The last layer's weights [10, 150] and every watermark's input of it, label and runner-up."""

    weights: Array
    inputs: Array
    labels: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True, slots=True)
class Task:
    """One choice of watermarks with its published optimum, and a published lower bound where there is one."""

    k: int
    sample: int
    chosen: tuple[int, ...]
    published: float
    lower: float | None = None


def load(folder: Path) -> Watermarks:
    """The network's last layer and the watermarks."""
    model = onnx.load(next((folder / "onnx").glob("*.onnx")))
    layers = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    last = next(layer for layer in layers if set(layer.shape) == {150, 10}).astype(np.float64)
    data = np.load(folder / "watermarks.npz")
    ranked = np.argsort(-data["logits"], axis=1)
    weights = last if last.shape[0] == 10 else last.T
    return Watermarks(weights, data["last_layer_inputs"].astype(np.float64), ranked[:, 0], ranked[:, 1])


def tasks(folder: Path, measure: str = "linf") -> list[Task]:
    """Every published sample, 100 of each k: Linf 1, 2, 5, 25, 75 and one of k = 100; L1 1 to 5."""
    single = _rows(folder / f"published_{measure}_k1.csv")
    found = [
        Task(1, i, (i,), float(row["sat-epsilon"]), _lower(measure, row)) for i, row in enumerate(single)
    ]
    for row in _rows(folder / f"published_{measure}_multi.csv"):
        chosen = tuple(map(int, row["watermark_indices"].split()))
        found.append(Task(int(row["k"]), int(row["sample"]), chosen, float(row[PUBLISHED[measure]])))
    for row in _rows(folder / f"published_{measure}_summary.csv"):
        if int(row["Number of watermarks"]) == SUMMARY_TOTAL:
            everything = tuple(range(SUMMARY_TOTAL))
            found.append(Task(SUMMARY_TOTAL, 0, everything, float(row["Average change"])))
    return found


def _lower(measure: str, row: dict[str, str]) -> float | None:
    """The refuted end of the published bisection: L1 only, as Linf is published exactly."""
    return float(row["unsat-epsilon"]) if measure == "l1" else None


def build(marks: Watermarks, chosen: tuple[int, ...], measure: str = "linf") -> Program:
    """The least change D by which no chosen watermark's label beats its runner-up under the weights W + D."""
    program, points = Program(), np.array(chosen)
    outputs, width = marks.weights.shape
    weights = NORMS[measure](program, outputs * width) + marks.weights.ravel()
    logits = affine.dense_unknown(weights, Expr.constants(np.zeros(outputs)), marks.inputs[points])
    first = np.arange(len(points)) * outputs
    program.rows(logits[first + marks.labels[points]] - logits[first + marks.seconds[points]], upper=0.0)
    return program


def main() -> None:
    """Run every task and write one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark", description=__doc__)
    parser.add_argument("--norm", choices=sorted(NORMS), default="linf")
    parser.add_argument("--samples", type=int, default=100, help="samples of each k (default: all 100)")
    parser.add_argument("--solver", default="highs")
    parser.add_argument("--out", type=Path, help="default: results/NORM.csv")
    parser.add_argument("--plot", action="store_true", help="only draw the rows that there are")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    out = arguments.out or RESULTS / f"{arguments.norm}.csv"
    if not arguments.plot:
        measure(arguments, out)
    plot(out, out.parent / f"comparison_{arguments.norm}.svg", arguments.norm)


def measure(arguments: argparse.Namespace, out: Path) -> None:
    """One row for each task."""
    folder = data_folder("watermark_lpar20")
    marks, recorder = load(folder), Recorder(out, COLUMNS, resume=arguments.resume)
    for task in tasks(folder, arguments.norm):
        if task.sample < arguments.samples and not recorder.has(k=task.k, sample=task.sample):
            recorder.add(_row(marks, task, arguments.norm, arguments.solver))
    _print_summary(recorder)


def _row(marks: Watermarks, task: Task, measure: str, solver: str) -> dict[str, object]:
    started = time.perf_counter()
    program = build(marks, task.chosen, measure)
    built = time.perf_counter() - started
    answer = solve(program, solver)
    error = abs(answer.objective - task.published) / task.published if answer.objective is not None else ""
    return {
        "k": task.k,
        "sample": task.sample,
        "status": answer.status.value,
        "cost": answer.objective,
        "lower_bound": answer.bound,
        "published_lower": "" if task.lower is None else task.lower,
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
