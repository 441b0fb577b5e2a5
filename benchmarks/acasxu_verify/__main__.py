"""Verify the 186 ACAS Xu instances and compare every verdict with the known one."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.acasxu_verify.instances import Instance, load_instances, verify_instance
from benchmarks.acasxu_verify.summary import is_wrong, write_summary
from benchmarks.record import Recorder, data_folder
from repairsolver.verification.searching import processors

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "network",
    "property",
    "expected",
    "verdict",
    "seconds",
    "total_seconds",
    "boxes",
    "methods",
    "proved_volume",
    "timeout",
    "jobs",
    "threads",
)
WRONG_VERDICT = 3


def main() -> None:
    """Run the instances that have no row yet, one row each; stop at a wrong verdict."""
    arguments = _arguments()
    folder = data_folder("acasxu")
    chosen = [i for i in load_instances(folder) if not arguments.only or _matches(i, arguments.only)]
    if not chosen:
        raise SystemExit(
            f"no instance matches {', '.join(arguments.only)}: try N2,9 or prop_8 or 'N2,9 prop_8'"
        )
    out = arguments.out or RESULTS / ("only.csv" if arguments.only else "verdicts.csv")
    threads = str(max(1, processors() // arguments.jobs))
    threads = os.environ.setdefault("REPAIRSOLVER_THREADS", threads)
    recorder = Recorder(out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    facts = {"timeout": arguments.timeout, "jobs": arguments.jobs, "threads": threads}
    left = [i for i in chosen if not recorder.has(network=i.network, property=i.prop)]
    for instance, row in _run(folder, left, arguments.timeout, arguments.seed, arguments.jobs):
        recorder.add(row | facts)
        print(
            f"{len(recorder.rows):4d}  {instance.short:14}  {row['verdict']:9}  {row['seconds']:8} s",
            flush=True,
        )
        if is_wrong(recorder.rows[-1]):
            _alarm(instance, str(row["verdict"]))
    print(f"\n{write_summary(recorder.rows, out)}\nRows: {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acasxu_verify", description=__doc__)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each instance (default 60)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="instances at once; they share the cores (default 1)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WHAT", help="N2,9 or prop_8 or 'N2,9 prop_8'"
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, help="default: results/verdicts.csv, with --only results/only.csv"
    )
    return parser.parse_args()


def _matches(instance: Instance, wanted: Sequence[str]) -> bool:
    return any(set(words.split()) <= set(instance.short.split()) for words in wanted)


def _run(
    folder: Path, instances: Sequence[Instance], timeout: float, seed: int, jobs: int
) -> Iterator[tuple[Instance, dict[str, object]]]:
    """Rows as they are finished: in this process, or in `jobs` fresh ones."""
    if jobs == 1:
        for instance in instances:
            yield instance, verify_instance(folder, instance, timeout, seed)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(verify_instance, folder, i, timeout, seed): i for i in instances}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _alarm(instance: Instance, verdict: str) -> None:
    print(
        f"\nWRONG VERDICT: {instance.short} is known to be {instance.expected}, got {verdict}. The run stops "
        "here; the row is in the results. Until this is explained, rely on nothing that this version proved.",
        file=sys.stderr,
    )
    sys.exit(WRONG_VERDICT)


if __name__ == "__main__":
    main()
