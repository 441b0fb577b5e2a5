"""Repair corrupted MNIST images: `python -m benchmarks.mnist_points`; see the README beside this file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import benchmarks.clock  # noqa: F401 - before repairsolver: it may change what seconds are
import repairsolver as rs
from benchmarks.mnist_points.images import attacked, decided, fog, load_images
from benchmarks.mnist_points.plot import plot
from benchmarks.record import Recorder, data_folder
from repairsolver.results import Array

NETWORKS = ("mnist_relu_3_100", "mnist_relu_9_100")
CORRUPTIONS = ("fog", "attack")
POOL = 9000
"""The first image that is kept, not measured, where 1,000 are kept or fewer."""

Decide = Callable[[Array], np.ndarray]
"""Decisions about images."""

COLUMNS = (
    "network",
    "corruption",
    "radius",
    "layer",
    "minimise",
    "norm",
    "keep_soft",
    "points",
    "kept_points",
    "measured_every",
    "preferred",
    "prefer_soft",
    "status",
    "efficacy",
    "drawdown",
    "generalisation",
    "clean_before",
    "clean_after",
    "corrupted_before",
    "corrupted_after",
    "cost",
    "lower_bound",
    "l2_change",
    "entries",
    "seconds",
    "cpu_seconds",
    "timeout",
)


def main() -> None:
    """Repair every layer of every network in turn, one row each."""
    parser = argument_parser("python -m benchmarks.mnist_points", __doc__)
    arguments = parser.parse_args()
    if not arguments.plot:
        measure(arguments)
    plot(arguments.out, arguments.out.parent / "comparison.svg")


def argument_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """What is repaired, and how."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="with commas between them")
    parser.add_argument("--corruptions", default=",".join(CORRUPTIONS), help="fog, attack")
    parser.add_argument(
        "--layers", default="", help="numbers from 0, or all, with commas; each in turn without it"
    )
    parser.add_argument("--minimise", default="behaviour", choices=("behaviour", "weights"))
    parser.add_argument("--norm", default="l2", choices=("l1", "l2", "linf"))
    parser.add_argument("--points", type=int, default=100, help="wrong corrupted images to repair")
    parser.add_argument("--keep", type=int, default=1000, help="clean images whose behaviour is kept")
    parser.add_argument(
        "--keep-soft", type=float, default=0.1, help="price of losing one; 0: none may be lost"
    )
    parser.add_argument(
        "--measured-every",
        type=int,
        default=0,
        help="measure every N-th of the last images, keep the others; 0: keep the last ones",
    )
    parser.add_argument("--radius", type=float, default=0.05, help="of the attack, in the maximum norm")
    parser.add_argument(
        "--prefer",
        type=int,
        default=0,
        help="corrupted versions of kept images, of every one equally many, that should stay right, too",
    )
    parser.add_argument("--prefer-soft", type=float, default=0.1, help="price of what one of them lacks")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one repair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--plot", action="store_true", help="only draw the rows that there are")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "points.csv")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """One row for each network, corruption and layer."""
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    folder = data_folder("mnist")
    images, labels = load_images(folder)
    for name in arguments.networks.split(","):
        network = rs.load_network(folder / "onnx" / f"{name}.onnx")
        for corruption in arguments.corruptions.split(","):
            task = Task(network, name, corruption, images, labels, arguments)
            for layer in chosen_layers(network, arguments.layers):
                row = task.asked(layer)
                if not recorder.has(**row):
                    row |= task.run(layer)
                    recorder.add(row)
                    print({key: row[key] for key in COLUMNS if row[key] is not None}, flush=True)


def kept_images(count: int, total: int, every: int) -> np.ndarray:
    """Which images are kept, of so many: the last ones, or of the last ones all but every n-th."""
    able = np.flatnonzero(np.arange(total) % every) if every else np.arange(total)
    if len(able) < count:
        raise ValueError(f"{count} images to keep, and {len(able)} that may be: lower --keep")
    return able[len(able) - count :]


def chosen_layers(network: rs.Network, text: str) -> list[str]:
    """Names of layers; "all" for all of them at once."""
    names = [affine.layer for affine in network.affine_layers]
    return [item if item == "all" else names[int(item)] for item in text.split(",")] if text else names


class Task:
    """One network and one corruption: what is repaired, kept and measured."""

    def __init__(
        self,
        network: rs.Network,
        name: str,
        corruption: str,
        images: Array,
        labels: np.ndarray,
        arguments: argparse.Namespace,
        kept: np.ndarray | None = None,
        known: np.ndarray | None = None,
    ) -> None:
        if kept is None:
            kept = kept_images(arguments.keep, len(images), arguments.measured_every)
        self.kept, self.known = kept, kept if known is None else known
        most = len(images) if arguments.measured_every else POOL
        self.pool = np.setdiff1d(np.arange(most), self.known)
        self.network, self.name, self.corruption, self.arguments = network, name, corruption, arguments
        self.images, self.labels = images, labels
        self.corrupted = self.corrupt(images, labels, arguments.seed)
        self.wrong = self.pool[decided(network, self.corrupted[self.pool]) != labels[self.pool]]
        kept = images[self.kept[: arguments.prefer]]
        self.preferred: rs.PointSet | None = None
        if len(kept):
            decisions, count = decided(network, kept), arguments.prefer // len(kept)
            seeds = [arguments.seed + number for number in range(1, count + 1)]
            inputs = np.concatenate([self.corrupt(kept, decisions, seed) for seed in seeds])
            self.preferred = rs.PointSet(inputs, np.tile(decisions, count), name="kept images, corrupted")

    def corrupt(self, images: Array, labels: np.ndarray, seed: int) -> Array:
        """Images in fog, or attacked against these labels; from the image itself with the first two seeds."""
        if self.corruption == "fog":
            return fog(images, seed)
        start = seed if seed > self.arguments.seed + 1 else None
        return attacked(self.network, images, labels, self.arguments.radius, start)

    def asked(self, layer: str) -> dict[str, object]:
        """What a row is about."""
        arguments = self.arguments
        return {
            "network": self.name,
            "corruption": self.corruption,
            "radius": None if self.corruption == "fog" else arguments.radius,
            "layer": layer,
            "minimise": arguments.minimise,
            "norm": arguments.norm,
            "keep_soft": arguments.keep_soft,
            "points": arguments.points,
            "kept_points": arguments.keep,
            "measured_every": arguments.measured_every,
            "preferred": arguments.prefer,
            "prefer_soft": arguments.prefer_soft if arguments.prefer else None,
        }

    def run(self, layer: str) -> dict[str, object]:
        """Repair one layer and measure it on images that it has not seen."""
        arguments = self.arguments
        chosen = self.wrong[: arguments.points]
        kept = self.images[self.kept]
        nowhere = rs.Property((), self.network.input_size, self.network.output_size, name="no region")
        started = time.process_time()
        fix = rs.repair(
            self.network,
            nowhere,
            layers=layer,
            minimise=arguments.minimise,
            norm=arguments.norm,
            points=rs.PointSet(self.corrupted[chosen], self.labels[chosen], name=self.corruption),
            keep=rs.PointSet(kept, name="clean images") if len(kept) else None,
            keep_soft=arguments.keep_soft or None,
            prefer=self.preferred,
            decision="max",
            prefer_soft=arguments.prefer_soft,
            limits=rs.Limits(seconds=arguments.timeout),
            seed=arguments.seed,
        )
        return {
            "status": fix.status,
            **self.measured(None if fix.network is None else partial(decided, fix.network), chosen),
            "cost": fix.cost,
            "lower_bound": fix.lower_bound,
            "l2_change": None if fix.edit is None else fix.edit.norm("l2"),
            "entries": None if fix.edit is None else fix.edit.count,
            "seconds": fix.seconds,
            "cpu_seconds": time.process_time() - started,
            "timeout": arguments.timeout,
        }

    def measured(self, repaired: Decide | None, chosen: np.ndarray) -> dict[str, float | None]:
        """Shares of right decisions: of the repaired points, and of the others that are not kept."""
        others = np.setdiff1d(self.pool, chosen)
        clean, corrupted = self.images[others], self.corrupted[others]
        before = [self.right(partial(decided, self.network), x, others) for x in (clean, corrupted)]
        if repaired is None:
            after: list[float | None] = [None, None, None]
        else:
            sets = ((self.corrupted[chosen], chosen), (clean, others), (corrupted, others))
            after = [self.right(repaired, x, index) for x, index in sets]
        return {
            "efficacy": after[0],
            "drawdown": None if after[1] is None else before[0] - after[1],
            "generalisation": None if after[2] is None else after[2] - before[1],
            "clean_before": before[0],
            "clean_after": after[1],
            "corrupted_before": before[1],
            "corrupted_after": after[2],
        }

    def right(self, decide: Decide, images: Array, index: np.ndarray) -> float:
        """The share of right decisions."""
        return float((decide(images) == self.labels[index]).mean())


if __name__ == "__main__":
    main()
