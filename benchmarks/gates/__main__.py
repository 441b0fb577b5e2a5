"""Repair ACAS Xu networks by gates: `python -m benchmarks.gates`; see the README beside this file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.acasxu_repair.instances import violated_pairs
from benchmarks.gates.measure import COLUMNS, METHODS, run
from benchmarks.record import Recorder, data_folder


def main() -> None:
    """One row for every pair and method that has none yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--methods", default="output", help=f"with commas, of {', '.join(METHODS)}")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one repair")
    parser.add_argument("--only", default="", help="networks or pairs to run, e.g. 2_1,N2_9/8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--save", type=Path, help="folder for the gated networks and certificates")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "acasxu.csv")
    arguments = parser.parse_args()
    folder = data_folder("acasxu")
    wanted = set(arguments.only.split(",")) if arguments.only else set()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    for method in arguments.methods.split(","):
        for pair in violated_pairs(folder):
            if wanted and not {pair.network, pair.name.replace(",", "_")} & wanted:
                continue
            if not recorder.has(network=pair.network, property=pair.prop, method=method):
                row = run(folder, pair, method, arguments)
                recorder.add(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
