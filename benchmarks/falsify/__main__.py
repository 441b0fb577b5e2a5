"""Attack violated instances: the share that is found within one second and five, and the median time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.clock import CLOCK
from benchmarks.falsify.instances import ATTACKS, SEARCHED, Violated, hunt, violated
from benchmarks.record import Recorder

RESULTS = Path(__file__).parent / "results" / "found.csv"
COLUMNS = (
    *("family", "network", "property", "attack", "found", "seconds", "tries", "violation", "limit", "clock"),
)
Row = dict[str, str]


def main() -> None:
    """Every attack on every instance, one row each."""
    arguments = _arguments()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    for instance in violated(arguments.family or list(SEARCHED)):
        _attack(instance, recorder, arguments.seconds, arguments.seed)
    print(f"\n{summary(recorder.rows)}\nRows: {arguments.out}")


def _attack(instance: Violated, recorder: Recorder, seconds: float, seed: int) -> None:
    key = {"family": instance.family, "network": instance.network, "property": instance.prop}
    left = [name for name in ATTACKS if not recorder.has(**key, attack=name)]
    if not left:
        return
    network, prop = instance.load()
    for name in left:
        row = hunt(ATTACKS[name], network, prop, seconds, seed)
        recorder.add({**key, "attack": name, **row, "limit": seconds, "clock": CLOCK})
        print(f"{instance.network} {instance.prop} {name}: {row['found']} {row['seconds']} s", flush=True)


def summary(rows: Sequence[Row]) -> str:
    """A table: for every family and attack, the share found in time and the median seconds."""
    lines = [
        "| family | attack | instances | within 1 s | within 5 s | median s |",
        "|---|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        for attack in dict.fromkeys(row["attack"] for row in rows):
            part = [row for row in rows if (row["family"], row["attack"]) == (family, attack)]
            if part:
                lines.append(f"| {family} | {attack} | {_counts(part)} |")
    return "\n".join(lines)


def _counts(part: Sequence[Row]) -> str:
    found = [float(row["seconds"]) for row in part if row["found"] == "True"]
    within = (sum(second <= limit for second in found) for limit in (1.0, 5.0))
    return " | ".join([str(len(part)), *map(str, within), f"{median(float(r['seconds']) for r in part):.3f}"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.falsify", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=SEARCHED, default=[], help="which (default: all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each attack (default 5)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the rows (default: results/found.csv)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
