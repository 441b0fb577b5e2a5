"""Sampling measured: `python -m benchmarks.sampling`; see the README beside this file."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.record import Recorder, data_folder
from benchmarks.sampling import acasxu, calibration, speed, wide
from benchmarks.sampling.plot import draw

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "calibration": calibration.CALIBRATION,
    "power": calibration.POWER,
    "rare": speed.RARE,
    "wide": wide.WIDE,
    "coverage": wide.COVERAGE,
    "speed": speed.SPEED,
    "batches": speed.BATCHES,
    "verdicts": acasxu.VERDICTS,
    "repairs": acasxu.REPAIRS,
}


def main() -> None:
    """Measure what was asked for, each into a file of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("what", nargs="*", default=[*COLUMNS, "plot"], help=f"{', '.join(COLUMNS)}, plot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", action="store_true", help="of rare, wide, coverage, verdicts and repairs: keep the rows"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - {*COLUMNS, "plot"}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in arguments.what:
        if name == "plot":
            draw(arguments.out)
            continue
        path, resume = arguments.out / f"{name}.csv", arguments.resume
        recorder = Recorder(path, COLUMNS[name], seed=arguments.seed, resume=resume)
        for row in _rows(name, arguments.seed, recorder.has):
            recorder.add(row)
            print(name, row, flush=True)


def _rows(name: str, seed: int, done: Callable[..., bool]) -> Iterator[dict[str, object]]:
    plain: dict[str, Callable[[int], Iterator[dict[str, object]]]] = {
        "calibration": calibration.calibration,
        "power": calibration.power,
        "rare": partial(speed.rare, done=done),
        "wide": partial(wide.wide, done=done),
        "coverage": partial(wide.coverage, done=done),
    }
    if name in plain:
        yield from plain[name](seed)
        return
    folder = data_folder("acasxu")
    with tempfile.TemporaryDirectory() as scratch:
        from_data: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
            "batches": partial(speed.batches, folder.parent, seed),
            "speed": partial(speed.speed, folder, seed),
            "verdicts": partial(acasxu.verdicts, folder, seed, done),
            "repairs": partial(acasxu.repairs, folder, seed, Path(scratch), done),
        }
        yield from from_data[name]()


if __name__ == "__main__":
    main()
