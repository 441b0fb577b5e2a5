"""Old files in a version of the operators that has what gates need."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, version_converter

from repairsolver.errors import NetworkError
from repairsolver.network.agreement import random_points
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import opset_of, parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.network.replay import replay

INITIALISERS_ALONE = 4
OLDEST = 13
"""The first version whose comparisons, logic and choice gates are made of."""


def upgraded(network: Network) -> tuple[ModelProto, int | None, bool]:
    """The model of a network in opset 13 or newer, the opset before, and whether its nodes stay as they are.

    Raises:
        NetworkError: onnx cannot convert it, or what it makes of it computes something else.
    """
    model = parse(network.model, network.name)
    before = opset_of(model, network.name)
    if before >= OLDEST:
        return model, None, True
    newer = ModelProto()
    newer.CopyFrom(model)
    # From this version on, stored tensors need not be listed among the inputs, where onnx looks for them.
    newer.ir_version = max(newer.ir_version, INITIALISERS_ALONE)
    try:
        converted = version_converter.convert_version(newer, OLDEST)
    except (RuntimeError, ValueError, version_converter.ConvertError) as error:
        raise NetworkError(
            f"{network.name}: gates need opset {OLDEST}, the file has {before}, and onnx cannot convert it "
            f"({error}); export it again with a newer opset"
        ) from error
    same = [n.SerializeToString() for n in converted.graph.node] == [
        n.SerializeToString() for n in model.graph.node
    ]
    if same:
        converted = model
        for entry in converted.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = OLDEST
    _check(network, converted)
    return converted, before, same


def _check(network: Network, model: ModelProto) -> None:
    data = serialise(model, network.name)
    newer = import_model(model, data, name=network.name, input_shape=network.input_shape)
    points = random_points(network, 0)
    if not np.array_equal(replay(newer, points), replay(network, points), equal_nan=True):
        raise NetworkError(
            f"{network.name}: gates need opset {OLDEST}, and onnx converts the file to one that computes "
            "something else; export it again with a newer opset"
        )
