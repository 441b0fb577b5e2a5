"""Run the 186 ACAS Xu instances by `rs.sweep`, with one job and with several, and compare every verdict."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import repairsolver as rs
from benchmarks.acasxu_verify.instances import Instance, load_instances
from benchmarks.record import Recorder, data_folder, read_rows

HERE = Path(__file__).parent
ALONE = HERE.parent / "acasxu_verify" / "results" / "verdicts.csv"
COLUMNS = (
    "executor", "jobs", "timeout", "instances", "decided", "unsat", "sat", "errors", "wrong",
    "other_than_alone", "wall_seconds", "process_seconds", "cpu_seconds", "question_seconds", "idle_share",
)  # fmt: skip
WORDS = {"holds": "unsat", "violated": "sat"}
WRONG_VERDICT = 3


def main() -> None:
    """One row for each number of jobs; the sweep's own folders stay where `--keep` says."""
    arguments = _arguments()
    folder = data_folder("acasxu")
    listed = load_instances(folder)[: arguments.most]
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=True)
    for jobs in arguments.jobs:
        if recorder.has(executor=arguments.executor, jobs=jobs, instances=len(listed)):
            continue
        with tempfile.TemporaryDirectory() as made:
            out = (arguments.keep or Path(made)) / f"{arguments.executor}-{jobs}"
            row = _swept(folder, listed, out, arguments, jobs)
        recorder.add(row)
        print(row, flush=True)
        if row["wrong"] or row["other_than_alone"]:
            print("WRONG VERDICT: rely on nothing until this is explained", file=sys.stderr)
            sys.exit(WRONG_VERDICT)


def _swept(
    folder: Path, listed: list[Instance], out: Path, arguments: argparse.Namespace, jobs: int
) -> dict[str, object]:
    list_ = _written(folder, listed, out.parent / f"{out.name}.csv")
    made = rs.sweep(
        list_, out, jobs=jobs, timeout=arguments.timeout, seed=arguments.seed, executor=arguments.executor,
        resume=(out / "run.json").exists(),
    )  # fmt: skip
    if made.kept:
        raise SystemExit(f"{out}: rows are kept from an earlier run, whose seconds are unknown: start anew")
    rows = made.rows
    alone = {(r["network"], r["property"]): r["verdict"] for r in read_rows(ALONE)}
    spent = [float(row["process_seconds"]) for row in rows]
    results = [row["result"] for row in rows]
    other = [row for row in rows if row["result"] in WORDS.values() and _other(row, alone)]
    return {
        "executor": arguments.executor,
        "jobs": jobs,
        "timeout": arguments.timeout,
        "instances": len(rows),
        "decided": sum(result in WORDS.values() for result in results),
        "unsat": results.count("unsat"),
        "sat": results.count("sat"),
        "errors": results.count("error"),
        "wrong": len(made.wrong),
        "other_than_alone": len(other),
        "wall_seconds": round(made.seconds, 2),
        "process_seconds": round(sum(spent), 2),
        "cpu_seconds": round(sum(float(row["cpu_seconds"]) for row in rows), 2),
        "question_seconds": round(sum(float(row["seconds"]) for row in rows), 2),
        "idle_share": round(1 - sum(spent) / (jobs * made.seconds), 4),
    }


def _other(row: dict[str, str], alone: dict[tuple[str, str], str]) -> bool:
    """Whether an instance was decided otherwise when it was verified alone."""
    said = WORDS.get(alone.get((Path(row["onnx"]).name, Path(row["vnnlib"]).name), ""))
    return said is not None and said != row["result"]


def _written(folder: Path, listed: list[Instance], path: Path) -> Path:
    """The instances as a list with the known verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("onnx", "vnnlib", "expected"))
        for one in listed:
            writer.writerow((folder / "onnx" / one.network, folder / "vnnlib" / one.prop, one.expected))
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="instances at once (default 1 2)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for each instance (default 60)")
    parser.add_argument("--executor", default="local", help="who runs them (default local)")
    parser.add_argument("--most", type=int, help="only the first instances")
    parser.add_argument("--keep", type=Path, help="keep the folders of the sweeps there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sweeps.csv", help="rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
