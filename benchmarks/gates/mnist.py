"""Gates for balls around MNIST images: `python -m benchmarks.gates.mnist`; see the README beside it."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.gates.latency import ratios
from benchmarks.mnist_balls.balls import Balls, proved_balls, violated_balls
from benchmarks.mnist_points.images import decided, load_images
from benchmarks.record import Recorder, data_folder

NETWORKS = ("mnist-net_256x2", "mnist-net_256x4", "mnist-net_256x6")
RADIUS, IMAGES = 0.03, 50
COLUMNS = (
    "network",
    "radius",
    "balls",
    "status",
    "proved",
    "gates",
    "boxes",
    "accuracy_before",
    "accuracy_after",
    "changed_decisions",
    "seconds",
    "cpu_seconds",
    "latency_1",
    "latency_1000",
    "timeout",
    "message",
)


def main() -> None:
    """One row for each network: all its balls repaired at once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates.mnist", description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="with commas")
    parser.add_argument("--balls", type=int, default=IMAGES, help="violated balls")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one repair")
    parser.add_argument("--each", type=float, default=10.0, help="seconds to verify one ball afterwards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mnist.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    images, labels = load_images(data_folder("mnist"))
    for name in arguments.networks.split(","):
        if not recorder.has(network=name):
            network = rs.load_network(data_folder("mnist_fc_vnncomp") / "onnx" / f"{name}.onnx")
            balls = violated_balls(network, images, labels, RADIUS, most=arguments.balls, seed=arguments.seed)
            row = run(network, balls, images, labels, arguments)
            recorder.add({"network": name} | row)
            print(row, flush=True)


def run(
    network: rs.Network,
    balls: Balls,
    images: np.ndarray,
    labels: np.ndarray,
    arguments: argparse.Namespace,
) -> dict[str, object]:
    """Repair all balls at once; what is proved is asked of the saved file, ball by ball."""
    started, busy = time.perf_counter(), time.process_time()
    fix = rs.repair(
        network, balls.property(), method="gate", place="output", decision="max",
        limits=rs.Limits(seconds=arguments.timeout), seed=arguments.seed,
    )  # fmt: skip
    row: dict[str, object] = dict.fromkeys(COLUMNS[1:])
    row |= {"radius": RADIUS, "balls": len(balls), "status": fix.status, "message": fix.message}
    row |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
    row |= {"timeout": arguments.timeout}
    if fix.network is None or not isinstance(fix.edit, rs.Gates):
        return row
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gated.onnx"
        fix.save(file)
        proved = proved_balls(file, balls, seconds=arguments.each, seed=arguments.seed)
        gated = rs.load_network(file)
    before, after = decided(network, images), decided(gated, images)
    latency = ratios(network, gated)
    return row | {
        "proved": proved.count("holds"),
        "gates": len(fix.edit.gates),
        "boxes": fix.edit.boxes,
        "accuracy_before": float((before == labels).mean()),
        "accuracy_after": float((after == labels).mean()),
        "changed_decisions": int((before != after).sum()),
        "latency_1": latency[1],
        "latency_1000": latency[1000],
    }


if __name__ == "__main__":
    main()
