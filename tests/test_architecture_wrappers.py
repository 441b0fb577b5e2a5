"""TimeDistributed and Bidirectional: their rules, their repairs, how they are read and written."""

from __future__ import annotations

import os
import random
from importlib.util import find_spec

import pytest

import repairsolver as rs
from benchmarks.architecture.calls import draw, explained, kinds, predicted, real
from layerwise.shapes import RULES, RankMismatch
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.writing import model_record
from repairsolver.errors import ArchitectureError


def keras_json(*layers, shape):
    first = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, *shape]}}
    listed = [
        {"class_name": kind, "config": {"name": f"l{n}", **config}}
        for n, (kind, config) in enumerate(layers, 1)
    ]
    return {"class_name": "Sequential", "config": {"layers": [first, *listed]}}


def inner(kind, **config):
    return {"layer": {"class_name": kind, "config": config}}


@pytest.mark.parametrize(
    ("mode", "sequences", "expected"),
    [("concat", True, (7, 10)), ("sum", True, (7, 5)), ("ave", False, (5,)), (None, True, (7, 5))],
)
def test_both_directions_are_joined_by_the_merge_mode(mode, sequences, expected):
    wrapped = {**inner("LSTM", units=5, return_sequences=sequences), "merge_mode": mode}
    assert rs.diagnose(keras_json(("Bidirectional", wrapped), shape=(7, 3))).shapes["l1"] == expected


def test_the_inner_layer_sees_one_time_step():
    conv = inner("Conv2D", filters=4, kernel_size=3)
    found = rs.diagnose(keras_json(("TimeDistributed", conv), shape=(5, 8, 8, 1)))
    assert found.shapes["l1"] == (5, 6, 6, 4)
    short = rs.diagnose(keras_json(("TimeDistributed", inner("Dense", units=2)), shape=(5,)))
    assert "TimeDistributed expects ndim=3 or more" in short.faults[0].text
    args = {"units": 2, "return_sequences": True, "reset_after": True, "merge_mode": None}
    with pytest.raises(RankMismatch, match="one output"):
        RULES["keras"]["TimeDistributed(Bidirectional(LSTM))"]([(2, 3, 4)], args)


def test_weights_of_both_directions():
    rule = RULES["keras"]["Bidirectional(GRU)"]
    args = {"units": 2, "return_sequences": False, "reset_after": True, "merge_mode": "concat"}
    weights = rule([(5, 3)], args).weights
    assert weights["forward_kernel"] == weights["backward_kernel"] == (3, 6)


def test_arguments_of_inner_layers_are_repaired():
    rnn = inner("LSTM", units=5)
    model = keras_json(("Bidirectional", rnn), ("TimeDistributed", inner("Dense", units=2)), shape=(7, 3))
    fix = rs.repair_architecture(model)
    assert [str(edit) for edit in fix.edits] == ["l1: return_sequences None → True"] or [
        str(edit) for edit in fix.edits
    ] == ["l1: return_sequences False → True"]
    assert fix.proved
    big = inner("Conv2D", filters=4, kernel_size=9)
    fix = rs.repair_architecture(keras_json(("TimeDistributed", big), shape=(5, 8, 8, 1)))
    assert [str(edit) for edit in fix.edits] == ["l1: padding 'valid' → 'same'"]


def test_wrappers_are_written_as_they_are_read():
    model = read_model(
        keras_json(
            ("TimeDistributed", inner("ZeroPadding1D", padding=[1, 2])),
            ("TimeDistributed", inner("Flatten")),
            ("Bidirectional", {**inner("LSTM", units=5), "merge_mode": "sum"}),
            shape=(7, 3, 2),
        )
    )
    record = model_record(model)
    assert record["layers"][2]["type"] == "Bidirectional"
    assert record["layers"][2]["args"]["merge_mode"] == "sum"
    assert record["layers"][2]["args"]["layer"]["type"] == "LSTM"
    again = read_model(record)
    assert rs.diagnose(again).shapes["l3"] == rs.diagnose(model).shapes["l3"] == (5,)


def test_a_wrapper_without_its_layer_is_named():
    with pytest.raises(ArchitectureError, match="l1: TimeDistributed"):
        rs.diagnose(keras_json(("TimeDistributed", {}), shape=(7, 3)))


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed (extra: bench)")
@pytest.mark.filterwarnings("ignore")
def test_rules_agree_with_keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    rng = random.Random(7)
    for kind in kinds("keras"):
        if kind in ("Bidirectional(LSTM)", "TimeDistributed(Conv2D)", "TimeDistributed(Reshape)"):
            for _ in range(15):
                call = draw("keras", kind, rng)
                rule, found = predicted(call), real(call)
                assert rule == found or explained(call, rule, found), call
