"""What the benchmarks of layer graphs rest on: networks, prices read back from edits, ExAIS JSON."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.architecture.choice import LEAST, Prior, _Stack, fitted
from benchmarks.architecture.classes import MOVED, PLACES, PRICES, tiers
from benchmarks.architecture.orders import IN_USE, ORDERS
from benchmarks.architecture.pools import Candidate, by_default, drawn, made, paid, rank, score
from benchmarks.architecture.scaling import broken, network
from benchmarks.architecture.tuning import FOLDS, TABLE, Judged, Variant, best, judged, split
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
        prices = drawn(random.Random(seed), 0.5, PLACES[seed])
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


TIERS = tiers(PLACES[-1])


def test_fitted_prices_prefer_what_is_accepted():
    """The more cases, the further; with no room, or no cases, the tiers stay as they are."""
    crop, pad = PRICES.index("adapters.Crop"), PRICES.index("adapters.Pad")
    few, many = (fitted([POOL] * n, Prior(0.4, 0.4), PLACES[-1]) for n in (2, 30))
    assert score([POOL], TIERS, IN_USE) == (0, 1)
    assert all(choice.prices[crop] < choice.prices[pad] for choice in (few, many))
    assert all(choice.log_likelihood([POOL]) > -0.01 for choice in (few, many))
    assert fitted([POOL] * 30, Prior(0, 0), PLACES[-1]).rounded() == TIERS
    assert fitted([], Prior(0.4, 0.4), PLACES[-1]).rounded() == TIERS


def test_the_likelihood_has_the_gradient_that_the_fit_goes_by():
    """A pool without an accepted repair does not count, nor does a repair with an edit too many."""
    spare = replace(candidate("declared", 0.0, "d", False), needed=False)
    pools = [POOL, POOL[:1], [*POOL[1:], spare]]
    stack, weights = _Stack.of(pools), np.linspace(0.5, 1.5, len(PRICES))
    value, slope, by_gamma = stack.surprise(weights, 0.3)
    by_hand = 0.0
    for pool in (POOL, POOL[1:]):
        exps = [math.exp(-weights[PRICES.index(*c.paid)] - 0.3 * c.way.size) for c in pool]
        by_hand -= math.log(exps[[c.accepted for c in pool].index(True)] / sum(exps))
    assert value == pytest.approx(by_hand)
    eps = 1e-6
    for i in range(len(PRICES)):
        moved = weights + eps * (np.arange(len(PRICES)) == i)
        assert slope[i] == pytest.approx((stack.surprise(moved, 0.3)[0] - value) / eps, abs=1e-4)
    assert by_gamma == pytest.approx((stack.surprise(weights, 0.3 + eps)[0] - value) / eps, abs=1e-4)


def several(names, accepted, price, needed=True):
    """A repair that sets all of these."""
    edits = tuple(Edit("set", "layer", name, cost=1) for name in names)
    way = Step(price, 0, 0.0, names, edits)
    return Candidate({"roles.kernel": price}, way, accepted, needed)


def test_orders_differ_in_what_comes_late():
    prices = dict.fromkeys(PRICES, 1)
    first, same = several("a", False, 1), replace(several("a", False, 2), way=Step(2, 0, 0.0, "a2"))
    same = replace(same, way=replace(same.way, edits=first.way.edits))
    more, other = several("ab", False, 3), several("c", True, 4)
    unneeded = several("d", False, 2, needed=False)
    ranks = {order.name: rank([first, same, unneeded, more, other], prices, order) for order in ORDERS}
    assert ranks == {
        "price, all": 4,
        "price": 3,
        "more comes last": 2,
        "kinds first": 2,
        "kinds first, more comes last": 1,
    }


def test_a_variant_is_chosen_on_folds_that_its_prices_did_not_see(monkeypatch):
    """Every inner fit sees the other folds only; of equal variants the first of the list is taken."""
    seen = []

    def fit(pools, prior, places):
        seen.append(len(pools))
        return fitted(pools, Prior(0, 0), places)

    monkeypatch.setattr("benchmarks.architecture.tuning.fitted", fit)
    found = judged([POOL] * 10, random.Random(0))
    assert set(seen) == {10 - 10 // FOLDS}
    assert len(found) == len(PLACES) * len(ORDERS)
    held, rest = split([[c] for c in POOL], [2, 0, 1], 1)
    assert (held, rest) == ([[POOL[0]]], [[POOL[2]], [POOL[1]]])
    a, b = (Variant(PLACES[0], Prior(0, 0), order) for order in ORDERS[:2])
    assert best([Judged(3, -2.0, a), Judged(3, -1.0, b)]) == b
    assert best([Judged(3, -1.0, a), Judged(3, -1.0, b)]) == a
    assert best([Judged(4, -9.0, a), Judged(3, -1.0, b)]) == a


def test_the_prices_in_use_are_whole_and_in_order():
    table = json.loads(TABLE.read_text())
    assert table["prices"].keys() == set(PRICES)
    assert all(isinstance(price, int) and price >= 1 for price in table["prices"].values())
    assert all(table["prices"][large] >= table["prices"][small] for large, small in LEAST)
    assert by_default() == table["prices"]
    assert table["fitted"]["seed"] == 0
    assert table["fitted"]["order"] == IN_USE.name
    assert tuple(table["fitted"][name] for name in MOVED) in PLACES


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
