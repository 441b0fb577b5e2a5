"""Gates of convolutional, residual and sigmoid networks: `python -m benchmarks.gates.conv`."""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import repairsolver as rs
from benchmarks.mnist_points.images import attacked, decided, load_images
from benchmarks.record import Recorder, data_folder
from repairsolver.network.gated import Override
from repairsolver.verification.attack import Effort, attack

RADIUS, WANTED, SEARCHED, TOGETHER = 0.04, 4, 100, 20
"""Balls around MNIST test images beyond the published ones: radius, how many, images that are tried, and how
many of these at once."""

WIDER, RESIDUAL = 3.0, 2
"""Published boxes of the residual network are not violated: the first that are at so many times the width."""

EFFORT = Effort(samples=256, restarts=16, steps=30, rounds=1)
SAMPLES, IMAGES = 2_000, 2_000
STOPPED = "not checked: stopped by the limit of the row"
NOT_ASKED = "not checked: --no-check"
NO_CERTIFICATE = (
    "not checked: proved without a certificate, a proof that has one did not end in the repair's time"
)
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


FAMILIES = ("average", "balls", "maximum", "sigmoid", "residual")


def instances(family: str, seed: int) -> Iterator[Instance]:
    """Published violated ones, more balls of the same kind, or boxes of a residual network, made wider."""
    match family:
        case "average":
            yield from _published("mnist_conv_verivital", "ground_truth.csv", "Convnet_avgpool")
        case "balls":
            yield from _balls()
        case "maximum":
            yield from _published("mnist_conv_verivital", "ground_truth.csv", "Convnet_maxpool")
        case "sigmoid":
            yield from _published("mnist", "eran_vnncomp2021_ground_truth.csv", "ffnnSIGMOID")
        case "residual":
            yield from _residual(seed)
        case _:
            raise SystemExit(f"unknown family {family!r}: expected some of {', '.join(FAMILIES)}")


def _published(family: str, truths: str, stem: str) -> Iterator[Instance]:
    folder = data_folder(family)
    with (folder / truths).open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["status"] == "violated" and r["onnx"].startswith(stem)]
    for row in rows:
        network = rs.load_network(folder / "onnx" / row["onnx"])
        prop = rs.load_property(folder / "vnnlib" / f"{row['vnnlib']}.gz", network=network)
        yield Instance(family, network, row["vnnlib"].removesuffix(".vnnlib"), prop)


def _balls() -> Iterator[Instance]:
    """Balls of the network with average pooling around the first test images that gradient steps turn."""
    network = rs.load_network(data_folder("mnist_conv_verivital") / "onnx" / "Convnet_avgpool.onnx")
    left, (images, labels) = WANTED, load_images(data_folder("mnist"))
    for start in range(0, SEARCHED, TOGETHER):
        some, right = images[start : start + TOGETHER], labels[start : start + TOGETHER]
        moved = attacked(network, some, right, RADIUS)
        turned = (decided(network, some) == right) & (decided(network, moved) != right)
        for place in np.flatnonzero(turned)[:left]:
            label = int(right[place])
            prop = rs.local_robustness(some[place], RADIUS, label, outputs=10, lower=0.0, upper=1.0)
            yield Instance("mnist_conv_verivital", network, f"image_{start + place}_{RADIUS}", prop)
        left -= min(left, int(turned.sum()))
        if not left:
            return


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
        if not left:
            return
        if attack(network, wide, seed=seed, effort=EFFORT, seconds=10.0):
            left -= 1
            yield Instance(
                "cifar10_resnet", network, f"{file.name.split('.vnnlib')[0]}_times_{WIDER:g}", wide
            )


def main() -> None:
    """A row for each instance and place."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates.conv", description=__doc__)
    parser.add_argument("--places", default="inner,output", help="with commas")
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--families", default=",".join(FAMILIES), help="with commas")
    parser.add_argument("--no-check", action="store_true", help="ask no checker")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one repair")
    parser.add_argument("--check", type=float, default=60.0, help="seconds for the checker")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds after which a row is stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "conv.csv")
    arguments = parser.parse_args()
    recorder = Recorder(arguments.out, COLUMNS, seed=arguments.seed, resume=arguments.resume)
    families = arguments.families.split(",")
    for instance in (found for family in families for found in instances(family, arguments.seed)):
        if arguments.only not in instance.name:
            continue
        for place in arguments.places.split(","):
            key = {"network": instance.network.name, "instance": instance.name, "place": place}
            if not recorder.has(**key):
                row = limited(instance, place, arguments)
                recorder.add(key | row)
                print(key | row, flush=True)


def limited(instance: Instance, place: str, arguments: argparse.Namespace) -> dict[str, object]:
    """The row of a process of its own, which is killed at the limit; then what it had sent is kept."""
    row: dict[str, object] = dict.fromkeys(COLUMNS[3:])
    row |= {"timeout": arguments.timeout, "status": "stopped", "certificate": "none"}
    row |= {"message": f"stopped after {arguments.limit:g} s, before the repair answered"}
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(instance, place, arguments, sender))
    until = time.monotonic() + arguments.limit
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, until - time.monotonic())):
            row = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode:
            row |= {"message": f"the process ended with {process.exitcode}; {row['message']}"}
    finally:
        process.kill()
        process.join()
    return row


def run(instance: Instance, place: str, arguments: argparse.Namespace, answers: Connection) -> None:
    """Repair, count decisions in the ball and among test images, then have the saved files checked.

    Args:
        answers: gets the row before the check, and again afterwards.
    """
    network, prop, seed = instance.network, instance.prop, arguments.seed
    started, busy = time.perf_counter(), time.process_time()
    fix = rs.repair(
        network, prop, method="gate", place=place, seed=seed, certificate=not arguments.no_check,  # type: ignore[arg-type]
        limits=rs.Limits(seconds=arguments.timeout), decision="max",
    )  # fmt: skip
    row: dict[str, object] = dict.fromkeys(COLUMNS[3:])
    row |= {"status": fix.status, "timeout": arguments.timeout, "message": fix.message}
    row |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
    row |= {"certificate": "none"}
    if fix.network is None or not isinstance(fix.edit, rs.Gates):
        answers.send(row)
        return
    where = sorted({gate.layer for gate in fix.edit.gates})
    row |= {"where": " ".join(where), "changes": fix.edit.count, "kinds": kinds(fix.edit)}
    asked = not arguments.no_check and fix.certificate is not None
    row |= {"certificate": STOPPED if asked else NOT_ASKED if arguments.no_check else NO_CERTIFICATE}
    answers.send(row)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gated.onnx"
        fix.save(file)
        row |= _fidelity(network, rs.load_network(file), prop, seed)
        answers.send(row)
        if asked:
            answers.send(row | _checked(fix, file, prop, arguments.check))


def _fidelity(network: rs.Network, after: rs.Network, prop: rs.Property, seed: int) -> dict[str, object]:
    """Decisions in the ball and among test images, by onnxruntime."""
    region, rng = prop.regions[0], np.random.default_rng(seed)
    points = rng.uniform(region.lower, region.upper, (SAMPLES, network.input_size))
    points = np.clip(points.astype(np.float32).astype(np.float64), region.lower, region.upper)
    found: dict[str, object] = {
        "ball_decisions": float((decided(network, points) == decided(after, points)).mean())
    }
    if network.input_size == 784:
        images, _ = load_images(data_folder("mnist"))
        moved = decided(network, images[:IMAGES]) != decided(after, images[:IMAGES])
        found["changed_images"] = int(moved.sum())
    return found


def _checked(fix: rs.Repair, gated: Path, prop: rs.Property, seconds: float) -> dict[str, object]:
    """What `check` says of the saved files."""
    proof, asked = gated.with_suffix(".cert"), gated.with_suffix(".vnnlib")
    fix.save(gated, certificate=proof)
    rs.save_property(prop, asked)
    answer = rs.check(proof, network=gated, property=asked, seconds=seconds)
    late = not answer.valid and "time was up" in answer.reason
    said = "not checked: " if late else "" if answer.valid else "invalid: "
    return {
        "certificate": "valid" if answer.valid else f"{said}{answer.reason}",
        "check_seconds": answer.seconds,
    }


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
