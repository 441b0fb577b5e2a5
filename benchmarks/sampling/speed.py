"""Samples a minute, and rare events against known probabilities."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.acasxu_repair.instances import Pair, load_pair
from benchmarks.sampling.corners import corner, depth_for, sum_network
from repairsolver.network import load_network
from repairsolver.property import Conjunction, Property, Region
from repairsolver.sampling.distributions import Uniform
from repairsolver.sampling.domain import domain_of
from repairsolver.sampling.evaluation import Evaluator
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.splitting import estimate_rare_event

Row = dict[str, object]
SPEED = (
    "network",
    "property",
    "mode",
    "samples",
    "seconds",
    "millions_a_minute",
    "cpu_millions_a_minute",
    "load",
)
RARE = (
    "inputs", "probability", "estimate", "ratio", "standard_error", "deviations", "inside", "levels",
    "particles",
    "repetitions", "evaluations", "plain_samples", "seconds",
)  # fmt: skip


def speed(folder: Path, seed: int) -> Iterator[Row]:
    """Fixed tests on one thread: in batches, and every sample by itself; three times each."""
    for name, prop in (("1_1", 1), ("3_3", 2), ("2_9", 8)):
        network, wanted = load_pair(folder, Pair(name, prop))
        for mode, samples in (("batches", 5_000_000), ("alone", 200_000)):
            for repeat in range(3):
                load, started, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
                found = sample_property(
                    network, wanted, epsilon=0.5, eta=1e-3, sequential=False, samples=samples,
                    alone=mode == "alone", seed=seed + repeat,
                )  # fmt: skip
                seconds, used = time.perf_counter() - started, time.process_time() - cpu
                yield {
                    "network": name, "property": prop, "mode": mode, "samples": found.samples,
                    "seconds": seconds,
                    "millions_a_minute": samples / seconds * 60e-6,
                    "cpu_millions_a_minute": samples / used * 60e-6, "load": load,
                }  # fmt: skip


def rare(seed: int, done: Callable[..., bool]) -> Iterator[Row]:
    """Corners of cubes; `plain_samples` is what plain sampling needs for the same relative error."""
    for inputs in (2, 5, 10, 20):
        for exponent in (-3, -6, -9, -12):
            prop, exact = corner(inputs, depth_for(inputs, 10.0**exponent))
            if depth_for(inputs, 10.0**exponent) > 1 or done(inputs=inputs, probability=repr(exact)):
                continue
            found = estimate_rare_event(sum_network(inputs, double=True), prop, seed=seed)
            error = found.standard_error
            yield {
                "inputs": inputs, "probability": exact, "estimate": found.probability,
                "ratio": found.probability / exact, "standard_error": error,
                "deviations": (found.probability - exact) / error,
                "inside": found.interval[0] <= exact <= found.interval[1], "levels": len(found.levels),
                "particles": found.particles, "repetitions": len(found.estimates),
                "evaluations": found.evaluations, "plain_samples": exact * (1 - exact) / error**2,
                "seconds": found.seconds,
            }  # fmt: skip


BATCHES = ("family", "network", "inputs", "samples", "tolerance", "largest_difference", "single_differ")
FILES = {
    "acasxu": "onnx/*_3_3_*.onnx",
    "mnist": "**/*.onnx",
    "mnist_fc_vnncomp": "onnx/*.onnx",
    "mnist_conv_verivital": "onnx/*.onnx",
    "cifar10_resnet": "onnx/*.onnx",
    "collision_detection": "**/*.onnx",
}


def batches(root: Path, seed: int) -> Iterator[Row]:
    """Outputs in batches and one by one, on uniform samples of the unit cube: what statements assume."""
    for family, pattern in FILES.items():
        for path in sorted((root / family).glob(pattern)):
            network = load_network(path)
            unsafe = Conjunction(
                np.eye(1, network.output_size), np.zeros((1, network.input_size)), np.zeros(1)
            )
            cube = Region(np.zeros(network.input_size), np.ones(network.input_size), (unsafe,))
            domain = domain_of(network, Property((cube,), network.input_size, network.output_size))
            rng = np.random.default_rng(seed)
            evaluator = Evaluator(network, domain, Uniform().draw(domain, rng, 64))
            points = Uniform().draw(domain, rng, 5000 if network.input_size < 100 else 1000).points
            apart = np.abs(evaluator.outputs(points) - evaluator.alone(points)).max(axis=1)
            yield {
                "family": family, "network": path.name, "inputs": network.input_size, "samples": len(points),
                "tolerance": evaluator.tolerance, "largest_difference": float(apart.max()),
                "single_differ": int((apart > 0).sum()),
            }  # fmt: skip
