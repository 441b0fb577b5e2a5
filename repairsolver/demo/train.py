"""Makes the files of the demo: `python -m repairsolver.demo.train [--out DIR]`.

A small ReLU network learns the costs of `encounter.costs` from random encounters, with a fixed seed and
one thread. The property says what the cost model obeys throughout its box (a test checks that): a slow
intruder that comes head-on is never "clear of conflict". The network breaks it in a corner of that box,
for a reason that is easily overlooked in practice: the encounters it learns from are simulated in steps
of 4 s, and between two steps the closest approach can be missed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from repairsolver.demo.encounter import ADVISORIES, QUANTITIES, costs, normalised, physical

SEED = 0
SAMPLES = 60_000
WIDTHS = (len(QUANTITIES), 25, 25, 25, 25, len(ADVISORIES))
LABEL_STEP = 4.0  # s
STEPS = 2_500
BATCH = 1_024
# The box of the property, in the units of QUANTITIES.
LOWER = np.array([2500.0, -4.2, 171.0, 50.0])
UPPER = np.array([3500.0, 4.2, 189.0, 100.0])

Parameters = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def train(seed: int = SEED, steps: int = STEPS) -> Parameters:
    """Train the controller; the weights [out, in] and bias [out] of each layer, first to last.

    The loss is the mean squared error of the costs plus a cross-entropy of the cheapest advisory, by
    Adam with a cosine schedule. The same seed gives the same weights on the same machine and torch.
    """
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, (SAMPLES, len(QUANTITIES)))
    target = torch.tensor(costs(physical(points), LABEL_STEP), dtype=torch.float32)
    inputs, threads = torch.tensor(points, dtype=torch.float32), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = _fit(inputs, target, steps)
    finally:
        torch.set_num_threads(threads)
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]


def _fit(inputs: torch.Tensor, target: torch.Tensor, steps: int) -> list[nn.Linear]:
    layers = [nn.Linear(k, r) for k, r in pairwise(WIDTHS)]
    hidden = [module for layer in layers[:-1] for module in (layer, nn.ReLU())]
    network = nn.Sequential(*hidden, layers[-1])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (BATCH,))
        scores, wanted = network(inputs[rows]), target[rows]
        choice = nn.functional.cross_entropy(-scores / 0.05, wanted.argmin(dim=1))
        loss = ((scores - wanted) ** 2).mean() + 0.02 * choice
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return layers


def to_onnx(parameters: Parameters) -> onnx.ModelProto:
    """The network as ONNX: Gemm and Relu, float32, opset 13, inputs [batch, 4], outputs [batch, 5]."""
    nodes, initialisers, current = [], [], "encounter"
    for number, (weight, bias) in enumerate(parameters, start=1):
        last = number == len(parameters)
        names = [f"layer{number}.weight", f"layer{number}.bias"]
        initialisers += [numpy_helper.from_array(a, n) for a, n in zip((weight, bias), names, strict=True)]
        affine = "costs" if last else f"affine{number}"
        nodes.append(helper.make_node("Gemm", [current, *names], [affine], name=f"layer{number}", transB=1))
        current = affine
        if not last:
            current = f"relu{number}"
            nodes.append(helper.make_node("Relu", [affine], [current], name=current))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "controller",
        [value("encounter", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [value("costs", TensorProto.FLOAT, ["batch", WIDTHS[-1]])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    model.producer_name = "repairsolver.demo.train"
    scales = "; ".join(f"{q.name} [{q.unit}] {q.lower:g}..{q.upper:g}" for q in QUANTITIES)
    helper.set_model_props(
        model,
        {
            "description": "collision-avoidance demo: costs of five advisories, the smallest is chosen",
            "inputs": f"scaled linearly to [-1, 1] from: {scales}",
            "outputs": ", ".join(ADVISORIES),
            "seed": str(SEED),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def property_text() -> str:
    """VNN-LIB 1.0: in the box, "clear of conflict" has the smallest cost (the violation)."""
    lower, upper = normalised(LOWER[None])[0], normalised(UPPER[None])[0]
    lines = [
        "; A slow intruder that comes head-on is never clear of conflict:",
        *(
            f";   X_{i} {q.name}, {LOWER[i]:g} to {UPPER[i]:g} {q.unit} (of {q.lower:g} to {q.upper:g})"
            for i, q in enumerate(QUANTITIES)
        ),
        *(f";   Y_{i} cost of {name}" for i, name in enumerate(ADVISORIES)),
        "; The assertions describe the violation: clear of conflict is the cheapest advisory.",
        *(f"(declare-const X_{i} Real)" for i in range(len(QUANTITIES))),
        *(f"(declare-const Y_{i} Real)" for i in range(len(ADVISORIES))),
    ]
    for i in range(len(QUANTITIES)):
        lines += [f"(assert (>= X_{i} {lower[i]:.6f}))", f"(assert (<= X_{i} {upper[i]:.6f}))"]
    lines += [f"(assert (<= Y_0 Y_{i}))" for i in range(1, len(ADVISORIES))]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Train and write `controller.onnx` and `head_on.vnnlib` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(train()), folder / "controller.onnx")
    (folder / "head_on.vnnlib").write_text(property_text(), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m repairsolver.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the files")
    write(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
