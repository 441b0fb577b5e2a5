"""Repair ACAS Xu networks: `python -m benchmarks.acasxu_repair`; see the README beside this file."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.acasxu_repair.instances import Pair, strengthened_pairs, violated_pairs
from benchmarks.acasxu_repair.measure import COLUMNS, run
from benchmarks.acasxu_repair.plots import draw
from benchmarks.clock import CLOCK
from benchmarks.record import Recorder, data_folder, read_rows
from repairsolver.verification.searching import processors

RESULTS = Path(__file__).parent / "results" / "repairs.csv"

STRENGTHENED = RESULTS.with_name("strengthened.csv")

IMITATION = RESULTS.with_name("imitation.csv")

SOFT = 0.01
"""The price of a kept sample, for property 2 strengthened: in the last layer not all can be kept."""

KEPT = 2000
"""Uniform samples of the whole domain whose advisory the repair must keep."""


def main() -> None:
    """Repair the pairs that have no row yet, one row each."""
    arguments = _arguments()
    if arguments.plots:
        _draw(read_rows(arguments.out))
        return
    folder = data_folder("acasxu")
    pairs = violated_pairs(folder, everything=arguments.everything)
    if arguments.strengthened:
        pairs = strengthened_pairs(folder.parent)
    wanted = set(arguments.only.split(",")) if arguments.only else set()
    chosen = [pair for pair in pairs if not wanted or {pair.network, pair.name.replace(",", "_")} & wanted]
    if not chosen:
        raise SystemExit(f"no pair matches {arguments.only}: try 2_1 or N2_9/8")
    threads = str(max(1, processors() // arguments.jobs))
    arguments.threads = os.environ.setdefault("REPAIRSOLVER_THREADS", threads)
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    left = [
        pair
        for pair in chosen
        if not recorder.has(network=pair.network, property=pair.stated, norm=arguments.norm)
    ]
    for row in _run(folder, left, arguments):
        recorder.add(row)
        print({key: row[key] for key in COLUMNS if row[key] is not None}, flush=True)
    if arguments.out == RESULTS:
        _draw(recorder.rows)


def _draw(rows: Sequence[dict[str, str]]) -> None:
    for path in draw(rows):
        print(f"drawn: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acasxu_repair", description=__doc__)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one property 2 repair")
    parser.add_argument("--hard-timeout", type=float, default=300.0, help="seconds for properties 7 and 8")
    parser.add_argument("--method", default="delta", choices=("delta", "imitation"), help="default: delta")
    parser.add_argument("--norm", default="l1", help="as for `repairsolver repair`")
    parser.add_argument("--keep", type=int, default=KEPT, help="samples whose advisory is kept")
    parser.add_argument(
        "--keep-soft", type=float, help="price of losing them; default: none may be lost (strengthened: 0.01)"
    )
    parser.add_argument("--only", default="", help="networks or pairs to run, e.g. 2_1,N2_9/8")
    parser.add_argument("--everything", action="store_true", help="all 47 violated pairs, not the usual 36")
    parser.add_argument("--strengthened", action="store_true", help="property 2 as several papers state it")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at once; they share the cores (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--save", type=Path, help="folder for the repaired networks and certificates")
    parser.add_argument(
        "--out", type=Path, help="default: in results/, repairs.csv, strengthened.csv or imitation.csv"
    )
    parser.add_argument("--plots", action="store_true", help="only draw the figures of the rows there are")
    arguments = parser.parse_args()
    if CLOCK == "processor" and arguments.jobs != 1:
        parser.error("seconds of the processor are counted for one job at a time")
    if arguments.strengthened and arguments.keep_soft is None:
        arguments.keep_soft = SOFT
    usual = STRENGTHENED if arguments.strengthened else RESULTS
    arguments.out = arguments.out or (IMITATION if arguments.method == "imitation" else usual)
    return arguments


def _run(folder: Path, pairs: list[Pair], arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Rows as they are finished: in this process, or in `jobs` fresh ones."""
    if arguments.jobs == 1:
        yield from (run(folder, pair, arguments) for pair in pairs)
        return
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run, folder, pair, arguments) for pair in pairs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
