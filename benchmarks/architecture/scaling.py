"""Chains and residual networks of torch layers with injected faults: time and proof by size."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from repairsolver.architecture.candidates import price_of
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Layer, Model, build
from repairsolver.architecture.repair import repair_model

COLUMNS = (
    "family",
    "layers",
    "faults",
    "status",
    "price",
    "edits",
    "lower_bound",
    "proved",
    "engine",
    "search_seconds",
    "proof_seconds",
    "cpu_seconds",
    "brute_force",
)
SIZES = (6, 10, 30, 100, 300)
FAULTS = (1, 2, 4, 6)


def network(family: str, count: int, rng: random.Random) -> Model:
    """A valid network: convolutions, norms, activations, at times a pool; residual blocks of five layers."""
    layers: list[Layer] = []
    last, channels, size = "x", 3, 32

    def put(kind: str, inputs: tuple[str, ...], **args: object) -> str:
        layers.append(Layer(f"{kind.lower()}_{len(layers) + 1}", kind, args, inputs))
        return layers[-1].name

    def conv(source: str, wide: int, deep: int) -> str:
        return put("Conv2d", (source,), in_channels=wide, out_channels=deep, kernel_size=3, padding=1)

    last = conv(last, channels, 8)
    channels = 8
    while len(layers) < count - 3:
        if family == "residual":
            inner = put(
                "ReLU", (put("BatchNorm2d", (conv(last, channels, channels),), num_features=channels),)
            )
            last = put("Add", (conv(inner, channels, channels), last))
        else:
            deep = rng.choice((8, 16))
            norm = put("BatchNorm2d", (conv(last, channels, deep),), num_features=deep)
            last = put("ReLU", (norm,))
            channels = deep
        if rng.random() < 0.2 and size > 4:
            last, size = put("MaxPool2d", (last,), kernel_size=2), size // 2
    last = put("Flatten", (last,))
    put("Linear", (last,), in_features=channels * size * size, out_features=10)
    return build("torch", {"x": (3, 32, 32)}, layers)


def broken(model: Model, faults: int, rng: random.Random) -> Model:
    """The network with wrong widths and missing padding, at most one fault a layer."""
    layers = {layer.name: layer for layer in model.layers}
    able = [layer for layer in model.layers if layer.kind in ("Conv2d", "BatchNorm2d", "Linear")]
    for layer in rng.sample(able, min(faults, len(able))):
        name = {"Conv2d": rng.choice(("in_channels", "padding")), "BatchNorm2d": "num_features"}.get(
            layer.kind
        )
        if name == "padding":
            changed = layer.with_args(padding=(0, 0))
        else:
            key = name or "in_features"
            changed = layer.with_args(**{key: layer.args[key] + rng.randint(1, 5)})
        layers[layer.name] = replace(changed, stated=changed.args)
    return build("torch", model.inputs, list(layers.values()), model.outputs)


def rows(seed: int, seconds: float, largest: int) -> Iterator[dict[str, object]]:
    """One row for each family, size and number of faults."""
    for family in ("chain", "residual"):
        for count in SIZES:
            for faults in FAULTS:
                rng = random.Random(f"{family} {count} {faults} {seed}")
                model = broken(network(family, count, rng), faults, rng)
                if count <= largest and not diagnose_model(model).valid:
                    start = time.process_time()
                    fix = repair_model(model, seconds=seconds)
                    used = time.process_time() - start
                    yield {
                        "family": family,
                        "layers": len(model.layers),
                        "faults": faults,
                        "status": fix.status,
                        "price": fix.cost,
                        "edits": sum(edit.cost > 0 for edit in fix.edits),
                        "lower_bound": fix.lower_bound,
                        "proved": fix.proved,
                        "engine": fix.engine,
                        "search_seconds": fix.seconds[0],
                        "proof_seconds": fix.seconds[1],
                        "cpu_seconds": used,
                        "brute_force": brute_force(model, fix.cost) if count == SIZES[0] else "",
                    }


def brute_force(model: Model, price: int) -> str:
    """The least price of all sets of up to three changes of arguments that are cheaper; "none" without any.

    The values tried are all sizes that occur in the model and the paddings 0 to 2.
    """
    costs = Costs()
    sizes = {size for shape in diagnose_model(model).shapes.values() for size in shape}
    for layer in model.layers:
        roles = {a.name: a.role for a in model.rule(layer).arguments}
        sizes |= {layer.args[name] for name, role in roles.items() if role in ("derived", "width")}
    singles = [
        Edit("set", layer.name, argument.name, value, price_of(model, argument, value, layer, costs))
        for layer in model.layers
        for argument in model.rule(layer).arguments
        if argument.role in ("derived", "padding")
        for value in (sizes if argument.role == "derived" else [(n,) * argument.size for n in range(3)])
        if value != layer.args[argument.name]
    ]
    fitting = (
        cost
        for count in (1, 2, 3)
        for edits in combinations(singles, count)
        if (cost := sum(edit.cost for edit in edits)) < price
        and len({(edit.layer, edit.name) for edit in edits}) == count
        and diagnose_model(apply_edits(model, edits)).valid
    )
    return str(min(fitting, default="none"))
