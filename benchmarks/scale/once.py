"""One run in a process of its own: `python -m benchmarks.scale.once WHAT EXECUTOR JOBS ...`; JSON on stdout.

Everything is loaded and started before the clock, and told as `start_seconds` and `start_cpu_seconds`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import repairsolver as rs
from benchmarks.scale.watched import Watched, descendants_seconds
from repairsolver.executors import make_executor
from repairsolver.results import Certificate, Verdict
from repairsolver.verification.engine import verify_property

ALONE = "alone"
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run what the arguments say."""
    # one thread everywhere, and workers that find this package
    os.environ |= {"REPAIRSOLVER_THREADS": "1", "PYTHONPATH": str(ROOT)}
    what, executor, jobs, *more = sys.argv[1:]
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        run = {"search": search, "sweep": sweep}[what]
        found = run(executor, int(jobs), more, Path(folder))
    print(json.dumps(found))


def search(executor: str, jobs: int, more: list[str], folder: Path) -> dict[str, Any]:
    """Verify NETWORK PROPERTY, alone or with workers."""
    network = rs.load_network(more[0])
    prop = rs.load_property(more[1], network=network)
    if executor == ALONE:
        return timed(lambda: verdict_facts(verify_property(network, prop, record=True)))
    started, before = time.perf_counter(), time.process_time()
    watched = Watched(make_executor(executor, jobs), boxes=True)
    watched.warm(folder)
    start = {
        "start_seconds": time.perf_counter() - started,
        "start_cpu_seconds": time.process_time() - before + descendants_seconds(),
    }
    found = timed(lambda: verdict_facts(verify_property(network, prop, record=True, executor=watched)))
    watched.end()
    watched.find_parents()
    return found | start | noted(watched)


def sweep(executor: str, jobs: int, more: list[str], folder: Path) -> dict[str, Any]:
    """Run the list LIST.csv, every instance with SECONDS at most."""
    started, before = time.perf_counter(), time.process_time()
    watched = Watched(make_executor(executor, jobs))
    watched.warm(folder / "warm")
    start = {
        "start_seconds": time.perf_counter() - started,
        "start_cpu_seconds": time.process_time() - before + descendants_seconds(),
    }

    def run() -> dict[str, Any]:
        made = rs.sweep(more[0], folder / "out", timeout=float(more[1]), executor=watched)
        # rows come as instances end; the lists of two runs are compared
        rows = sorted(made.rows, key=lambda row: (row["onnx"], row["vnnlib"]))
        return {"results": [row["result"] for row in rows], "wrong": len(made.wrong)}

    found = timed(run)
    watched.end()
    return found | start | noted(watched)


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What work found, with seconds of the clock, and of processors: here, and of all started processes."""
    clock, here, there = time.perf_counter(), time.process_time(), descendants_seconds()
    found = work()
    return found | {
        "wall_seconds": time.perf_counter() - clock,
        "driver_seconds": time.process_time() - here,
        "others_seconds": descendants_seconds() - there,
    }


def noted(watched: Watched) -> dict[str, Any]:
    """What passed through an executor."""
    passages = [asdict(passage) for passage in watched.passages.values()]
    return {"worker_seconds": sum(p["cpu_seconds"] for p in passages), "passages": passages}


def verdict_facts(verdict: Verdict) -> dict[str, Any]:
    """Status, boxes, and a digest of the proof."""
    proof = verdict.certificate
    return {
        "verdict": verdict.status.value,
        "boxes": verdict.boxes,
        "certificate": "" if proof is None else digest(proof),
        "tree": "" if proof is None else hashlib.sha256(proof.axis.tobytes()).hexdigest()[:16],
    }


def digest(proof: Certificate) -> str:
    """Of all numbers of a proof."""
    parts = (proof.axis, proof.value, proof.weights)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


if __name__ == "__main__":
    main()
