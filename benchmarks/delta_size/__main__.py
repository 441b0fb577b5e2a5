"""Least changes of last layers by size: `python -m benchmarks.delta_size`; see the README beside it."""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

from benchmarks.delta_size.measuring import measure
from benchmarks.record import Recorder

SIZES = tuple(
    (width, classes, points)
    for width, classes in ((64, 10), (512, 10), (512, 100), (2048, 1000))
    for points in (10, 100, 1000, 10_000)
)
"""Width of the feature layer, classes, points."""

COLUMNS = (
    "width",
    "classes",
    "points",
    "norm",
    "status",
    "cost",
    "lower_bound",
    "entries",
    "rows_used",
    "missed",
    "requirements_seconds",
    "solve_seconds",
    "peak_megabytes",
    "base_megabytes",
    "timeout",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delta_size", description=__doc__)
    parser.add_argument("--norm", default="l1", choices=("l0", "l1", "l2", "linf"))
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one program")
    parser.add_argument("--most", type=int, default=max(SIZES)[2] * 2048, help="largest width * points")
    parser.add_argument("--sizes", default="", help="only these, such as 512x10x10000,64x10x100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sizes.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    sizes = [tuple(map(int, item.split("x"))) for item in arguments.sizes.split(",") if item] or SIZES
    for width, classes, points in sizes:
        key = {"width": width, "classes": classes, "points": points, "norm": arguments.norm}
        if width * points > arguments.most or recorder.has(**key):
            continue
        # A process of its own, so that the peak of memory is that of this size alone.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(
                measure, (width, classes, points, arguments.norm, arguments.timeout, arguments.seed)
            )
        recorder.add(row)
        print({name: row[name] for name in COLUMNS if name != "timeout"}, flush=True)


if __name__ == "__main__":
    main()
