"""100 misclassified MNIST images, sigmoid and tanh networks: `python -m benchmarks.imitation.mnist`."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import repairsolver as rs
from benchmarks.mnist_points.images import load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.imitation.behaviour import collect
from repairsolver.repairing.imitation.descent import Adam
from repairsolver.repairing.imitation.method import Course, learned

MISTAKES, KEPT, TRAINED = 100, 2000, 5000
"""Images to mend; images to keep; and the first images, which the tanh network is trained on."""

SECONDS = 25.0
"""For one repair: of the processor for retraining, on the clock for linear programs."""

HOW = {
    "retrain": rs.Imitation(),
    "tune exact": rs.Imitation(variant="tune", tuning=rs.Tuning(measure="gradient", neurons=20)),
}
COLUMNS = (
    "network", "method", "run", "images", "repaired", "kept_agree", "unseen_accuracy_before",
    "unseen_accuracy_after", "unseen_agree", "seconds", "cpu_seconds",
)  # fmt: skip


def main() -> None:
    """Mend the mistakes of both networks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imitation.mnist", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mnist.csv")
    arguments = parser.parse_args()
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    recorder = Recorder(arguments.out, COLUMNS, resume=arguments.resume)
    networks = {
        "sigmoid 6x200": rs.load_network(folder / "onnx" / "ffnnSIGMOID__Point_6x200.onnx"),
        "tanh 2x100": tanh_network(images[:TRAINED], labels[:TRAINED]),
    }
    for name, network in networks.items():
        for method in HOW:
            for seed in range(arguments.seeds):
                if not recorder.has(network=name, method=method, run=seed):
                    row = run(network, images, labels, method, seed)
                    recorder.add({"network": name, **row})
                    print(name, row, flush=True)


def run(
    network: Network, images: np.ndarray, labels: np.ndarray, method: str, seed: int
) -> dict[str, object]:
    """Mend up to 100 mistakes, keep 2,000 other decisions, measure on what is left of the 10,000."""
    inputs = images.astype(np.float32).astype(np.float64)
    before = rs.replay(network, inputs).argmax(axis=1)
    order = np.random.default_rng(seed).permutation(len(inputs))
    wrong = order[before[order] != labels[order]][:MISTAKES]
    right = order[before[order] == labels[order]][:KEPT]
    rest = np.setdiff1d(order, np.concatenate([wrong, right]))
    nothing = Property((), network.input_size, network.output_size, name="no property")
    how = replace(HOW[method], seconds=SECONDS)
    started, cpu = time.perf_counter(), time.process_time()
    points = collect(
        network,
        nothing,
        rs.PointSet(inputs[wrong], labels[wrong]),
        rs.PointSet(inputs[right], labels[right]),
        how,
        decision="max",
        seed=seed,
    )
    changed = learned(Course.begin(network, nothing, how, seed=seed), points)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    after = rs.replay(changed, inputs).argmax(axis=1)
    return {
        "method": method,
        "run": seed,
        "images": len(wrong),
        "repaired": float((after[wrong] == labels[wrong]).mean()),
        "kept_agree": float((after[right] == before[right]).mean()),
        "unseen_accuracy_before": float((before[rest] == labels[rest]).mean()),
        "unseen_accuracy_after": float((after[rest] == labels[rest]).mean()),
        "unseen_agree": float((after[rest] == before[rest]).mean()),
        "seconds": seconds,
        "cpu_seconds": cpu,
    }


def tanh_network(images: np.ndarray, labels: np.ndarray, seed: int = 0, steps: int = 400) -> Network:
    """784-100-100-10 with tanh, trained here on the given images alone."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 100), torch.nn.Tanh(), torch.nn.Linear(100, 100), torch.nn.Tanh(),
        torch.nn.Linear(100, 10),
    )  # fmt: skip
    weights = dict(model.named_parameters())
    descent = Adam(weights, dict.fromkeys(weights, 1e-3))
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    for _ in range(steps):
        part = torch.randint(len(x), (256,))
        descent.step(torch.nn.functional.cross_entropy(model(x[part]), y[part]))
    return rs.load_network(model.eval(), input_shape=(1, 784))


if __name__ == "__main__":
    main()
