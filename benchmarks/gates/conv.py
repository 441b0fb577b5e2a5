"""Gates of convolutional, residual and sigmoid networks: `python -m benchmarks.gates.conv`."""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.mnist_points.images import decided, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.network.gated import Override
from repairsolver.verification.attack import Effort, attack

RADIUS, WANTED, SEARCHED = 0.04, 10, 100
"""Balls around MNIST images beyond the published ones: radius, how many altogether, images that are tried."""

WIDER, RESIDUAL = 3.0, 2
"""Published boxes of the residual network are not violated: the first that are at so many times the width."""

EFFORT = Effort(samples=256, restarts=16, steps=30, rounds=1)
SAMPLES, IMAGES = 2_000, 2_000
COLUMNS = (
    "network",
    "instance",
    "place",
    "status",
    "certificate",
    "where",
    "changes",
    "kinds",
    "ball_decisions",
    "changed_images",
    "seconds",
    "cpu_seconds",
    "check_seconds",
    "timeout",
    "message",
)


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    family: str
    network: rs.Network
    name: str
    prop: rs.Property


def instances(seed: int) -> Iterator[Instance]:
    """Published violated ones, more balls of the same kind, and boxes of a residual network, made wider."""
    yield from _published("mnist_conv_verivital", "ground_truth.csv", "Convnet")
    yield from _balls(seed)
    yield from _published("mnist", "eran_vnncomp2021_ground_truth.csv", "ffnnSIGMOID")
    yield from _residual(seed)


def _published(family: str, truths: str, stem: str) -> Iterator[Instance]:
    folder = data_folder(family)
    with (folder / truths).open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["status"] == "violated" and r["onnx"].startswith(stem)]
    for row in rows:
        network = rs.load_network(folder / "onnx" / row["onnx"])
        prop = rs.load_property(folder / "vnnlib" / f"{row['vnnlib']}.gz", network=network)
        yield Instance(family, network, row["vnnlib"].removesuffix(".vnnlib"), prop)


def _balls(seed: int) -> Iterator[Instance]:
    """Balls of the network with average pooling, of images that no published instance is about."""
    published = list(_published("mnist_conv_verivital", "ground_truth.csv", "Convnet"))
    network, left = published[0].network, WANTED - len(published)
    taken = {instance.name.split("_")[1] for instance in published}
    images, labels = load_images(data_folder("mnist"))
    right = decided(network, images[:SEARCHED]) == labels[:SEARCHED]
    for number in range(SEARCHED):
        if left and right[number] and str(number) not in taken:
            label = int(labels[number])
            prop = rs.local_robustness(images[number], RADIUS, label, outputs=10, lower=0.0, upper=1.0)
            if attack(network, prop, seed=seed, effort=EFFORT, seconds=10.0):
                left -= 1
                yield Instance("mnist_conv_verivital", network, f"image_{number}_{RADIUS}", prop)


def _residual(seed: int) -> Iterator[Instance]:
    folder, left = data_folder("cifar10_resnet"), RESIDUAL
    network = rs.load_network(folder / "onnx" / "resnet_2b.onnx")
    for file in sorted((folder / "vnnlib").glob("prop_*_eps_0.008.vnnlib.gz")):
        prop = rs.load_property(file, network=network)
        regions = []
        for region in prop.regions:
            centre, half = (region.lower + region.upper) / 2, WIDER * (region.upper - region.lower) / 2
            regions.append(replace(region, lower=centre - half, upper=centre + half))
        wide = rs.Property(tuple(regions), prop.input_size, prop.output_size, name=f"{prop.name} wider")
        if left and attack(network, wide, seed=seed, effort=EFFORT, seconds=10.0):
            left -= 1
            yield Instance(
                "cifar10_resnet", network, f"{file.name.split('.vnnlib')[0]}_times_{WIDER:g}", wide
            )


def main() -> None:
    """A row for each instance and place."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates.conv", description=__doc__)
    parser.add_argument("--places", default="inner,output", help="with commas")
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--no-check", action="store_true", help="save no certificate and ask no checker")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one repair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "conv.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    for instance in instances(arguments.seed):
        if arguments.only not in instance.name:
            continue
        for place in arguments.places.split(","):
            key = {"network": instance.network.name, "instance": instance.name, "place": place}
            if not recorder.has(**key):
                row = run(instance, place, arguments)
                recorder.add(key | row)
                print(key | row, flush=True)


def run(instance: Instance, place: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Repair, have the saved files checked, and count decisions in the ball and among test images."""
    network, prop, seed = instance.network, instance.prop, arguments.seed
    seconds = arguments.timeout
    started, busy = time.perf_counter(), time.process_time()
    fix = rs.repair(
        network, prop, method="gate", place=place, limits=rs.Limits(seconds=seconds), seed=seed,  # type: ignore[arg-type]
        certificate=not arguments.no_check,
    )  # fmt: skip
    row: dict[str, object] = dict.fromkeys(COLUMNS[3:])
    row |= {"status": fix.status, "timeout": seconds, "message": fix.message}
    row |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
    if fix.network is None or not isinstance(fix.edit, rs.Gates):
        return row
    with tempfile.TemporaryDirectory() as folder:
        gated, proof, asked = (Path(folder) / name for name in ("gated.onnx", "gated.cert", "asked.vnnlib"))
        fix.save(gated, certificate=None if fix.certificate is None else proof)
        rs.save_property(prop, asked)
        if fix.certificate is None:
            row |= {"certificate": "not asked" if arguments.no_check else "none"}
        else:
            answer = rs.check(proof, network=gated, property=asked)
            row |= {"certificate": "valid" if answer.valid else f"invalid: {answer.reason}"}
            row |= {"check_seconds": answer.seconds}
        after = rs.load_network(gated)
    region, rng = prop.regions[0], np.random.default_rng(seed)
    points = rng.uniform(region.lower, region.upper, (SAMPLES, network.input_size))
    points = np.clip(points.astype(np.float32).astype(np.float64), region.lower, region.upper)
    row |= {"ball_decisions": float((decided(network, points) == decided(after, points)).mean())}
    if network.input_size == 784:
        images, _ = load_images(data_folder("mnist"))
        moved = decided(network, images[:IMAGES]) != decided(after, images[:IMAGES])
        row |= {"changed_images": int(moved.sum())}
    where = sorted({gate.layer for gate in fix.edit.gates})
    return row | {"where": " ".join(where), "changes": fix.edit.count, "kinds": kinds(fix.edit)}


def kinds(edit: rs.Gates) -> str:
    """`channel clamp 1, neuron constant 2`: what is overridden, and how, counted."""
    found: Counter[str] = Counter()
    for gate in edit.gates:
        change = gate.change
        if not isinstance(change, Override):
            found["half-space"] += change.count
            continue
        owners = change.channels or (-1,) * len(change.index)
        seen = set()
        for k, owner in enumerate(owners):
            if owner in seen:
                continue
            seen |= {owner} - {-1}
            fixed = change.lower[k] == change.upper[k]
            limited = np.isfinite([change.lower[k], change.upper[k]]).any()
            kind = "constant" if fixed else "clamp" if limited else "affine"
            found[f"{'neuron' if owner < 0 else 'channel'} {kind}"] += 1
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))


if __name__ == "__main__":
    main()
