"""Repairs that leave one position of a spatial axis: only where nothing else works, for all engines."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from repairsolver.architecture.bounding.sweep import lower_bound, ranks_of
from repairsolver.architecture.collapse import collapsing, keeps
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.exact import refuse
from repairsolver.architecture.proving import prove_cheapest
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import layouts, search
from repairsolver.architecture.writing import repair_record, repair_text
from tests.test_architecture_edits import DEAR, agreed, listed

CHEAP_SHRINKS = replace(
    DEAR,
    adapters={**DEAR.adapters, **dict.fromkeys(("Crop", "LargeCrop", "Pool", "Stride", "GlobalPool"), 2)},
    roles={**DEAR.roles, **dict.fromkeys(("kernel", "stride", "pool", "border"), 2)},
    collapse=False,
)
"""What can collapse an axis costs 2, all else 30."""


@pytest.mark.parametrize(
    ("kind", "args", "before", "after", "kept"),
    [
        ("Conv2D", {"data_format": "channels_last"}, (9, 4, 3), (1, 4, 3), False),
        ("Conv2D", {"data_format": "channels_last"}, (9, 4, 3), (2, 4, 1), True),
        ("Conv2D", {"data_format": "channels_first"}, (9, 4, 3), (1, 4, 3), True),
        ("MaxPool1d", {}, (5, 8), (5, 1), False),
        ("MaxPool1d", {}, (5, 1), (5, 1), True),
        ("ZeroPad1d", {}, (5,), (1,), False),
        ("Pad", {}, (1, 7, 7), (1, 7, 1), False),
        ("ConvLSTM2D", {"data_format": "channels_last"}, (5, 4, 4, 1), (2, 1, 3), False),
        ("TimeDistributed(Conv1D)", {"data_format": "channels_last"}, (6, 4, 1), (6, 2, 1), True),
        ("Dense", {}, (6, 4), (6, 1), True),
    ],
)
def test_what_collapses_an_axis(kind, args, before, after, kept):
    assert keeps(kind, args, before, after) is kept


def one_pixel_by_a_kernel():
    """A demand on the output that a kernel of 6 would meet most cheaply, if axes might collapse."""
    convolution = ("c", "Conv2d", {"in_channels": 1, "out_channels": 2, "kernel_size": 3})
    linear = ("l", "Linear", {"in_features": 1, "out_features": 3})
    return listed(convolution, linear, input_shape=(1, 6, 6), framework="torch")


def test_a_kernel_as_large_as_the_map_is_no_repair():
    model, costs = one_pixel_by_a_kernel(), replace(DEAR, roles={**DEAR.roles, "kernel": 2})
    free = repair_model(model, replace(costs, collapse=True))
    assert [(edit.name, edit.value[-1]) for edit in free.edits] == [("kernel_size", 6)]
    assert collapsing(model, free.edits) == ("c",)
    fix = repair_model(model, costs)
    assert fix.cost > free.cost
    assert collapsing(model, fix.edits) == ()
    assert not fix.collapses
    assert refuse(list(layouts(model, costs)), costs, free.cost, 20).status == "refused"


def test_the_user_may_collapse_axes():
    """A layer that states a window as large as its map is left alone, whatever else is mended."""
    layers = [
        ("c", "Conv1d", {"in_channels": 4, "out_channels": 2, "kernel_size": 9}),
        ("l", "Linear", {"in_features": 5, "out_features": 3}),
    ]
    model = listed(*layers, input_shape=(3, 9), framework="torch")
    fix = agreed(model, Costs())
    assert {edit.name for edit in fix.edits} == {"in_channels", "in_features"}


@pytest.mark.parametrize("between", [(), (("r", "ReLU", {}),)])
def test_no_axes_of_size_one_come_after_an_inserted_global_pool(between):
    """A pool, an activation, a reshape: neither on one edge nor on two."""
    last = ("c", "Conv2D", {"filters": 2, "kernel_size": 2, "padding": "same"})
    model = listed(*between, last, input_shape=(5, 5, 3))
    model = replace(model, outputs={"c": (1, 1, 2)})
    costs = replace(DEAR, adapters={**DEAR.adapters, "GlobalPool": 1, "Reshape": 3, "Flatten": 3})
    free = repair_model(model, replace(costs, collapse=True))
    assert collapsing(model, free.edits)
    fix = repair_model(model, costs, seconds=60)
    assert collapsing(model, fix.edits) == ()
    assert fix.cost > free.cost
    assert refuse(list(layouts(model, costs)), costs, free.cost, 20).status == "refused"


def test_a_global_pool_before_a_layer_that_takes_vectors_is_one():
    model = listed(("d", "Dense", {"units": 3}), input_shape=(5, 5, 4))
    model = replace(model, outputs={"d": (3,)})
    costs = replace(DEAR, adapters={**DEAR.adapters, "GlobalPool": 1})
    fix = agreed(model, costs)
    assert [edit.name for edit in fix.edits] == ["GlobalAveragePooling2D"]
    assert collapsing(model, fix.edits) == ()


def test_nothing_else_works():
    """All other edits are beyond reach: the crop is made, and said to collapse."""
    model = listed(("r", "ReLU", {}), input_shape=(2, 5, 5), framework="torch")
    model = replace(model, outputs={"r": (2, 1, 5)})
    costs = replace(CHEAP_SHRINKS, roles=dict.fromkeys(DEAR.roles, 30))
    fix = repair_model(model, costs)
    assert fix.collapses
    assert fix.proved
    assert repair_record(fix, alternatives=False)["collapses"] is True
    assert "an axis keeps one position of several" in repair_text(fix, alternatives=False)


def test_an_edit_that_says_nothing_of_positions_is_not_blamed():
    model = listed(("c", "Conv1D", {"filters": 2, "kernel_size": 9}), input_shape=(9, 3))
    wider = Edit("set", "c", "filters", 5, 1)
    assert collapsing(model, [wider]) == ()
    assert collapsing(model, [Edit("set", "c", "strides", (2,), 1)]) == ("c",)


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5, 8, 9])
def test_all_engines_agree_on_what_may_collapse(seed):
    """Small nets with cheap ways to shrink: search, sweeps and z3 come to one price, and spare all axes."""
    rng = random.Random(seed)
    prices = {name: rng.randint(2, 6) for name in DEAR.adapters}
    prices["Flatten"] = prices["Reshape"]
    for name in ("Pad", "Crop", "Upsample"):
        prices[f"Large{name}"] = prices[name] + rng.randint(0, 2)
    roles = {name: rng.randint(2, 6) for name in DEAR.roles}
    costs = replace(
        Costs(), adapters=prices, roles=roles, sibling=rng.randint(2, 6), remove=rng.randint(4, 8)
    )
    kinds = {
        "Conv2D": {
            "filters": rng.randint(1, 3),
            "kernel_size": rng.randint(2, 4),
            "strides": rng.randint(1, 2),
        },
        "MaxPooling2D": {"pool_size": rng.randint(2, 3)},
        "Cropping1D": {"cropping": [rng.randint(0, 1), 1]},
        "AveragePooling1D": {"pool_size": 3},
        "ReLU": {},
        "Dense": {"units": rng.randint(1, 3)},
    }
    chosen = rng.sample(sorted(kinds), 3)
    layers = [(f"{kind.lower()}_{i}", kind, kinds[kind]) for i, kind in enumerate(chosen)]
    model = listed(*layers, input_shape=(rng.randint(3, 5), rng.randint(3, 5), 2))
    rank = rng.randint(1, 3)
    model = replace(model, outputs={layers[-1][0]: tuple(rng.randint(1, 3) for _ in range(rank))})
    if diagnose_model(model).valid:
        return
    found = search(model, costs)
    fix = repair_model(model, costs)
    assert all(collapsing(model, way.edits) == () for way in found)
    assert fix.proved
    assert not fix.collapses
    proof = prove_cheapest(model, costs, found[0], 20) if found else None
    assert proof is None or proof.best.cost == fix.cost
    variants = list(layouts(model, costs))
    assert refuse(variants, costs, fix.cost - 1, 20).status == "refused"
    answer = refuse(variants, costs, fix.cost + 2, 20)
    if answer.status == "possible":
        assert diagnose_model(apply_edits(model, answer.edits)).valid
        assert collapsing(model, answer.edits) == ()


def test_two_pools_do_not_collapse_together_what_neither_does_alone():
    """A pool of 3 on 6 positions keeps two; behind an inserted pool it would keep one."""
    convolution = ("c", "Conv2D", {"filters": 1, "kernel_size": 3, "padding": "same"})
    base = listed(convolution, ("p", "MaxPooling2D", {"pool_size": 3}), input_shape=(6, 6, 1))
    model = replace(base, outputs={"p": (1, 1, 1)})
    halved = Edit("insert", "p", "MaxPooling2D", {"pool_size": (2, 2)}, 6)
    assert base.guarded == {"c", "p"}
    assert collapsing(model, [halved]) == ("p",)
    small = replace(base, inputs=dict.fromkeys(base.inputs, (3, 3, 1)))
    assert small.guarded == {"c"}
    costs = replace(DEAR, adapters={**DEAR.adapters, "Pool": 1})
    free = replace(costs, collapse=True)
    fix = repair_model(model, free)
    assert fix.cost <= 2
    assert "p" in collapsing(model, fix.edits)
    assert all(collapsing(model, way.edits) == () for way in search(model, costs))
    assert refuse(list(layouts(model, costs)), costs, 2, 20).status == "refused"
    assert lower_bound(model, costs, 2, ranks_of(model)) > 2 >= lower_bound(model, free, 2, ranks_of(model))
