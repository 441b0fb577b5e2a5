"""Mutate certificates of random networks by the thousand and count what the checker accepts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.record import Recorder
from repairsolver.certificate import check
from repairsolver.certificate.format import from_bytes
from repairsolver.errors import CertificateError
from repairsolver.results import Certificate

# The tests' own networks, mutations and rational arithmetic.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import certificate_mutants as mutants

RESULTS = Path(__file__).parent / "results" / "mutants.csv"
COLUMNS = ("number", "splits", "kind", "made", "rejected", "still_true", "wrongly_accepted")
# (kind, mutant) with None where a file is unreadable; a tree alone can never make a true statement false.
Mutant = tuple[str, mutants.Statement | None]


def main() -> None:
    """One row for each proved statement and kind of mutation; exit code 3 at a wrong acceptance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=800, help="random networks, about a third is proved")
    parser.add_argument("--first", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4, help="mutants of every kind for each statement")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.first, resume=arguments.resume)
    for number in range(arguments.first, arguments.first + arguments.count):
        if recorder.has(number=number) or (statement := mutants.proved(number)) is None:
            continue
        if not check(statement.certificate, network=statement.network, property=statement.prop).valid:
            raise SystemExit(f"network {number}: a true certificate is rejected")
        for row in _rows(number, statement, arguments.rounds):
            recorder.add(row)
    _summary(recorder.rows)


def _rows(number: int, statement: mutants.Statement, rounds: int) -> Iterator[dict[str, object]]:
    rng = np.random.default_rng([number, 11])
    counts: dict[str, list[int]] = {}
    for _ in range(rounds):
        for kind, mutant in _mutants(rng, statement):
            accepted = mutant is not None and _accepts(mutant)
            harmless = kind in ("tree", "file") and accepted
            counts.setdefault(kind, [0, 0, 0])[0 if not accepted else 1 if harmless else 2] += 1
    for kind, (rejected, still_true, wrong) in counts.items():
        yield {
            "number": number,
            "splits": len(statement.certificate.value),
            "kind": kind,
            "made": rejected + still_true + wrong,
            "rejected": rejected,
            "still_true": still_true,
            "wrongly_accepted": wrong,
        }


def _mutants(rng: np.random.Generator, s: mutants.Statement) -> Iterator[Mutant]:
    """`tree` and `file` leave a true statement true, so the checker may accept them; no other kind may be."""
    yield "tree", mutants.scrambled(rng, s)
    yield "file", _read(s, mutants.damaged(rng, s.certificate))
    yield "broken tree", mutants.replace(s, certificate=mutants.broken(rng, s.certificate))
    false = mutants.loosened(rng, s)
    yield "false property", false
    yield "false property, other tree", mutants.scrambled(rng, false)
    changed = mutants.rewired(rng, s)
    if changed is not None:
        yield "false network", changed
        yield "false network, other tree", mutants.scrambled(rng, changed)


def _read(s: mutants.Statement, data: bytes) -> mutants.Statement | None:
    try:
        certificate: Certificate = from_bytes(data)
    except CertificateError:
        return None
    return mutants.replace(s, certificate=certificate)


def _accepts(mutant: mutants.Statement) -> bool:
    return check(mutant.certificate, network=mutant.network, property=mutant.prop).valid


def _summary(rows: list[dict[str, str]]) -> None:
    kinds = sorted({row["kind"] for row in rows})
    for kind in [*kinds, "all"]:
        chosen = [row for row in rows if kind in (row["kind"], "all")]
        made, rejected, true, wrong = (
            sum(int(row[c]) for row in chosen) for c in ("made", "rejected", "still_true", "wrongly_accepted")
        )
        print(f"{kind:28s} {made:6d} made {rejected:6d} rejected {true:5d} still true {wrong:3d} wrong")
    if any(row["wrongly_accepted"] != "0" for row in rows):
        raise SystemExit(3)


if __name__ == "__main__":
    main()
