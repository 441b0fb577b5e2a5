"""What a layer can do at best: it is trained on everything that is measured, labels included.

`python -m benchmarks.mnist_points.limits 3_100,0.1,2 ...`: network, radius of the attack, number of a layer.
No repair sees that much. Where the accuracy lost is still large, it is the layer that cannot tell the images
apart, as far as training finds its best change: it proves nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

import repairsolver as rs
from benchmarks.mnist_points.__main__ import POOL
from benchmarks.mnist_points.images import attacked, decided, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.network.operators import Dense
from repairsolver.results import Array

STEPS, BATCH, RATE, CHECK, GROWTH = 1500, 500, 0.015, 50, 1.2
COLUMNS = ("network", "radius", "layer", "drawdown", "efficacy_end", "drawdown_end", "cpu_seconds")


def trained(network: rs.Network, number: int, sets: tuple[Array, ...], seed: int) -> dict[str, float | None]:
    """Cross-entropy on clean images and, with a weight that grows until all are right, on those to repair.

    Args:
        sets: clean images, their labels, images to repair, their labels.

    Returns:
        The least accuracy lost with all of them right (None: never), and both in the end.
    """
    torch.manual_seed(seed)
    dense = [node.operator for node in network.nodes if isinstance(node.operator, Dense)]
    weights = [torch.tensor(one.weight, dtype=torch.float32) for one in dense]
    biases = [torch.tensor(one.bias, dtype=torch.float32) for one in dense]
    weight, bias = weights[number].clone().requires_grad_(), biases[number].clone().requires_grad_()

    def front(images: Array) -> torch.Tensor:
        values = torch.tensor(images, dtype=torch.float32)
        for w, b in zip(weights[:number], biases[:number], strict=True):
            values = torch.relu(values @ w.T + b)
        return values

    def scores(values: torch.Tensor) -> torch.Tensor:
        values = values @ weight.T + bias
        for w, b in zip(weights[number + 1 :], biases[number + 1 :], strict=True):
            values = torch.relu(values) @ w.T + b
        return values

    clean, wrong = front(sets[0]), front(sets[2])
    labels, wanted = torch.tensor(sets[1]), torch.tensor(sets[3])
    descent = torch.optim.Adam([weight, bias], lr=RATE * float(weights[number].pow(2).mean().sqrt()))
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(descent, STEPS)
    before, best, price, loss = _right(scores(clean), labels), None, 1.0, torch.nn.functional.cross_entropy
    right = lost = 0.0
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(clean), (BATCH,))
        total = loss(scores(clean[rows]), labels[rows]) + price * loss(scores(wrong), wanted)
        descent.zero_grad()
        total.backward()
        descent.step()
        pace.step()
        if step % CHECK == 0:
            right, lost = _right(scores(wrong), wanted), before - _right(scores(clean), labels)
            if right < 1:
                price *= GROWTH
            else:
                best = lost if best is None else min(best, lost)
    return {"drawdown": best, "efficacy_end": right, "drawdown_end": lost}


def _right(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return float((scores.argmax(dim=1) == labels).double().mean())


def main() -> None:
    """One row for each task."""
    recorder = Recorder(Path(__file__).parent / "results" / "limits.csv", COLUMNS, resume=True)
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    for task in sys.argv[1:]:
        name, radius, number = task.split(",")
        network = rs.load_network(folder / "onnx" / f"mnist_relu_{name}.onnx")
        corrupted = attacked(network, images[:POOL], labels[:POOL], float(radius))
        chosen = np.flatnonzero(decided(network, corrupted) != labels[:POOL])[:100]
        others = np.setdiff1d(np.arange(POOL), chosen)
        sets = images[others], labels[others], corrupted[chosen], labels[chosen]
        started = time.process_time()
        found = trained(network, int(number), sets, 0)
        layer = network.affine_layers[int(number)].layer
        row = {"network": f"mnist_relu_{name}", "radius": float(radius), "layer": layer, **found}
        recorder.add(row | {"cpu_seconds": time.process_time() - started})
        print(row, flush=True)


if __name__ == "__main__":
    main()
