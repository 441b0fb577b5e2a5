"""Repair balls around MNIST images: `python -m benchmarks.mnist_balls`; see the README beside this file."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.mnist_balls.balls import Balls, proved_balls, violated_balls
from benchmarks.mnist_points.images import decided, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.results import Array

NETWORK = "mnist-net_256x2"
RADIUS = 0.05
HALF = 5000
"""Balls are taken from the first half of the test images, points to keep from the second."""

COLUMNS = (
    "network",
    "radius",
    "balls",
    "layers",
    "kept_points",
    "status",
    "proved",
    "violated",
    "undecided",
    "other_balls",
    "other_proved",
    "other_violated",
    "accuracy_before",
    "accuracy_after",
    "unseen_before",
    "unseen_after",
    "l1",
    "l2",
    "linf",
    "entries",
    "rounds",
    "seconds",
    "cpu_seconds",
    "timeout",
    "message",
)


def main() -> None:
    """One repair and one row for every number of balls and choice of layers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist_balls", description=__doc__)
    parser.add_argument("--balls", default="50,100,200", help="how many at once, with commas")
    parser.add_argument("--layers", default="last,8,all", help="which may change, with commas")
    parser.add_argument("--others", type=int, default=100, help="violated balls that are not repaired")
    parser.add_argument("--keep", type=int, default=4000, help="images of the second half to keep")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one repair")
    parser.add_argument("--each", type=float, default=5.0, help="seconds to verify one ball afterwards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "balls.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    network = rs.load_network(data_folder("mnist_fc_vnncomp") / "onnx" / f"{NETWORK}.onnx")
    images, labels = load_images(data_folder("mnist"))
    counts = [int(number) for number in arguments.balls.split(",")]
    balls = violated_balls(
        network,
        images[:HALF],
        labels[:HALF],
        RADIUS,
        most=max(counts) + arguments.others,
        seed=arguments.seed,
    )
    task = Task(network, images, labels, balls, len(balls) - arguments.others, arguments)
    for count in counts:
        for layers in arguments.layers.split(","):
            if not recorder.has(balls=count, layers=layers):
                row = task.run(count, layers)
                recorder.add(row)
                print(row, flush=True)


class Task:
    """What is repaired, kept and measured; the balls from `first_other` on are never repaired."""

    def __init__(
        self,
        network: rs.Network,
        images: Array,
        labels: np.ndarray,
        balls: Balls,
        first_other: int,
        arguments: argparse.Namespace,
    ) -> None:
        self.network, self.images, self.labels = network, images, labels
        self.balls, self.first_other, self.arguments = balls, first_other, arguments
        right = np.flatnonzero(decided(network, images) == labels)
        self.kept = right[right >= HALF][: arguments.keep]

    def run(self, count: int, layers: str) -> dict[str, object]:
        """Repair the first balls and measure."""
        chosen, asked = self.balls[slice(0, count)], self.arguments
        begun, worked = time.perf_counter(), time.process_time()
        fix = rs.repair(
            self.network,
            chosen.property(),
            layers=layers,
            keep=rs.PointSet(self.images[self.kept], self.labels[self.kept]) if len(self.kept) else None,
            keep_soft=1.0,
            decision="max",
            limits=rs.Limits(seconds=asked.timeout),
            seed=asked.seed,
        )
        return {
            "network": NETWORK,
            "radius": RADIUS,
            "balls": count,
            "layers": layers,
            "kept_points": len(self.kept),
            "status": fix.status,
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - worked,
            "rounds": fix.rounds,
            "timeout": asked.timeout,
            "message": fix.message,
            **self.measured(fix, chosen),
        }

    def measured(self, fix: rs.Repair, chosen: Balls) -> dict[str, object]:
        """What the network of the saved file is worth; nothing where there is none."""
        if fix.network is None or fix.edit is None:
            names = COLUMNS[COLUMNS.index("proved") : COLUMNS.index("rounds")]
            return dict.fromkeys(names, "")
        others = self.balls[slice(self.first_other, len(self.balls))]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "repaired.onnx"
            fix.save(file)
            repaired = rs.load_network(file)
            verdicts, unseen = (
                proved_balls(file, balls, seconds=self.arguments.each, seed=self.arguments.seed)
                for balls in (chosen, others)
            )
        change = np.concatenate([c.difference.ravel() for c in fix.edit.changes])
        used = np.zeros(len(self.images), dtype=bool)
        used[self.kept] = True
        right = [decided(net, self.images) == self.labels for net in (self.network, repaired)]
        return {
            "proved": verdicts.count("holds"),
            "violated": verdicts.count("violated"),
            "undecided": len(verdicts) - verdicts.count("holds") - verdicts.count("violated"),
            "other_balls": len(unseen),
            "other_proved": unseen.count("holds"),
            "other_violated": unseen.count("violated"),
            "accuracy_before": float(right[0].mean()),
            "accuracy_after": float(right[1].mean()),
            "unseen_before": float(right[0][~used].mean()),
            "unseen_after": float(right[1][~used].mean()),
            "l1": float(np.abs(change).sum()),
            "l2": float(np.linalg.norm(change)),
            "linf": float(np.abs(change).max()),
            "entries": fix.edit.count,
        }


if __name__ == "__main__":
    main()
