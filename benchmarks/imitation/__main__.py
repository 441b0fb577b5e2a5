"""Repair from examples: `python -m benchmarks.imitation`; see the README beside this file."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.imitation.instances import HARD, load, pairs
from benchmarks.imitation.measure import COLUMNS, METHODS, run
from benchmarks.record import Recorder, data_folder


def main() -> None:
    """Repair what has no row yet, one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imitation", description=__doc__)
    parser.add_argument(
        "--methods", default="all", help=f"all, or some with semicolons: {'; '.join(METHODS)}"
    )
    parser.add_argument(
        "--networks", default="hard", help="hard (three), others, all, or names such as 2_9,3_3"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "repairs.csv")
    arguments = parser.parse_args()
    data = data_folder("acasxu_repair").parent
    every = pairs(data / "acasxu_repair")
    named = {"hard": list(HARD), "all": every, "others": [pair for pair in every if pair not in HARD]}
    names = set(arguments.networks.split(","))
    chosen = named.get(arguments.networks) or [pair for pair in every if pair.network in names]
    methods = METHODS if arguments.methods == "all" else _methods(arguments.methods)
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for pair in chosen:
        instance = load(data, pair)
        for method in methods:
            for seed in range(arguments.seeds):
                if recorder.has(network=pair.network, property=pair.prop, method=method, run=seed):
                    continue
                row = run(instance, method, seed)
                recorder.add(row)
                print({key: row[key] for key in COLUMNS}, flush=True)


def _methods(text: str) -> list[str]:
    """The methods that a text names, with semicolons between them."""
    wanted = [name.strip() for name in text.split(";")]
    if unknown := [name for name in wanted if name not in METHODS]:
        raise SystemExit(f"no method {', '.join(unknown)}: choose of {'; '.join(METHODS)}")
    return wanted


if __name__ == "__main__":
    main()
