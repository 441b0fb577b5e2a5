"""Candidates of a repair verified from scratch and with a kept tree: `python -m benchmarks.incremental`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from torch import Tensor

import repairsolver as rs
from benchmarks.acasxu_repair.instances import load_pair
from benchmarks.incremental.record import PAIR
from benchmarks.record import Recorder, data_folder
from repairsolver.bounds import backward, tighten
from repairsolver.bounds.backward import Boxes, LinearBound
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.network import replace_parameters
from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense, Relu
from repairsolver.property.specification import Property
from repairsolver.verification import split
from repairsolver.verification.engine import verify_property
from repairsolver.verification.kept import Kept

COLUMNS = "mode", "share", "round", "margin", "status", "boxes", "rows", "row_layers", "cpu_seconds"
COLUMNS += "certificate", "certificate_seconds"
MODES = ["scratch", "incremental"]


@dataclass
class Work:
    """Rows pulled backwards through the network, and through how many activations each."""

    rows: int = 0
    layers: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """Count the rows of every box that is bounded meanwhile: of neurons, of outputs, and of kept nodes."""
    work, pull = Work(), backward.pull_back

    def watched(
        graph: TensorGraph,
        boxes: Boxes,
        start: dict[int, Tensor],
        *,
        guide: bool = False,
        seen: dict[int, Tensor] | None = None,
    ) -> LinearBound:
        rows = max(part.shape[0] for part in start.values()) * next(iter(start.values())).shape[1]
        work.rows += rows
        work.layers += rows * sum(isinstance(node.operator, Relu) for node in graph.nodes[: max(start)])
        return pull(graph, boxes, start, guide=guide, seen=seen)

    with patch.object(tighten, "pull_back", watched), patch.object(split, "pull_back", watched):
        yield work


def main() -> None:
    """One row for each candidate and mode; those that there are already are left out with --resume."""
    arguments = _arguments()
    network, prop = load_pair(data_folder("acasxu"), PAIR)
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    found = json.loads((Path(__file__).parent / "candidates.json").read_text())[: arguments.rounds]
    modes = MODES if arguments.mode == "both" else [arguments.mode]
    for mode in modes:
        # A kept tree begins with the first round.
        kept = Kept(arguments.share) if mode == "incremental" else None
        for number, entry in enumerate(found, start=1):
            if kept is None and recorder.has(mode=mode, round=number):
                continue
            row = verified(changed(network, entry["entries"]), prop, kept, arguments)
            row |= {"mode": mode, "share": kept and kept.share, "round": number, "margin": entry["margin"]}
            recorder.add(row)
            print({key: row[key] for key in COLUMNS}, flush=True)
            if kept is None and arguments.one:
                return
    summarise(recorder.rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental", description=__doc__)
    parser.add_argument("--mode", choices=["both", *MODES], default="both")
    parser.add_argument("--share", type=float, default=0.1, help="slack, as a share of the margin found")
    parser.add_argument("--rounds", type=int, default=10, help="only so many candidates")
    parser.add_argument("--one", action="store_true", help="end after one row from scratch")
    parser.add_argument("--certificates", action="store_true", help="one for each kept tree, checked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rounds.csv")
    return parser.parse_args()


def summarise(rows: list[dict[str, str]]) -> None:
    """Say how much less was computed, for each share, in the rounds that were also verified from scratch."""
    scratch = {row["round"]: row for row in rows if row["mode"] == "scratch"}
    for share in sorted({row["share"] for row in rows if row["mode"] == "incremental"}):
        pairs = [(scratch[r["round"]], r) for r in rows if r["share"] == share and r["round"] in scratch]
        if not pairs:
            continue
        same = all(before["status"] == after["status"] for before, after in pairs)
        print(f"share {share}: {len(pairs)} rounds, same verdicts: {same}")
        for what in ("rows", "row_layers", "cpu_seconds"):
            first, then = (sum(float(row[what]) for row in side) for side in zip(*pairs, strict=True))
            print(f"{what}: {first:.6g} from scratch, {then:.6g} incremental, {first / then:.2f} times fewer")


def changed(network: Network, entries: list[tuple[str, list[int], float]]) -> Network:
    """The network with these entries of its last layer, written into its file."""
    operator = network.output.operator
    assert isinstance(operator, Dense)
    tensors = {}
    for name in {name for name, _, _ in entries}:
        array, source = getattr(operator, name).copy(), getattr(operator, f"{name}_source")
        for _, index, value in (entry for entry in entries if entry[0] == name):
            array[tuple(index)] = value
        tensors[source.tensor] = (array.T if source.transposed else array) / source.factor
    return replace_parameters(network, tensors)


def verified(
    network: Network, prop: Property, kept: Kept | None, arguments: argparse.Namespace
) -> dict[str, object]:
    """The proof, and behind it, not counted, a certificate from the kept tree, which the checker judges."""
    with counted() as work:
        started = time.process_time()
        verdict = verify_property(network, prop, kept=kept, seed=arguments.seed)
        seconds = time.process_time() - started
    row = {"status": verdict.status, "boxes": verdict.boxes, "rows": work.rows, "row_layers": work.layers}
    row |= {"cpu_seconds": seconds, "certificate": None, "certificate_seconds": None}
    if kept is None or not arguments.certificates or verdict.status != "holds":
        return row
    started = time.process_time()
    again = verify_property(network, prop, kept=kept, seed=arguments.seed, record=True)
    row["certificate_seconds"] = time.process_time() - started
    assert again.certificate is not None
    checked = rs.check(again.certificate, network=network, property=prop)
    return row | {"certificate": "valid" if checked.valid else checked.reason}


if __name__ == "__main__":
    main()
