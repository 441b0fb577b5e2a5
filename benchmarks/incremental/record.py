"""Candidates that a repair of N2,1 with property 2 would verify, as changes of the last layer.

The loop of `repairsolver repair` runs as it is, with its solver, attacks and margins; only the proofs
are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import Pair, kept_samples, load_pair
from benchmarks.record import data_folder
from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense
from repairsolver.repairing.delta import loop, margin
from repairsolver.results import Verdict, VerifyStatus

PAIR = Pair("2_1", 2)
ROUNDS = 10
PROVABLE = 0.001
"""Candidates with smaller margins count as not proved in time, in place of the limit of a repair's proofs."""
CLOSE = 1.01
"""Margins are bisected to within 1 %, so that the loop goes on where a repair would end."""


def main() -> None:
    """Run the loop, and write the change of each candidate that it would verify."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental.record", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "candidates.json")
    arguments = parser.parse_args()
    network, prop = load_pair(data_folder("acasxu"), PAIR)
    found: list[dict[str, object]] = []

    def judged(session: loop.Session, candidate: Network, seconds: float, enough: float = 10) -> Verdict:
        assert session.last is not None
        entry = {"margin": session.last.margin, "cost": session.last.cost}
        found.append(entry | {"entries": changes(network, candidate)})
        print(entry, flush=True)
        return Verdict(VerifyStatus.HOLDS if session.last.margin >= PROVABLE else VerifyStatus.TIMEOUT)

    with patch.object(loop, "verify", judged), patch.object(margin, "CLOSE", CLOSE):
        kept, limits = kept_samples(2000, arguments.seed), rs.Limits(seconds=600)
        rs.repair(network, prop, keep=kept, decision="min", gap=1e-4, limits=limits, seed=arguments.seed)
    arguments.out.write_text(json.dumps(found[:ROUNDS], indent=1) + "\n")


def changes(before: Network, after: Network) -> list[tuple[str, list[int], float]]:
    """Every entry of the last layer that differs: of which tensor, where, and its new value."""
    old, new = before.output.operator, after.output.operator
    assert isinstance(old, Dense)
    assert isinstance(new, Dense)
    return [
        (name, [int(i) for i in index], float(getattr(new, name)[tuple(index)]))
        for name in ("weight", "bias")
        for index in np.argwhere(getattr(old, name) != getattr(new, name))
    ]


if __name__ == "__main__":
    main()
