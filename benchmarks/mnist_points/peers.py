"""What APRNN and PRDNN do to the same images: `python -m benchmarks.mnist_points.peers`; see the README."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
import repairsolver as rs
from benchmarks.mnist_points.__main__ import Decide, Task
from benchmarks.mnist_points.images import decided, load_images
from benchmarks.mnist_points.peer_points import Points
from benchmarks.mnist_points.peer_program import METHODS, Change, repaired
from benchmarks.record import Recorder, data_folder
from repairsolver.network import replace_parameters
from repairsolver.network.operators import Dense, Source
from repairsolver.results import Array

COLUMNS = (
    "tool", "network", "corruption", "radius", "layer", "points", "status", "efficacy", "drawdown",
    "generalisation", "clean_before", "clean_after", "corrupted_before", "corrupted_after", "objective",
    "largest_change", "l1_change", "entries", "rows", "seconds", "cpu_seconds", "timeout",
)  # fmt: skip

SEEN = 1e-6
"""From which on an entry counts as changed: interior points have no zeros."""


class Peers:
    """The affine layers of a network, and what the tools make of it."""

    def __init__(self, network: rs.Network) -> None:
        self.network = network
        self.dense = [node.operator for node in network.affine_layers if isinstance(node.operator, Dense)]
        self.weights = [np.asarray(one.weight) for one in self.dense]
        self.biases = [np.asarray(one.bias) for one in self.dense]

    def decide(self, k: int, change: Change, ordinary: bool) -> Decide | None:
        """Decisions after the change, of the file if it is an ordinary network."""
        if change.weight is None:
            return None
        if ordinary:
            return partial(decided, self.written(k, change))
        return partial(self.decoupled, k, change.weight)

    def written(self, k: int, change: Change) -> rs.Network:
        """The network read back from its file with the change in it."""
        changes: dict[str, Array] = {}
        assert change.weight is not None
        pairs = [(self.dense[k].weight_source, self.weights[k] + change.weight)]
        later = zip(self.dense[k:], self.biases[k:], change.biases, strict=True)
        for source, new in pairs + [(one.bias_source, old + step) for one, old, step in later]:
            assert isinstance(source, Source)
            changes[source.tensor] = (new.T if source.transposed else new) / source.factor
        return replace_parameters(self.network, changes)

    def decoupled(self, k: int, weight: Array, images: Array) -> np.ndarray:
        """Decisions of the value channel; the unchanged network beside it decides which neurons are active.

        Source: Sotoudeh, Thakur, PLDI 2021, definition 4.1.
        """
        pre = images
        for w, b in zip(self.weights[:k], self.biases[:k], strict=True):
            pre = np.maximum(pre @ w.T + b, 0.0)
        value = pre @ (self.weights[k] + weight).T + self.biases[k]
        pre = pre @ self.weights[k].T + self.biases[k]
        for w, b in zip(self.weights[k + 1 :], self.biases[k + 1 :], strict=True):
            value = np.where(pre >= 0, value, 0.0) @ w.T + b
            pre = np.maximum(pre, 0.0) @ w.T + b
        return value.argmax(axis=1)


def run(task: Task, peers: Peers, tool: str, k: int, seconds: float) -> dict[str, object]:
    """One row's results."""
    chosen = task.wrong[: task.arguments.points]
    start, used = time.perf_counter(), time.process_time()
    points = Points(peers.weights, peers.biases, k, task.corrupted[chosen], task.labels[chosen])
    method = METHODS[tool]
    change = repaired(points, method, seconds)
    elapsed, used = time.perf_counter() - start, time.process_time() - used
    parts = [] if change.weight is None else [change.weight.ravel(), *change.biases]
    steps = np.abs(np.concatenate(parts)) if parts else None
    return {
        "status": change.status,
        **task.measured(peers.decide(k, change, ordinary=method.patterns), chosen),
        "objective": change.objective,
        "largest_change": None if steps is None else float(steps.max()),
        "l1_change": None if steps is None else float(steps.sum()),
        "entries": None if steps is None else int((steps > SEEN).sum()),
        "rows": change.rows,
        "seconds": elapsed,
        "cpu_seconds": used,
        "timeout": seconds,
    }


def main() -> None:
    """One row for each tool, network, corruption and layer; those that are there are left out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist_points.peers", description=__doc__)
    parser.add_argument("tasks", nargs="+", help="network,fog or the radius of the attack,layer: 3_100,fog,1")
    parser.add_argument("--tools", default=",".join(METHODS))
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one repair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "peers.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=True)
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    tasks: dict[tuple[str, str], Task] = {}
    for text in arguments.tasks:
        name, corruption, number = text.split(",")
        network = rs.load_network(folder / "onnx" / f"mnist_relu_{name}.onnx")
        fog = corruption == "fog"
        asked: dict[str, object] = {
            "network": f"mnist_relu_{name}",
            "corruption": "fog" if fog else "attack",
            "radius": None if fog else float(corruption),
            "layer": network.affine_layers[int(number)].layer,
            "points": arguments.points,
        }
        for tool in arguments.tools.split(","):
            if recorder.has(tool=tool, **asked):
                continue
            if (name, corruption) not in tasks:
                settings = argparse.Namespace(
                    seed=arguments.seed, keep=0, prefer=0, points=arguments.points, radius=asked["radius"]
                )
                kind = str(asked["corruption"])
                title = str(asked["network"])
                tasks[name, corruption] = Task(network, title, kind, images, labels, settings)
            task = tasks[name, corruption]
            row = {"tool": tool, **asked, **run(task, Peers(network), tool, int(number), arguments.timeout)}
            recorder.add(row)
            print({key: row[key] for key in COLUMNS if row[key] is not None}, flush=True)


if __name__ == "__main__":
    main()
