"""What the benchmarks of layer graphs rest on: networks, prices read back from edits, ExAIS JSON."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.architecture.choice import LEAST, Prior, fitted
from benchmarks.architecture.classes import PRICES, TIER_OF
from benchmarks.architecture.pools import Candidate, by_default, drawn, made, paid, score
from benchmarks.architecture.scaling import broken, network
from benchmarks.architecture.tuning import TABLE
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import search
from repairsolver.architecture.transitions import Step
from repairsolver.errors import ArchitectureError


@pytest.mark.parametrize("family", ["chain", "residual"])
def test_generated_networks_are_valid_until_they_are_broken(family):
    rng = random.Random(family)
    model = network(family, 20, rng)
    assert diagnose_model(model).valid
    bad = broken(model, 3, rng)
    assert not diagnose_model(bad).valid
    fix = repair_model(bad)
    assert fix.proved
    assert fix.cost <= 3 * Costs().roles["padding"]


def test_prices_are_read_back_from_edits():
    case = {
        "framework": "keras",
        "input_shape": [8, 8, 1],
        "layers": [
            {"name": "c", "type": "Conv2D", "args": {"filters": 2, "kernel_size": 9}},
            {"name": "l", "type": "LSTM", "args": {"units": 2}},
        ],
    }
    model, seen = read_model(case), set()
    for seed in range(6):
        prices = drawn(random.Random(seed), 0.5)
        assert sorted(prices.values()) == list(range(1, len(PRICES) + 1))
        for way in search(model, made(prices)):
            total = 0
            for edit in way.edits:
                for name, count in paid(edit, model, prices).items() if edit.cost else ():
                    seen.add(name)
                    total += count * prices[name]
            assert total == way.cost
    assert {"adapters.Reshape", "roles.padding"} <= seen
    assert made(by_default()) == Costs()


def candidate(name, size, words, accepted):
    edit = Edit("set", "layer", words, cost=1, size=size)
    return Candidate({name: 1}, Step(1, 0, size, words, (edit,)), accepted)


POOL = [
    candidate("remove", 0.0, "a", False),
    candidate("adapters.Crop", 1.0, "b", True),
    candidate("adapters.Pad", 0.5, "c", False),
]
"""Cropping is accepted where padding and removal are possible too."""


def test_fitted_prices_prefer_what_is_accepted():
    """The more cases, the further; with no room, or no cases, the tiers stay as they are."""
    crop, pad = PRICES.index("adapters.Crop"), PRICES.index("adapters.Pad")
    few, many = (fitted([POOL] * n, Prior(0.4, 0.4)) for n in (2, 30))
    assert score([POOL], TIER_OF) == (0, 1)
    assert all(choice.prices[crop] < choice.prices[pad] for choice in (few, many))
    assert all(choice.log_likelihood([POOL]) > -0.01 for choice in (few, many))
    assert fitted([POOL] * 30, Prior(0, 0)).rounded() == TIER_OF
    assert fitted([], Prior(0.4, 0.4)).rounded() == TIER_OF


def test_the_prices_in_use_are_whole_and_in_order():
    table = json.loads(TABLE.read_text())
    assert table["prices"].keys() == set(PRICES)
    assert all(isinstance(price, int) and price >= 1 for price in table["prices"].values())
    assert all(table["prices"][large] >= table["prices"][small] for large, small in LEAST)
    assert by_default() == table["prices"]
    assert table["fitted"]["seed"] == 0


def sequence(shape, *layers):
    return {"shape": shape, "layers": list(layers)}


def test_the_batch_in_the_short_json_of_exais():
    conv = {"type": "Conv2D", "nodes": "4", "kernel_size": "(3,3)", "padding": "true"}
    assert dict(read_model(sequence("(1,28,28,1)", conv)).inputs) == {"input": (28, 28, 1)}
    assert dict(read_model(sequence("(28,28,1)", conv)).inputs) == {"input": (28, 28, 1)}
    dense = {"type": "linear", "nodes": "6", "weights": "[1,1,1]", "name": "first"}
    model = read_model(sequence("(1,6)", dense, {"type": "relu"}))
    assert dict(model.inputs) == {"input": (6,)}
    assert [f.rule for f in diagnose_model(model).faults] == ["weight shape"]
    table = {"type": "embedding", "input_dim": "43", "output_dim": "100", "weight_shape": "(41,100)"}
    fix = repair_model(read_model(sequence("(1,9)", table)))
    assert [str(e) for e in fix.edits] == ["embedding_1: input_dim 43 → 41"]
    pool = read_model(sequence("(1,8,8,1)", {"type": "MaxPool2D", "size": "(3,3)", "strides": "(2,2)"}))
    assert diagnose_model(pool).shapes["maxpooling2d_1"] == (3, 3, 1)
    with pytest.raises(ArchitectureError, match="1: magic, 2: trick"):
        read_model(sequence("(1,9)", {"type": "magic"}, {"type": "trick"}))
    with pytest.raises(ArchitectureError, match="no tuple of sizes"):
        read_model(sequence("7", dense))
