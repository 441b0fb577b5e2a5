"""Verify families of VNN-COMP and compare every verdict with the known one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.clock import CLOCK
from benchmarks.record import Recorder, data_folder
from benchmarks.vnncomp.instances import FAMILIES, Instance, Settings, load_instances, verify_instances
from benchmarks.vnncomp.summary import is_wrong, write_summary

RESULTS = Path(__file__).parent / "results"
# The first six as in the result files of VNN-COMP.
COLUMNS = (
    "category",
    "onnx",
    "vnnlib",
    "prepare_time",
    "result",
    "time",
    "expected",
    "boxes",
    "bound",
    "methods",
    "timeout",
    "device",
    "jobs",
    "clock",
)
WRONG_VERDICT = 3


def main() -> None:
    """Run the chosen families, one CSV file each; stop at a wrong verdict."""
    arguments = _arguments()
    out: Path = arguments.out or RESULTS
    for family in arguments.family or FAMILIES:
        _run(family, arguments, out)
    print(f"\n{write_summary(out)}\nRows: {out}")


def _run(family: str, arguments: argparse.Namespace, out: Path) -> None:
    folder = data_folder(family)
    chosen = [i for i in load_instances(family, folder) if all(w in _name(i) for w in arguments.only)]
    recorder = Recorder(out / f"{family}.csv", COLUMNS, seed=arguments.seed, resume=arguments.resume)
    left = [i for i in chosen if not recorder.has(onnx=i.network, vnnlib=i.prop)][: arguments.most]
    settings = Settings(arguments.timeout, arguments.seed, arguments.device, arguments.jobs)
    for instance, row in verify_instances(folder, left, settings):
        recorder.add({**row, "clock": CLOCK})
        print(
            f"{len(recorder.rows):4d}/{len(chosen)}  {_name(instance)}  {row['result']} "
            f"({instance.expected})  {row['time']} s",
            flush=True,
        )
        if is_wrong(recorder.rows[-1]):
            _alarm(instance, str(row["result"]))


def _name(instance: Instance) -> str:
    return f"{instance.network} {instance.prop}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vnncomp", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=[*FAMILIES], default=[], help="which (default: all)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for each instance (default 30)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="words of network and property")
    parser.add_argument("--most", type=int, help="at most so many instances of each family in this run")
    parser.add_argument("--jobs", type=int, default=1, help="instances at once, one thread each (default 1)")
    parser.add_argument("--device", default="cpu", help="where bounds are computed (default cpu)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder (default: results/)")
    return parser.parse_args()


def _alarm(instance: Instance, result: str) -> None:
    print(
        f"\nWRONG VERDICT: {_name(instance)} is known to be {instance.expected}, got {result}. The run stops "
        "here; the row is in the results. Until this is explained, rely on nothing that this version proved.",
        file=sys.stderr,
    )
    sys.exit(WRONG_VERDICT)


if __name__ == "__main__":
    main()
