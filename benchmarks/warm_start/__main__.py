"""Programs of repairs from scratch and resumed: `python -m benchmarks.warm_start`; see the README."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

import repairsolver as rs
from benchmarks.acasxu_repair.instances import Pair, kept_samples, load_pair
from benchmarks.mnist_points.images import decided, fog, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.errors import LicenseError
from repairsolver.repairing.delta import loop, program
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.solvers import gurobi, gurobi_session, highs, highs_session

COLUMNS = (
    "case", "solver", "norm", "resumed", "status", "cost", "lower_bound", "rounds", "nodes", "programs",
    "iterations", "program_seconds", "cpu_seconds",
)  # fmt: skip

PAIRS = {"N2,1/2": ("2_1", 2, 0.1), "N2,9/8": ("2_9", 8, 5.0)}
"""Network, property and the one margin that is tried: with that the rounds depend on no clock."""


@dataclass
class Count:
    """Of the solver's runs, and the processor's seconds around them."""

    nodes: int = 0
    programs: int = 0
    iterations: int = 0
    seconds: float = 0.0


def main() -> None:
    """One row for each case, solver, and way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_start", description=__doc__)
    parser.add_argument("--solvers", default="highs,gurobi")
    parser.add_argument("--kept", type=int, default=2000, help="samples whose advisory is kept")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "programs.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    for case, norm, repair in cases(arguments.kept):
        for solver in arguments.solvers.split(","):
            for resumed in (False, True):
                if recorder.has(case=case, norm=norm, solver=solver, resumed=resumed):
                    continue
                row = measured(partial(repair, solver=solver), resumed)
                recorder.add({"case": case, "solver": solver, "norm": norm, "resumed": resumed, **row})
                print(recorder.rows[-1], flush=True)


def cases(kept: int) -> Iterator[tuple[str, str, Callable[..., rs.Repair]]]:
    """Repairs with a fixed margin, by name and norm."""
    folder = data_folder("acasxu")
    for name, (network, prop, margin) in PAIRS.items():
        loaded = load_pair(folder, Pair(network, prop))
        keep = kept_samples(kept, 0)
        yield name, "l1", partial(rs.repair, *loaded, norm="l1", keep=keep, decision="min", margin=margin)
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    network = rs.load_network(folder / "onnx" / "mnist_relu_3_100.onnx")
    foggy = fog(images, 0)
    wrong = np.flatnonzero(decided(network, foggy[:9000]) != labels[:9000])[:100]
    points = rs.PointSet(foggy[wrong], labels[wrong])
    nowhere = rs.Property((), network.input_size, network.output_size, name="no region")
    for norm in ("l1", "linf"):
        for count, soft in ((0, None), (1000, 0.1)):
            keep = rs.PointSet(images[9000 : 9000 + count]) if count else None
            yield (
                f"fog, {count} kept",
                norm,
                partial(
                    rs.repair,
                    network,
                    nowhere,
                    points=points,
                    keep=keep,
                    keep_soft=soft,
                    norm=norm,
                    decision="max",
                ),
            )


def measured(repair: Callable[..., rs.Repair], resumed: bool) -> dict[str, object]:
    """A repair with counted programs."""
    started = time.process_time()
    with counted() as count, patch.object(loop.Session, "problem", problem_of(resumed)):
        try:
            fix = repair(limits=rs.Limits(seconds=None))
        except LicenseError:
            return {"status": "too large for the licence"}
    return {
        "status": fix.status,
        "cost": fix.cost,
        "lower_bound": fix.lower_bound,
        "rounds": fix.rounds,
        "nodes": count.nodes,
        "programs": count.programs,
        "iterations": count.iterations,
        "program_seconds": count.seconds,
        "cpu_seconds": time.process_time() - started,
    }


def problem_of(resumed: bool) -> Callable[..., LeastChange]:
    """`Session.problem`, or one that remembers nothing."""
    plain = loop.Session.problem
    if resumed:
        return plain

    def forgetful(self: loop.Session, *arguments: object, **named: object) -> LeastChange:
        return replace(plain(self, *arguments, **named), resumed=None, _rows={}, _active={})  # type: ignore[arg-type]

    return forgetful


@contextmanager
def counted() -> Iterator[Count]:
    """Count what solvers run, and the time of the search for least changes."""
    count, solve = Count(), program.LeastChange.solve
    runs = {highs: highs.run, gurobi: gurobi.run}

    def timed(self: LeastChange, *arguments: object) -> object:
        before = time.process_time()
        found = solve(self, *arguments)  # type: ignore[arg-type]
        count.seconds += time.process_time() - before
        count.nodes += 1
        return found

    def ran(module: object, engine: object, *arguments: object) -> object:
        answer = runs[module](engine, *arguments)  # type: ignore[index,arg-type]
        count.programs += 1
        count.iterations += iterations(engine)
        return answer

    with (
        patch.object(LeastChange, "solve", timed),
        patch.object(highs, "run", partial(ran, highs)),
        patch.object(highs_session, "run", partial(ran, highs)),
        patch.object(gurobi, "run", partial(ran, gurobi)),
        patch.object(gurobi_session, "run", partial(ran, gurobi)),
    ):
        yield count


def iterations(engine: object) -> int:
    """Of the simplex and interior-point methods in the last run."""
    if hasattr(engine, "IterCount"):
        return int(engine.IterCount + engine.BarIterCount)  # type: ignore[attr-defined]
    told = engine.getInfo()  # type: ignore[attr-defined]
    counts = told.simplex_iteration_count, told.ipm_iteration_count, told.crossover_iteration_count
    return sum(max(count, 0) for count in counts)


if __name__ == "__main__":
    main()
