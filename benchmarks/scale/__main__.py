"""Run the family: `python -m benchmarks.scale [search] [sweep] [forecast]`; rows that are there are kept."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.acasxu_verify.instances import load_instances
from benchmarks.record import Recorder, data_folder
from benchmarks.scale.forecasting import forecast
from benchmarks.scale.once import ALONE, ROOT

RESULTS = Path(__file__).parent / "results"
PARTS = ("search", "sweep", "forecast")
INSTANCES = {
    "N3,3/2": ("ACASXU_run2a_3_3_batch_2000.onnx", "prop_2.vnnlib"),
    "N1,1/6": ("ACASXU_run2a_1_1_batch_2000.onnx", "prop_6.vnnlib"),
}
SEARCHES = ((ALONE, 0), ("local", 1), ("local", 2), ("ray", 1), ("ray", 2))
SWEEPS = (("local", 1), ("ray", 1), ("local", 2), ("ray", 2))
SPENT = (
    "wall_seconds", "driver_seconds", "worker_seconds", "others_seconds", "start_seconds",
    "start_cpu_seconds",
)  # fmt: skip
SEARCH = (
    "instance", "executor", "jobs", "round", "verdict", "boxes", "packets", "tree", "certificate", *SPENT
)  # fmt: skip
PACKETS = (
    "instance", "executor", "jobs", "round", "name", "parent", "examined", "open", "sent", "returned",
    "cpu_seconds", "seconds", "driver_seconds",
)  # fmt: skip
SWEEP = (
    "executor", "jobs", "part", "parts", "instances", "unsat", "sat", "undecided", "wrong", "other", *SPENT
)  # fmt: skip
WRONG_VERDICT = 3


def main() -> None:
    """Write rows part by part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="of the searches (default 3)")
    parser.add_argument("--instances", nargs="+", default=list(INSTANCES), help=", ".join(INSTANCES))
    parser.add_argument("--cuts", type=int, default=6, help="the sweep in so many parts (default 6)")
    parser.add_argument("--timeout", type=float, default=300.0, help="of an instance (default 300 s)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if "search" in options.parts:
        searches(options.instances, options.rounds)
    if "sweep" in options.parts:
        sweeps(options.cuts, options.timeout)
    if "forecast" in options.parts:
        forecast(RESULTS)


def searches(instances: list[str], rounds: int) -> None:
    """Every way once in each round, so that the machine's moods meet all of them."""
    folder = data_folder("acasxu")
    recorder = Recorder(RESULTS / "search.csv", SEARCH, resume=True)
    packets = Recorder(RESULTS / "packets.csv", PACKETS, resume=True)
    for number in range(rounds):
        for name in instances:
            network, prop = INSTANCES[name]
            for executor, jobs in SEARCHES:
                row = {"instance": name, "executor": executor, "jobs": jobs, "round": number}
                if recorder.has(**row):
                    continue
                arguments = [str(folder / "onnx" / network), str(folder / "vnnlib" / prop)]
                found = once("search", executor, jobs, *arguments)
                for passage in found.get("passages", []):
                    told = passage | passage["record"]
                    packets.add(row | {column: told[column] for column in PACKETS if column not in row})
                recorder.add(row | facts(found, SEARCH, row) | {"packets": len(found.get("passages", []))})
                print(recorder.rows[-1], flush=True)
                _same([r for r in recorder.rows if r["instance"] == name])


def sweeps(cuts: int, timeout: float) -> None:
    """Every way for each part of the list, one after the other."""
    folder = data_folder("acasxu")
    listed = load_instances(folder)
    recorder = Recorder(RESULTS / "sweep.csv", SWEEP, resume=True)
    verdicts: dict[int, list[str]] = {}
    for part in range(cuts):
        for executor, jobs in SWEEPS:
            row = {"executor": executor, "jobs": jobs, "part": part, "parts": cuts}
            if recorder.has(**row):
                continue
            with tempfile.TemporaryDirectory() as made:
                path = Path(made) / "list.csv"
                with path.open("w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(("onnx", "vnnlib", "expected"))
                    for one in listed[part::cuts]:
                        paths = (folder / "onnx" / one.network, folder / "vnnlib" / one.prop)
                        writer.writerow((*paths, one.expected))
                found = once("sweep", executor, jobs, str(path), str(timeout))
            results = found["results"]
            first = verdicts.setdefault(part, results)
            count = {"instances": len(results), "unsat": results.count("unsat"), "sat": results.count("sat")}
            count["undecided"] = len(results) - count["unsat"] - count["sat"]
            count["other"] = sum(a != b for a, b in zip(first, results, strict=True))
            recorder.add(row | facts(found, SWEEP, row | count) | count)
            print(recorder.rows[-1], flush=True)
            if found["wrong"] or count["other"]:
                _alarm("a sweep's verdicts differ from the known ones or from another way's")


def once(what: str, executor: str, jobs: int, *arguments: str) -> dict[str, Any]:
    """A run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale.once", what, executor, str(jobs), *arguments]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def facts(found: dict[str, Any], columns: tuple[str, ...], other: dict[str, Any]) -> dict[str, Any]:
    """The columns that a run tells itself, seconds rounded; 0 where there are no workers."""
    own = {name: found.get(name, 0.0) for name in columns if name not in other and name != "packets"}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in own.items()}


def _same(rows: list[dict[str, str]]) -> None:
    """Stop at two verdicts or trees that differ, or at two proofs of workers that do."""
    shared = {row["certificate"] for row in rows if row["executor"] != ALONE}
    if len({(row["verdict"], row["tree"]) for row in rows}) > 1 or len(shared) > 1:
        _alarm("two ways found different verdicts or proofs")


def _alarm(what: str) -> None:
    print(f"WRONG: {what}; the row is in the results", file=sys.stderr)
    sys.exit(WRONG_VERDICT)


if __name__ == "__main__":
    main()
