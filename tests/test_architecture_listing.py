"""All repairs of one price, against brute force."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.writing import model_record
from repairsolver.cli.main import app


def two_faults(sizes):
    """Two linear layers and a norm, whose widths may not fit."""
    layers = [
        {"name": "a", "type": "Linear", "args": {"in_features": sizes[0], "out_features": sizes[1]}},
        {"name": "b", "type": "Linear", "args": {"in_features": sizes[2], "out_features": sizes[3]}},
        {"name": "c", "type": "BatchNorm1d", "args": {"num_features": sizes[4]}},
    ]
    return read_model({"framework": "torch", "input_shape": [sizes[5]], "layers": layers})


def brute(model, price):
    """Every set of changes of derived arguments and widths of that price that repairs the model."""
    singles = [
        Edit("set", layer.name, a.name, value, Costs().roles[a.role])
        for layer in model.layers
        for a in model.rule(layer).arguments
        for value in range(1, 9)
        if value != layer.args[a.name]
    ]
    sets = itertools.chain(*(itertools.combinations(singles, n) for n in (1, 2, 3)))
    return {
        frozenset((e.layer, e.name, e.value) for e in edits)
        for edits in sets
        if sum(e.cost for e in edits) == price and diagnose_model(apply_edits(model, edits)).valid
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_list_is_that_of_brute_force(seed):
    rng = random.Random(seed)
    model = two_faults([rng.randint(2, 4) for _ in range(6)])
    fix = repair_model(model, every=100)
    if fix.status == "valid":
        return
    assert fix.listed == "all"
    found = {frozenset((e.layer, e.name, e.value) for e in edits) for edits in (fix.edits, *fix.equals)}
    assert found == brute(model, fix.cost)


def test_the_listing_says_where_it_stops():
    """Any kernel below the size of the map (it would collapse) will do: kinds are complete, numbers not."""
    layers = [
        {"name": "c", "type": "Conv2D", "args": {"filters": 2, "kernel_size": 12}},
        {"name": "f", "type": "Flatten", "args": {}},
    ]
    model = read_model({"framework": "keras", "input_shape": [9, 9, 1], "layers": layers})
    costs = Costs(roles={**Costs().roles, "padding": 20, "kernel": 1}, input_layout=20)
    fix = repair_model(model, costs, every=10)
    assert fix.listed == "all kinds"
    assert len(fix.equals) == 9
    whole = repair_model(model, costs, every=200, seconds=30)
    assert whole.listed == "all"
    kernels = {edits[0].value for edits in (whole.edits, *whole.equals)}
    assert kernels == set(itertools.product(range(1, 9), repeat=2))
    assert repair_model(model, costs, every=0).listed == ""
    assert repair_model(model, costs, every=5, prove=False).listed == "some"


def test_every_listed_repair_is_valid_and_of_the_price(tmp_path):
    layers = [
        {"name": "a", "type": "Conv2D", "args": {"filters": 4, "kernel_size": 5}},
        {"name": "p", "type": "MaxPooling2D", "args": {"pool_size": 2}},
        {"name": "b", "type": "Conv2D", "args": {"filters": 4, "kernel_size": 3}},
    ]
    model = read_model({"framework": "keras", "input_shape": [8, 8, 1], "layers": layers})
    fix = rs.repair_architecture(model, every=50)
    assert fix.listed == "all"
    assert {str(e) for edits in (fix.edits, *fix.equals) for e in edits} >= {
        "a: padding 'valid' → 'same'",
        "b: padding 'valid' → 'same'",
    }
    for edits in fix.equals:
        assert diagnose_model(apply_edits(model, edits)).valid
        assert sum(e.cost for e in edits) == fix.cost
    path = tmp_path / "m.json"
    path.write_text(json.dumps(model_record(model)))
    told = CliRunner().invoke(app, ["architecture", str(path), "--all"])
    assert told.stdout.splitlines()[-1] == "these are all repairs of this price"
    few = CliRunner().invoke(app, ["architecture", str(path), "--all", "--limit", "1", "--json"])
    assert json.loads(few.stdout)["alternatives_listed"] == "some"
