"""Seconds to build a big-M model of a fully connected network and to pass it to HiGHS."""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from benchmarks.record import Recorder
from layerwise import affine, relu
from layerwise.program import Array, Expr, Program
from repairsolver.solvers.driver import tidy
from repairsolver.solvers.highs import new_engine, pass_model

RESULTS = Path(__file__).parent / "results" / "build.csv"
COLUMNS = (
    "network",
    "repeat",
    "build_seconds",
    "pass_seconds",
    "total_seconds",
    "columns",
    "binaries",
    "rows",
    "nonzeros",
)
NETWORKS = {"784-256-256-10": (784, 256, 256, 10), "5-50-50-50-50-50-50-5": (5, *[50] * 6, 5)}
RADIUS = 0.05
LIMIT = 0.3


def random_layers(sizes: tuple[int, ...], seed: int) -> list[tuple[Array, Array]]:
    """Dense layers with He initialisation: nearly every rectifier of the later layers is unstable."""
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(sizes)
    return [(rng.standard_normal((m, n)) * np.sqrt(2 / n), 0.1 * rng.standard_normal(m)) for n, m in pairs]


def layer_bounds(layers: list[tuple[Array, Array]], center: Array) -> list[tuple[Array, Array]]:
    """Interval bounds of every layer's values before activation."""
    lower, upper, found = center - RADIUS, center + RADIUS, []
    for weight, bias in layers:
        middle, reach = weight @ (lower + upper) / 2 + bias, np.abs(weight) @ (upper - lower) / 2
        found.append((middle - reach, middle + reach))
        lower, upper = np.maximum(middle - reach, 0.0), np.maximum(middle + reach, 0.0)
    return found


def build(layers: list[tuple[Array, Array]], bounds: list[tuple[Array, Array]], center: Array) -> Program:
    """max y_0 - y_1 over the box, every rectifier by big-M."""
    program = Program()
    z: Expr = program.columns(len(center), center - RADIUS, center + RADIUS)
    for (weight, bias), (lower, upper) in zip(layers[:-1], bounds[:-1], strict=True):
        z = relu.big_m(program, affine.dense(z, weight, bias), lower, upper)
    y = affine.dense(z, *layers[-1])
    program.minimise(y[[1]] - y[[0]])
    return program


def main() -> None:
    """Measure every network several times; one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bigm_build", description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed)
    new_engine()  # the import of highspy is not part of building a model
    for name, sizes in NETWORKS.items():
        layers, center = random_layers(sizes, arguments.seed), np.full(sizes[0], 0.5)
        bounds = layer_bounds(layers, center)
        totals = [_measure(recorder, name, i, layers, bounds, center) for i in range(arguments.repeats)]
        print(f"{name}: median {np.median(totals):.3f} s, largest {max(totals):.3f} s")
    print(f"goal for 784-256-256-10: median of {LIMIT} s or less")


def _measure(
    recorder: Recorder,
    name: str,
    repeat: int,
    layers: list[tuple[Array, Array]],
    bounds: list[tuple[Array, Array]],
    center: Array,
) -> float:
    started = time.perf_counter()
    program = build(layers, bounds, center)
    built = time.perf_counter() - started
    flat = tidy(program.matrices())
    pass_model(new_engine(), flat)
    total = time.perf_counter() - started
    recorder.add(
        {
            "network": name,
            "repeat": repeat,
            "build_seconds": round(built, 4),
            "pass_seconds": round(total - built, 4),
            "total_seconds": round(total, 4),
            "columns": program.n_columns,
            "binaries": int(flat.integer.sum()),
            "rows": program.n_rows,
            "nonzeros": flat.rows.nnz,
        }
    )
    return total


if __name__ == "__main__":
    main()
