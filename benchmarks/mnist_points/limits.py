"""What a layer can do at best: it is trained on everything that is measured, labels included.

`python -m benchmarks.mnist_points.limits 9_100,fog,5 3_100,0.05,2 ...`: network, fog or the radius of the
attack, number of a layer. No repair sees that much. Where the accuracy lost is still large, or what is gained
small, it is the layer that cannot tell the images apart, as far as training finds its best change: it proves
nothing.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import repairsolver as rs
from benchmarks.mnist_points.__main__ import POOL
from benchmarks.mnist_points.images import attacked, decided, fog, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.network.operators import Dense
from repairsolver.results import Array

STEPS, BATCH, CHECK, GROWTH, DAMPING = 8000, 500, 50, 1.1, 1e-3
MARGIN = 0.5
"""What images to repair must lead by."""

RATES, WEIGHTS = (0.3, 1.0), ((1.0, 0.0), (4.0, 0.0), (0.03, 0.3), (1.0, 0.3))
"""Of training: the rates, in units of the outputs' spread over the number of inputs; the weights of corrupted
images measured and, at first, of those to repair. Runs without the latter say what the layer can gain."""

MOST_LOST = {"mnist_relu_3_100": 0.0128, "mnist_relu_9_100": 0.0272, "mnist_relu_9_200": 0.0138}
"""What APRNN loses (published.csv): the gain within this is told beside the least loss."""

COLUMNS = (
    "network", "corruption", "radius", "layer", "most_lost", "drawdown", "generalisation",
    "generalisation_alone", "efficacy_end", "runs", "cpu_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What the layer reads of images [b, k], and their labels [b]."""

    read: torch.Tensor
    labels: torch.Tensor


class Layer:
    """One layer of a network, trained alone."""

    def __init__(self, network: rs.Network, number: int) -> None:
        dense = [node.operator for node in network.nodes if isinstance(node.operator, Dense)]
        self.weights = [torch.tensor(one.weight, dtype=torch.float32) for one in dense]
        self.biases = [torch.tensor(one.bias, dtype=torch.float32) for one in dense]
        self.number = number

    def reads(self, images: Array, labels: np.ndarray) -> Images:
        """What comes out of the layers before it."""
        values = torch.tensor(images, dtype=torch.float32)
        for w, b in zip(self.weights[: self.number], self.biases[: self.number], strict=True):
            values = torch.relu(values @ w.T + b)
        return Images(values, torch.tensor(labels))

    def scores(self, values: torch.Tensor, change: list[torch.Tensor]) -> torch.Tensor:
        """The network's scores where the layer has other weights and biases."""
        values = values @ change[0].T + change[1]
        for w, b in zip(self.weights[self.number + 1 :], self.biases[self.number + 1 :], strict=True):
            values = torch.relu(values) @ w.T + b
        return values

    def right(self, images: Images, change: list[torch.Tensor]) -> float:
        with torch.no_grad():
            return float((self.scores(images.read, change).argmax(dim=1) == images.labels).double().mean())


@dataclass(slots=True)
class Best:
    """What training has found, with all images to repair right but for `alone`.

    Args:
        most: the accuracy that may be lost where the gain is counted.
        drawdown: the least accuracy lost (None: never all right).
        generalisation: the most accuracy gained within `most` (None: never).
        alone: the same, whatever becomes of the images to repair.
        efficacy: the largest share that was right at the end of a run.
    """

    most: float
    drawdown: float | None = None
    generalisation: float | None = None
    alone: float = 0.0
    efficacy: float = 0.0

    def see(self, right: float, lost: float, gained: float) -> None:
        self.alone = max(self.alone, gained) if lost < self.most else self.alone
        if right < 1:
            return
        self.drawdown = lost if self.drawdown is None else min(self.drawdown, lost)
        if lost < self.most:
            self.generalisation = gained if self.generalisation is None else max(self.generalisation, gained)


def train(
    layer: Layer, sets: tuple[Images, Images, Images], best: Best, rate: float, weights: tuple[float, float]
) -> None:
    """Cross-entropy on what is measured, hinges of those to repair, whose weight grows until they are right.

    Hinges, as in the repair: cross-entropy would go on pulling images that are right already. Steps go
    along coordinates in which what the layer reads is uncorrelated: else training ends far from its best.

    Args:
        sets: clean images, corrupted ones, images to repair.
        weights: of the corrupted images, and of those to repair at first.
    """
    clean, corrupted, wrong = sets
    weight, price = weights
    torch.manual_seed(0)
    stored = [layer.weights[layer.number], layer.biases[layer.number]]
    start = layer.right(clean, stored), layer.right(corrupted, stored)
    read = torch.cat([clean.read, corrupted.read])
    mean, turn = read.mean(dim=0), _turn(read)
    unknowns = [torch.zeros_like(part, requires_grad=True) for part in stored]
    unit = float((read @ stored[0].T + stored[1]).std()) / read.shape[1]
    descent = torch.optim.Adam(unknowns, lr=rate * unit)
    pace, right = torch.optim.lr_scheduler.CosineAnnealingLR(descent, STEPS), 0.0
    for step in range(1, STEPS + 1):
        moved = unknowns[0] @ turn.T
        change = [stored[0] + moved, stored[1] + unknowns[1] - moved @ mean]
        total = _loss(layer, clean, change, BATCH) + weight * _loss(layer, corrupted, change, BATCH)
        total = total + price * _lacking(layer, wrong, change)
        descent.zero_grad()
        total.backward()
        descent.step()
        pace.step()
        if step % CHECK == 0:  # of the change before this step
            right = layer.right(wrong, change)
            price *= 1.0 if right == 1 else GROWTH
            best.see(right, start[0] - layer.right(clean, change), layer.right(corrupted, change) - start[1])
    best.efficacy = max(best.efficacy, right)


def _turn(read: torch.Tensor) -> torch.Tensor:
    """The columns in whose directions inputs [b, k] vary, divided by how much they do."""
    values, vectors = torch.linalg.eigh(torch.cov(read.double().T))
    return (vectors / torch.sqrt(values.clamp(min=0.0) + DAMPING * values[-1])).float()


def _loss(layer: Layer, images: Images, change: list[torch.Tensor], batch: int | None = None) -> torch.Tensor:
    rows = slice(None) if batch is None else torch.randint(len(images.labels), (batch,))
    loss = torch.nn.functional.cross_entropy(layer.scores(images.read[rows], change), images.labels[rows])
    return torch.as_tensor(loss)


def _lacking(layer: Layer, images: Images, change: list[torch.Tensor]) -> torch.Tensor:
    """What the lead of the right label lacks of the margin, on average."""
    scores, right = layer.scores(images.read, change), images.labels[:, None]
    rivals = scores.scatter(1, right, -torch.inf).amax(dim=1)
    return torch.relu(MARGIN + rivals - scores.gather(1, right)[:, 0]).mean()


def limit(folder: Path, name: str, corruption: str, number: int) -> dict[str, object]:
    """One row: the best that training finds for this layer."""
    images, labels = load_images(folder)
    network = rs.load_network(folder / "onnx" / f"{name}.onnx")
    radius = None if corruption == "fog" else float(corruption)
    # As the repairs' images: fog depends on how many images there are.
    corrupted = fog(images, 0) if radius is None else attacked(network, images[:POOL], labels[:POOL], radius)
    chosen = np.flatnonzero(decided(network, corrupted[:POOL]) != labels[:POOL])[:100]
    others = np.setdiff1d(np.arange(POOL), chosen)
    layer, best = Layer(network, number), Best(MOST_LOST[name])
    sets = ((images, others), (corrupted, others), (corrupted, chosen))
    seen = [layer.reads(pixels[index], labels[index]) for pixels, index in sets]
    started = time.process_time()
    for rate in RATES:
        for weights in WEIGHTS:
            train(layer, (seen[0], seen[1], seen[2]), best, rate, weights)
    return {
        "network": name,
        "corruption": "fog" if radius is None else "attack",
        "radius": radius,
        "layer": network.affine_layers[number].layer,
        "most_lost": best.most,
        "drawdown": best.drawdown,
        "generalisation": best.generalisation,
        "generalisation_alone": best.alone,
        "efficacy_end": best.efficacy,
        "runs": len(RATES) * len(WEIGHTS),
        "cpu_seconds": time.process_time() - started,
    }


def main() -> None:
    """One row for each task."""
    recorder = Recorder(Path(__file__).parent / "results" / "limits.csv", COLUMNS, seed=0, resume=True)
    folder = data_folder("mnist")
    for task in sys.argv[1:]:
        name, corruption, number = task.split(",")
        row = limit(folder, f"mnist_relu_{name}", corruption, int(number))
        recorder.add(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
