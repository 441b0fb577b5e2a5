"""NNet files (the text format of the ACAS Xu networks) as ONNX models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from repairsolver.errors import NetworkError

Floats = NDArray[np.float32]
LARGEST_LAYER = 2**20
LIMITS = ("nnet_least_inputs", "nnet_largest_inputs")
"""Metadata of the ONNX model: between which inputs the file says that it is meant to be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """What an NNet file holds: limits, means and ranges of the inputs, those of the output, ReLU layers."""

    least: Floats
    largest: Floats
    input_mean: Floats
    input_range: Floats
    output_mean: Floats
    output_range: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]


@dataclass
class Lines:
    """The lines of a file that hold numbers, with their line numbers for messages."""

    name: str
    rest: Iterator[tuple[int, str]]

    def numbers(self, count: int | None, what: str) -> NDArray[np.float64]:
        """The numbers of the next line, `count` of them if that is known."""
        number, text = next(self.rest, (0, ""))
        if not number:
            raise NetworkError(f"{self.name}: the file ends where {what} should follow")
        try:
            values = np.array([float(part) for part in text.split(",") if part.strip()])
        except ValueError as error:
            raise NetworkError(
                f"{self.name}, line {number}: expected numbers with commas, {what}: {error}"
            ) from error
        if count not in (None, len(values)):
            raise NetworkError(
                f"{self.name}, line {number}: expected {count} numbers ({what}), got {len(values)}"
            )
        if not np.isfinite(values).all():
            raise NetworkError(f"{self.name}, line {number}: {what} contain NaN or infinite values")
        return values

    def limits(self, inputs: int, which: str, missing: float) -> NDArray[np.float64]:
        """The least or largest inputs; some files leave the last ones out, which are then unlimited."""
        given = self.numbers(None, f"the {which} inputs")
        if len(given) > inputs:
            raise NetworkError(f"{self.name}: expected at most {inputs} {which} inputs, got {len(given)}")
        return np.append(given, np.full(inputs - len(given), missing))

    def layer(self, k: int, columns: int, rows: int) -> tuple[Floats, Floats]:
        """Weights [rows, columns] and biases [rows] of layer k."""
        weight = [self.numbers(columns, f"row {i} of the weights of layer {k}") for i in range(1, rows + 1)]
        bias = [self.numbers(1, f"bias {i} of layer {k}") for i in range(1, rows + 1)]
        return np.array(weight, np.float32), np.array(bias, np.float32)[:, 0]


def parse_nnet(text: str, name: str) -> Layers:
    """The content of an NNet file.

    The header is: comments (`//`); number of layers, inputs, outputs, largest layer; all layer sizes;
    an unused flag; least and largest inputs (some may be missing); means and ranges of the inputs
    and, last, of the output. Then for every layer the rows of its weights and its biases, one a line.

    Raises:
        NetworkError: names the line, what was expected and what is there.
    """
    numbered = ((i, line.strip()) for i, line in enumerate(text.splitlines(), 1))
    lines = Lines(name, ((i, line) for i, line in numbered if line and not line.startswith("//")))
    header = "the numbers of layers, inputs and outputs and the largest layer"
    layers, inputs, outputs, _ = (int(v) for v in lines.numbers(4, header))
    if layers < 1:
        raise NetworkError(f"{name}: expected at least one layer, got {layers}")
    sizes = [int(size) for size in lines.numbers(layers + 1, "the layer sizes")]
    if (sizes[0], sizes[-1]) != (inputs, outputs) or not all(0 < size <= LARGEST_LAYER for size in sizes):
        raise NetworkError(f"{name}: layer sizes {sizes} do not go from {inputs} inputs to {outputs} outputs")
    lines.numbers(None, "the flag")
    least = lines.limits(inputs, "least", -np.inf)
    largest = lines.limits(inputs, "largest", np.inf)
    means, ranges = lines.numbers(inputs + 1, "the means"), lines.numbers(inputs + 1, "the ranges")
    if not ranges.all():
        raise NetworkError(f"{name}: a range of the normalisation is 0, got {ranges.tolist()}")
    parts = [lines.layer(k, *shape) for k, shape in enumerate(pairwise(sizes), 1)]
    left = next(lines.rest, None)
    if left is not None:
        raise NetworkError(f"{name}, line {left[0]}: expected the end of the file after the last bias")
    mean, spread = means.astype(np.float32), ranges.astype(np.float32)
    weights, biases = zip(*parts, strict=True)
    limits = least.astype(np.float32), largest.astype(np.float32)
    return Layers(*limits, mean[:-1], spread[:-1], mean[-1:], spread[-1:], weights, biases)


def onnx_from_nnet(data: bytes, name: str, *, normalise: bool) -> bytes:
    """An ONNX model of an NNet file, in float32.

    With `normalise` it maps physical units to physical units:
    y = f((x - mean_in) / range_in) * range_out + mean_out. Inputs are not clipped to the file's
    limits, which are kept as metadata (`LIMITS`). Without it the model is f, the bare layers.
    """
    try:
        layers = parse_nnet(data.decode("ascii"), name)
    except UnicodeDecodeError as error:
        raise NetworkError(f"{name}: not an NNet file: {error}") from error
    steps = chain(layers, normalise=normalise)
    tensors = {key: array for _, _, parameters in steps for key, array in parameters.items()}
    results = ["input", *(result for _, result, _ in steps[:-1]), "output"]
    nodes = [
        helper.make_node(
            operator,
            [before, *parameters],
            [after],
            name=name,
            **({"transB": 1} if operator == "Gemm" else {}),
        )
        for (operator, name, parameters), before, after in zip(steps, results, results[1:], strict=False)
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", layers.weights[0].shape[1]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", len(layers.biases[-1])])],
        [numpy_helper.from_array(array, key) for key, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = "repairsolver"
    if normalise:
        limits = (layers.least, layers.largest)
        helper.set_model_props(
            model, {key: json.dumps(v.tolist()) for key, v in zip(LIMITS, limits, strict=True)}
        )
    return bytes(model.SerializeToString(deterministic=True))


def chain(layers: Layers, *, normalise: bool) -> list[tuple[str, str, dict[str, Floats]]]:
    """The operators one after another: ONNX operator, name, parameters."""
    steps: list[tuple[str, str, dict[str, Floats]]] = []
    for k, (weight, bias) in enumerate(zip(layers.weights, layers.biases, strict=True), 1):
        steps.append(("Gemm", f"layer{k}", {f"weight{k}": weight, f"bias{k}": bias}))
        steps.append(("Relu", f"relu{k}", {}))
    bare = steps[:-1]
    if not normalise:
        return bare
    return [
        ("Sub", "centred", {"input_mean": layers.input_mean}),
        ("Div", "scaled", {"input_range": layers.input_range}),
        *bare,
        ("Mul", "spread", {"output_range": layers.output_range}),
        ("Add", "shifted", {"output_mean": layers.output_mean}),
    ]
