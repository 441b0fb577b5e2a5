"""Sibling layers, data formats of single layers, rewired merges: what they say, engine against engine."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import repairsolver as rs
from repairsolver.architecture.alternatives import alternatives
from repairsolver.architecture.bounding.sweep import lower_bound, ranks_of
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import apply_edits
from repairsolver.architecture.exact import refuse
from repairsolver.architecture.model import Layer, build
from repairsolver.architecture.proving import prove_cheapest
from repairsolver.architecture.reading import read_model
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import layouts, search

DEAR = Costs(
    adapters=dict.fromkeys(Costs().adapters, 30),
    roles=dict.fromkeys(Costs().roles, 30),
    target_total=30,
    unpad=30,
    remove=30,
    remove_global_pool=30,
    layout=40,
    layout_one=40,
    input_layout=30,
    sibling=30,
    rewire=30,
)
"""Nothing is cheap but what a test makes so."""


def least_budget(model, costs, most, seconds=20):
    """The least budget that z3 does not refuse, and its edits."""
    for budget in range(most + 1):
        answer = refuse(list(layouts(model, costs)), costs, budget, seconds)
        if answer.status != "refused":
            assert answer.status == "possible"
            return budget, answer.edits
    raise AssertionError("every budget is refused")


def agreed(model, costs):
    """The repair, after all engines said the same of its price."""
    fix = repair_model(model, costs)
    assert fix.proved
    budget, edits = least_budget(model, costs, fix.cost)
    assert budget == fix.cost
    assert diagnose_model(apply_edits(model, edits)).valid
    room = lower_bound(model, costs, fix.cost, ranks_of(model, fix.model))
    assert room <= fix.cost
    return fix


def listed(*layers, input_shape, framework="keras"):
    entries = [{"name": name, "type": kind, "args": args} for name, kind, args in layers]
    return read_model({"framework": framework, "input_shape": list(input_shape), "layers": entries})


def test_a_sibling_is_swapped_in_with_its_arguments():
    model = listed(
        ("c", "Conv2D", {"filters": 4, "kernel_size": [5, 1], "strides": [2, 1]}), input_shape=(40, 3)
    )
    fix = agreed(model, replace(DEAR, sibling=3))
    assert [str(edit) for edit in fix.edits] == [
        "c: Conv2D → Conv1D(kernel_size=(5,), strides=(2,), dilation_rate=(1,))"
    ]
    layer = fix.model.layers[0]
    assert (layer.kind, layer.args["kernel_size"], layer.stated["strides"]) == ("Conv1D", (5,), (2,))
    assert fix.reasons[0].fault.startswith("c (Conv2D): rank")


@pytest.mark.parametrize(
    ("framework", "kind", "args", "shape", "sibling", "wanted"),
    [
        ("keras", "MaxPooling1D", {"pool_size": 3}, (9, 9, 2), "MaxPooling2D", {"pool_size": (3, 3)}),
        ("torch", "MaxPool3d", {"kernel_size": [1, 3, 5]}, (2, 9, 9), "MaxPool2d", {"kernel_size": (3, 5)}),
        ("torch", "ZeroPad1d", {"padding": [1, 2]}, (2, 9, 9), "ZeroPad2d", {"padding": (1, 2, 1, 2)}),
        ("torch", "ZeroPad3d", {"padding": [1, 2, 3, 4, 5, 6]}, (9,), "ZeroPad1d", {"padding": (5, 6)}),
        ("keras", "Cropping2D", {"cropping": [[1, 2], [0, 1]]}, (9, 2), "Cropping1D", {"cropping": (1, 2)}),
    ],
)  # fmt: skip
def test_arguments_follow_the_axes(framework, kind, args, shape, sibling, wanted):
    model = listed(("a", kind, args), input_shape=shape, framework=framework)
    forms = {form.kind: form for form, _ in alternatives(model, model.layers[0], Costs())}
    assert forms[sibling].args.items() >= wanted.items()
    assert diagnose_model(replace(model, layers=(forms[sibling],))).valid


def test_a_layer_that_states_its_data_format_may_switch_alone():
    first = {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}
    second = {"filters": 4, "kernel_size": 1, "data_format": "channels_last"}
    model = listed(("a", "Conv2D", first), ("b", "Conv2D", second), input_shape=(3, 9, 1))
    fix = agreed(model, Costs())
    assert fix.cost == Costs().layout_mixed
    assert [str(e) for e in fix.edits] == ["a: data_format 'channels_first' → 'channels_last'"]
    silent = listed(("a", "Conv2D", {"filters": 4, "kernel_size": 5}), input_shape=(9, 3, 9))
    cheap = replace(DEAR, layout_one=1, layout_mixed=1)
    assert all(e.name != "data_format" or e.layer == "all layers" for e in repair_model(silent, cheap).edits)


def skip_from_the_wrong_place():
    """The sum reads p, whose width it does not have; a, before it, fits."""
    layers = [
        Layer("a", "Dense", {"units": 4}, ("x",)),
        Layer("p", "Dense", {"units": 5}, ("a",)),
        Layer("b", "Dense", {"units": 4}, ("p",)),
        Layer("s", "Add", {}, ("b", "p")),
    ]
    return build("keras", {"x": (7,)}, layers)


def test_a_merge_is_rewired_to_a_tensor_that_fits():
    fix = agreed(skip_from_the_wrong_place(), replace(DEAR, rewire=2))
    assert [str(edit) for edit in fix.edits] == ["s: input 2 from p → a"]
    assert next(layer for layer in fix.model.layers if layer.name == "s").inputs == ("b", "a")
    assert "incompatible shapes (4,), (5,)" in fix.reasons[0].fault


def test_no_tensor_is_given_up_that_nothing_else_reads():
    layers = [
        Layer("a", "Dense", {"units": 4}, ("x",)),
        Layer("b", "Dense", {"units": 5}, ("x",)),
        Layer("s", "Add", {}, ("a", "b")),
    ]
    model = build("keras", {"x": (4,)}, layers)
    fix = agreed(model, replace(DEAR, rewire=2))
    assert all(edit.operation != "rewire" for edit in fix.edits)


def test_the_exact_engine_finds_a_rewiring_that_the_search_does_not_look_for():
    """The merge is valid as it is; the demand on the output is met by another source."""
    layers = [
        Layer("a", "Dense", {"units": 4}, ("x",)),
        Layer("p", "Dense", {"units": 5}, ("a",)),
        Layer("b", "Dense", {"units": 3}, ("p",)),
        Layer("s", "Concatenate", {}, ("b", "p")),
        Layer("r", "ReLU", {}, ("s",)),
    ]
    model = build("keras", {"x": (7,)}, layers, {"r": (7,)})
    costs = replace(DEAR, rewire=2)
    assert search(model, costs)[0].cost > 2
    fix = agreed(model, costs)
    assert [str(edit) for edit in fix.edits] == ["s: input 2 from p → a"]


@pytest.mark.parametrize("seed", range(10))
def test_search_sweeps_and_z3_agree_on_random_prices(seed):
    """Small nets with a skip under random prices: every engine's word on the same least price."""
    rng = random.Random(seed)
    costs = replace(
        Costs(),
        sibling=rng.randint(1, 5),
        rewire=rng.randint(1, 6),
        layout_one=rng.randint(1, 5),
        layout_mixed=rng.randint(1, 5),
        remove=rng.randint(3, 9),
    )
    wide, deep = rng.randint(2, 3), rng.randint(2, 4)
    layers = [
        Layer(
            "c", f"Conv{rng.choice((1, 3))}D", {"filters": wide, "kernel_size": 3, "padding": "same"}, ("x",)
        ),
        Layer("d", "Conv2D", {"filters": deep, "kernel_size": 2, "data_format": "channels_last"}, ("c",)),
        Layer("e", "Conv2D", {"filters": wide, "kernel_size": 1}, ("d",)),
        Layer("s", "Add", {}, ("e", rng.choice(("c", "d", "x")))),
    ]  # fmt: skip
    model = build("keras", {"x": (4, 4, rng.randint(2, 4))}, layers)
    best = search(model, costs)[0]
    proof = prove_cheapest(model, costs, best, 20)
    assert proof.closed
    budget, edits = least_budget(model, costs, best.cost)
    assert budget == proof.best.cost
    assert diagnose_model(apply_edits(model, edits)).valid


def test_the_verb_takes_prices():
    fix = rs.repair_architecture(skip_from_the_wrong_place(), costs=replace(DEAR, rewire=1))
    assert fix.cost == 1
