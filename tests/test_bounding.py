"""Lower bounds of repairs: never above a repair that exists; engines and brute force agree."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from repairsolver.architecture.adapters import Adapters
from repairsolver.architecture.bounding.grid import LIMITS
from repairsolver.architecture.bounding.grid_insertions import GridInsertions
from repairsolver.architecture.bounding.grid_sweep import TreeSweep, is_tree
from repairsolver.architecture.bounding.insertions import Insertions
from repairsolver.architecture.bounding.states import pairs, point, pruned, stacked
from repairsolver.architecture.bounding.sweep import Sweep, ranks_of
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.exact import refuse
from repairsolver.architecture.model import Layer, build
from repairsolver.architecture.proving import prove_cheapest, refitted
from repairsolver.architecture.repair import repair_model
from repairsolver.architecture.search import layouts
from repairsolver.architecture.transitions import step

FIXED = Costs(layout=10**6, input_layout=10**6)
RANKS = (1, 2, 3, 4)


def tree(seed):
    """Small layers of all kinds that change shapes, on small inputs, often invalid."""
    rng = random.Random(seed)

    def shape(rank):
        return tuple(rng.randint(1, 4) for _ in range(rank))

    layers = [
        Layer("a", "Conv1D", {"filters": rng.randint(1, 3), "kernel_size": rng.randint(1, 4)}, ("x",)),
        Layer("b", rng.choice(["Dense", "LSTM"]), {"units": rng.randint(1, 3)}, ("a",)),
        Layer("c", rng.choice(["Flatten", "GlobalMaxPooling1D", "ReLU"]), {}, ("y",)),
        Layer("d", rng.choice(["Add", "Concatenate"]), {}, ("b", "c")),
        Layer("e", "MaxPooling1D", {"pool_size": rng.randint(1, 3)}, ("d",)),
    ]
    inputs = {"x": shape(rng.randint(1, 3)), "y": shape(rng.randint(1, 3))}
    return build("keras", inputs, layers[: rng.randint(3, 5)])


def bounds(model, limit, ranks=RANKS):
    """What both sweeps say; boxes become many at high limits."""
    return [
        Sweep(model, FIXED, min(limit, 14), ranks).run(),
        *([TreeSweep(model, FIXED, limit, ranks).run()] if is_tree(model, ranks) else []),
    ]


@pytest.mark.parametrize("seed", range(10))
def test_the_engines_agree(seed):
    """A bound is not above the repair; where grids and z3 both decide, they decide the same."""
    model = tree(seed)
    fix = repair_model(model, FIXED, seconds=20)
    if fix.status == "valid":
        return
    assert fix.proved
    ranks = ranks_of(model, fix.model)
    for bound in bounds(model, fix.cost, ranks):
        assert bound <= fix.cost
    assert refuse([(model, step(()))], FIXED, fix.cost - 1, 2).status in ("refused", "unknown")


def random_edits(model, rng):
    """Edits of the vocabulary, drawn blindly."""
    found = []
    for layer in rng.sample(list(model.layers), rng.randint(1, 2)):
        shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))
        choice = rng.random()
        if choice < 0.4:
            slot = rng.randrange(len(layer.inputs))
            shapes = diagnose_model(model).shapes
            if layer.inputs[slot] in shapes:
                found += Adapters("keras", FIXED, layer.name, slot).direct(shapes[layer.inputs[slot]], shape)
        elif choice < 0.6 and len(layer.inputs) == 1:
            price = FIXED.remove_global_pool if layer.kind.startswith("Global") else FIXED.remove
            found.append(Edit("remove", layer.name, layer.kind, cost=price))
        else:
            roles = ("width", "kernel", "pool", "stride")
            numbers = [a for a in model.rule(layer).arguments if a.role in roles]
            for argument in numbers[:1]:
                value = rng.randint(1, 4)
                new = (value,) * argument.size if argument.size else value
                price, old = FIXED.roles[argument.role], layer.args[argument.name]
                found.append(Edit("set", layer.name, argument.name, new, price, before=old))
    return found


def test_no_random_repair_is_below_the_bound():
    rng, seen = random.Random(0), 0
    for seed in range(24):
        model = tree(seed)
        if diagnose_model(model).valid:
            continue
        both = bounds(model, 40)
        for _ in range(90):
            way = refitted(model, tuple(random_edits(model, rng)), FIXED)
            if way is not None:
                seen += 1
                assert all(bound <= way.cost for bound in both), (seed, way.edits)
    assert seen > 20


def brute_force(model, costs):
    """The least price over single and paired insertions and argument changes with sizes up to 4."""
    singles = []
    shapes = [s for rank in (1, 2, 3) for s in itertools.product(range(1, 4), repeat=rank)]
    known = diagnose_model(model).shapes
    for layer in model.layers:
        for slot, name in enumerate(layer.inputs):
            for target in shapes:
                if name in known:
                    singles += Adapters("keras", costs, layer.name, slot).direct(known[name], target)
        if len(layer.inputs) == 1:
            singles.append(Edit("remove", layer.name, layer.kind, cost=costs.remove))
    prices = [e.cost for e in singles if (way := refitted(model, (e,), costs)) and way.cost == e.cost]
    return min(prices, default=None)


@pytest.mark.parametrize("seed", range(8))
def test_single_edits_by_brute_force(seed):
    rng = random.Random(seed)
    layers = [
        Layer("a", "Dense", {"units": rng.randint(1, 3)}, ("x",)),
        Layer("m", "Maximum", {"strict": True}, ("a", "y")),
    ]
    inputs = {k: tuple(rng.randint(1, 3) for _ in range(rng.randint(1, 3))) for k in ("x", "y")}
    model = build("keras", inputs, layers)
    if diagnose_model(model).valid:
        return
    fix = repair_model(model, FIXED)
    least = brute_force(model, FIXED)
    assert fix.proved
    assert least is None or fix.cost <= least
    if least is not None and len(fix.edits) == 1 and fix.edits[0].operation in ("insert", "remove"):
        assert fix.cost == least


@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_insertions_on_grids_and_boxes_are_what_adapters_insert(framework):
    """Single insertions between small shapes have their price on the grid, and lie in a box of that price."""
    adapters = Adapters(framework, FIXED, "layer", 0)
    limits = {rank: LIMITS[0][rank] for rank in RANKS}
    rng = random.Random(framework)
    for _ in range(12):
        shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))
        grid = {rank: np.full((limits[rank] + 1,) * rank, np.inf) for rank in RANKS}
        grid[len(shape)][tuple(n - 1 for n in shape)] = 0
        insertions = GridInsertions(framework, FIXED, limits)
        closed = insertions.pooled(insertions.closed(grid, 10), 10)
        boxes = Insertions(framework, FIXED, RANKS).closed({(len(shape),): point(shape, 0)}, 10)
        for target in itertools.product(range(1, 5), repeat=rng.randint(1, 3)):
            edits = adapters.direct(shape, target)
            price = sum(edit.cost for edit in edits) if edits else 11
            if shape != target and price <= 10:
                assert closed[len(target)][tuple(n - 1 for n in target)] <= price
                states = boxes[(len(target),)]
                inside = ((states.low <= target) & (target <= states.high)).all(axis=1)
                assert states.cost[inside].min() <= price


def test_covered_states_are_dropped():
    wide = point((2, 3), 5)
    narrow = stacked([wide, point((2, 3), 7), point((2, 4), 5), point((9, 9), 99)])
    kept = pruned(narrow, 50)
    assert sorted(map(tuple, kept.low.tolist())) == [(2, 3), (2, 4)]
    assert kept.cost.max() == 5
    one, other = pairs(kept, kept, 9)
    assert len(one) == len(other) == 0
    assert len(pairs(kept, kept, 10)[0]) == 4


def test_a_bound_is_kept_when_nothing_closes_the_gap():
    """Without time nothing is proved, and nothing is claimed."""
    model = tree(3)
    fix = repair_model(model, FIXED, prove=False)
    if fix.status == "repaired":
        proof = prove_cheapest(model, FIXED, step(fix.edits), 0.0)
        assert proof.lower_bound <= fix.cost


def test_what_sweeps_find_cheaper_is_valid():
    """The random trees on which the search alone is not the cheapest."""
    better = 0
    for seed in range(16):
        model = tree(seed)
        alone, proved = repair_model(model, FIXED, prove=False), repair_model(model, FIXED, seconds=3)
        if proved.status == "repaired":
            assert diagnose_model(apply_edits(model, proved.edits)).valid
            assert proved.lower_bound <= proved.cost <= alone.cost
            better += proved.cost < alone.cost
    assert better > 0


def test_variants_pay_their_first_edit():
    """The switched data format is one of the repairs that are bounded."""
    layer = Layer("c", "Conv2D", {"filters": 2, "kernel_size": 3}, ("x",))
    model = build("keras", {"x": (1, 8, 8)}, [layer])
    fix = repair_model(model)
    assert [edit.operation for edit in fix.edits] == ["layout"]
    assert fix.proved
    assert len(list(layouts(model, Costs()))) == 2
