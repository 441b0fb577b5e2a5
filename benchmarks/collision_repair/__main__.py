"""Repair the collision detection network: `python -m benchmarks.collision_repair`; see the README."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.collision_repair.boxes import Box, accuracy, load_boxes, load_labelled
from benchmarks.record import Recorder, data_folder
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet
from repairsolver.repairing import Repair, repair_property
from repairsolver.repairing.several import united
from repairsolver.results import Limits, RepairStatus, VerifyStatus
from repairsolver.verification.engine import verify_property

CERTIFYING = 300.0
"""Seconds for the certificate of all proved boxes."""

COLUMNS = (
    "mode",
    "box",
    "boxes",
    "dropped",
    "status",
    "cost",
    "lower_bound",
    "entries",
    "core",
    "certified",
    "checked",
    "accuracy",
    "kept_points",
    "unseen_accuracy",
    "layers",
    "seconds",
    "cpu_seconds",
    "timeout",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collision_repair", description=__doc__)
    parser.add_argument("--mode", choices=("each", "together"), default="together")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one repair")
    parser.add_argument("--count", type=int, default=172, help="how many violated boxes")
    parser.add_argument("--layers", default="last", help="all: training at worst points, and a proof")
    parser.add_argument("--keep", type=int, default=0, help="labelled points to keep, spread evenly (soft)")
    parser.add_argument(
        "--give-up", type=int, default=0, help="boxes that may be given up for points to keep"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--save", type=Path, help="folder for the repaired network and its certificate")
    parser.add_argument("--out", type=Path, help="default: results/MODE.csv")
    arguments = parser.parse_args()
    name = arguments.mode if arguments.layers == "last" else f"{arguments.mode}_{arguments.layers}"
    out = arguments.out or Path(__file__).parent / "results" / f"{name}.csv"
    recorder = Recorder(out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    folder = data_folder("collision_detection")
    network = load_network(folder / "onnx" / "collision_detection.onnx")
    run = Run(network, load_boxes(folder), folder, arguments, recorder)
    run.each() if arguments.mode == "each" else run.together()


class Run:
    """One run over the boxes; rows are written as they come."""

    def __init__(
        self,
        network: Network,
        boxes: list[Box],
        folder: Path,
        arguments: argparse.Namespace,
        recorder: Recorder,
    ) -> None:
        self.network, self.boxes, self.recorder = network, boxes, recorder
        self.points, self.labels = load_labelled(folder)
        self.arguments = arguments
        places = np.linspace(0, len(self.points) - 1, arguments.keep).round().astype(int)
        self.kept = np.isin(np.arange(len(self.points)), places)
        violated = [i for i, box in enumerate(boxes) if box.violated]
        self.violated = violated[: arguments.count]

    def each(self) -> None:
        """Every violated box by itself."""
        for index in self.violated:
            if not self.recorder.has(mode="each", box=self.boxes[index].prop.name):
                started, worked = time.perf_counter(), time.process_time()
                fix = self.repair([index])
                self.write("each", [index], 0, fix, None, spent(started, worked))

    def together(self) -> None:
        """All boxes at once: the violated ones are to be repaired, the others are to stay right.

        While a contradiction is proved, the violated box that most of its demands lie in is dropped.
        """
        chosen = [i for i, box in enumerate(self.boxes) if not box.violated] + self.violated
        dropped = 0
        while True:
            started, worked = time.perf_counter(), time.process_time()
            fix = self.repair(chosen)
            seconds = spent(started, worked)
            done = fix.status is not RepairStatus.INFEASIBLE
            proved = self.certified(fix, chosen) if done and fix.network is not None else None
            self.write("together", chosen, dropped, fix, proved, seconds)
            worst = None if done else self.most_demanding(fix, chosen)
            if worst is None:
                return
            chosen, dropped = [i for i in chosen if i != worst], dropped + 1

    def most_demanding(self, fix: Repair, chosen: list[int]) -> int | None:
        """The violated box in which most demands of the contradiction lie."""
        demands = () if fix.core is None else fix.core.demands
        inside = [
            index
            for index in chosen
            if self.boxes[index].violated
            for demand in demands
            if self.boxes[index].prop.regions[0].contains(demand.input[None])[0]
        ]
        return Counter(inside).most_common(1)[0][0] if inside else None

    def repair(self, chosen: list[int]) -> Repair:
        return repair_property(
            self.network,
            united([self.boxes[index].prop for index in chosen]),
            layers=self.arguments.layers,
            keep=PointSet(self.points[self.kept], self.labels[self.kept].astype(np.int64))
            if self.kept.any()
            else None,
            keep_soft=1.0 if self.kept.any() else None,
            give_up=self.arguments.give_up,
            decision="max",
            gap=0.05,
            limits=Limits(seconds=self.arguments.timeout),
            seed=self.arguments.seed,
        )

    def certified(self, fix: Repair, chosen: list[int]) -> list[int]:
        """Which of all boxes are proved: by the repair, if all took part, else each by itself."""
        network, verdict = fix.network, fix.verdict
        if len(chosen) == len(self.boxes) and verdict is not None and verdict.proved_regions is not None:
            return [chosen[number] for number in verdict.proved_regions]
        assert network is not None
        limits = Limits(seconds=10.0)
        verdicts = (verify_property(network, box.prop, limits=limits) for box in self.boxes)
        return [k for k, verdict in enumerate(verdicts) if verdict.status is VerifyStatus.HOLDS]

    def checked(self, fix: Repair, proved: list[int]) -> int:
        """How many of these boxes a certificate shows, checked from the files of network and certificate."""
        if not proved:
            return 0
        prop = united([self.boxes[index].prop for index in proved])
        with tempfile.TemporaryDirectory() as temporary:
            folder: Path = self.arguments.save or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            given, left = self.arguments.keep, self.arguments.give_up
            network = folder / f"collision_keep_{given}_give_up_{left}.onnx"
            fix.save(network)
            found = rs.verify(network, prop, limits=Limits(seconds=CERTIFYING), certificate=True)
            if found.certificate is None:
                return 0
            rs.write_certificate(found.certificate, network.with_suffix(".cert"))
            answer = rs.check(network.with_suffix(".cert"), network=network, property=prop)
        print(answer.reason, flush=True)
        return len(proved) if answer.valid else 0

    def unseen(self, fix: Repair) -> float | None:
        """The accuracy on the points that were not to be kept."""
        if fix.network is None or self.kept.all():
            return None
        return accuracy(fix.network, self.points[~self.kept], self.labels[~self.kept])

    def write(
        self,
        mode: str,
        chosen: list[int],
        dropped: int,
        fix: Repair,
        proved: list[int] | None,
        seconds: tuple[float, float],
    ) -> None:
        row = {
            "mode": mode,
            "box": self.boxes[chosen[0]].prop.name if len(chosen) == 1 else "",
            "boxes": len(chosen),
            "dropped": dropped + len(fix.given_up),
            "status": fix.status,
            "cost": fix.cost,
            "lower_bound": fix.lower_bound,
            "entries": None if fix.edit is None else fix.edit.count,
            "core": None if fix.core is None else len(fix.core.demands),
            "certified": None if proved is None else len(proved),
            "checked": None if proved is None else self.checked(fix, proved),
            "accuracy": None if fix.network is None else accuracy(fix.network, self.points, self.labels),
            "kept_points": int(self.kept.sum()),
            "unseen_accuracy": self.unseen(fix),
            "layers": self.arguments.layers,
            "seconds": seconds[0],
            "cpu_seconds": seconds[1],
            "timeout": self.arguments.timeout,
        }
        self.recorder.add(row)
        print({key: str(value) for key, value in row.items()}, flush=True)


def spent(started: float, worked: float) -> tuple[float, float]:
    """Seconds since then, and those of the processor."""
    return time.perf_counter() - started, time.process_time() - worked


if __name__ == "__main__":
    main()
