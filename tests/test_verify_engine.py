"""Verdicts against exact ones: random networks and properties, boundaries, limits, misuse, benchmarks."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_oracle import can_be_violated
from random_networks import Draft, dense_network, random_network, random_property, sample

from repairsolver.bounds.tensors import tensor_graph
from repairsolver.errors import PropertyError, UnsupportedOperatorError
from repairsolver.network import Network, load_network, replay
from repairsolver.network import operators as ops
from repairsolver.network.graph import Node
from repairsolver.property import Conjunction, Property, Region, load_property
from repairsolver.results import Limits, Verdict, VerifyStatus
from repairsolver.verification import split
from repairsolver.verification.attack import Effort
from repairsolver.verification.engine import verify_property
from repairsolver.verification.query import queries
from repairsolver.verification.split import InputSplitting

DATA = os.environ.get("REPAIRSOLVER_DATA")
needs_data = pytest.mark.skipif(
    DATA is None, reason="REPAIRSOLVER_DATA does not name the benchmark data folder"
)
# So little that proofs and splitting, not luck, have to find violations.
FEEBLE = Effort(samples=4, restarts=2, steps=1, keep=2)
SMALL = Effort(samples=256, restarts=8, steps=10, keep=8)
LIMITS = Limits(seconds=1.5)
# Verdicts on violations smaller than this depend on float32 rounding in onnxruntime.
FLOAT32 = 1e-4


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPAIRSOLVER_THREADS", "1")


def verify(network: Network, prop: Property, effort: Effort = SMALL, **options: object) -> Verdict:
    return verify_property(network, prop, **{"limits": LIMITS, "effort": effort, **options})


def assert_right(network: Network, prop: Property, verdict: Verdict, note: object = "") -> None:
    """The verdict is that of z3; `unknown` is allowed only within the solver's margin of the boundary."""
    truth = can_be_violated(network, prop)
    if verdict.status is VerifyStatus.HOLDS:
        assert truth is not True, note
        assert verdict.best_bound is None or verdict.best_bound >= 0
        assert verdict.proved_volume == 1
        for region in prop.regions:
            points = np.random.default_rng(0).uniform(region.lower, region.upper, (200, prop.input_size))
            for unsafe in region.unsafe:
                worst = unsafe.violation(points, network(points)).max()
                assert worst <= -(verdict.best_bound or 0.0) + 1e-9, note
    elif verdict.status is VerifyStatus.VIOLATED:
        example = verdict.counterexample
        assert prop.violation(example.input[None], replay(network, example.input[None]))[0] >= 0, note
        if truth is False:
            assert can_be_violated(network, prop, relaxed=FLOAT32), note
    elif verdict.status is VerifyStatus.TIMEOUT:
        assert verdict.seconds > 1.4
        assert verdict.best_bound is not None
        assert verdict.best_bound <= 0
    else:
        assert can_be_violated(network, prop, relaxed=1e-3) is not False, note
        assert can_be_violated(network, prop, relaxed=-1e-3) is not True, note


@pytest.mark.parametrize("block", range(4))
def test_no_verdict_disagrees_with_exact_arithmetic(block: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(80 * block, 80 * block + 80):
        network = random_network(seed, smooth=False)
        prop = random_property(seed, network)
        verdict = verify(network, prop, FEEBLE)
        assert_right(network, prop, verdict, seed)
        counts[verdict.status.value] += 1
    assert counts["holds"] >= 10
    assert counts["violated"] >= 10
    assert counts["unknown"] + counts["timeout"] <= 2


def test_many_inputs_go_to_the_exact_program() -> None:
    counts: Counter[str] = Counter()
    for seed in range(20):
        network = dense_network(seed, (26, 4, 3, 2))
        prop = random_property(seed, network, regions=1, width=0.3)
        verdict = verify(network, prop, FEEBLE)
        assert verdict.methods[0] == "attack"
        assert "input splitting" not in verdict.methods
        assert_right(network, prop, verdict, seed)
        counts[verdict.status.value] += 1
    assert counts["holds"] > 2
    assert counts["violated"] > 2


def test_smooth_networks_never_hold_where_a_sample_violates() -> None:
    rng = np.random.default_rng(1)
    counts: Counter[str] = Counter()
    for seed in range(60):
        network = random_network(1000 + seed)
        prop = random_property(seed, network)
        verdict = verify(network, prop, limits=Limits(seconds=3))
        counts[verdict.status.value] += 1
        for region in prop.regions:
            points = sample(rng, region.lower, region.upper, 3000)
            worst = region.violation(points, network(points)).max()
            assert not (verdict.status is VerifyStatus.HOLDS and worst >= 0), seed
    assert counts["holds"] > 5
    assert counts["violated"] > 15


def test_a_final_softmax_is_decided_by_its_logits() -> None:
    statuses = set()
    for seed in range(30):
        network = random_network(seed, smooth=False, softmax=True, outputs=3)
        prop = random_property(seed, network, ordering=True, width=0.6)
        verdict = verify(network, prop)
        statuses.add(verdict.status)
        assert_right(replace(network, nodes=network.nodes[:-1], model=logits(seed)), prop, verdict, seed)
    assert statuses >= {VerifyStatus.HOLDS, VerifyStatus.VIOLATED}


def logits(seed: int) -> bytes:
    return random_network(seed, smooth=False, outputs=3).model


def interval_network() -> Network:
    """y = |x| by two ReLUs, exactly in float32."""
    draft = Draft(np.random.default_rng(0), (1, 1))
    first = [draft.constant([[1.0], [-1.0]]), draft.constant([0.0, 0.0])]
    draft.add("Gemm", ["x", *first], (1, 2), transB=1)
    draft.add("Relu", [draft.current], (1, 2))
    draft.add("Gemm", [draft.current, draft.constant([[1.0, 1.0]]), draft.constant([0.0])], (1, 1), transB=1)
    return draft.network("absolute")


def at_most(bound: float, sign: float = 1.0, lower: float = -1.0, upper: float = 2.0) -> Property:
    """Unsafe where sign * y <= bound for x in [lower, upper]."""
    unsafe = Conjunction(np.array([[sign]]), np.zeros((1, 1)), np.array([bound]))
    return Property((Region(np.array([lower]), np.array([upper]), (unsafe,)),), 1, 1)


def test_properties_at_and_near_the_boundary() -> None:
    """y = |x| on [-1, 2] runs from 0 to 2: equality violates, the next floats do not."""
    network = interval_network()
    # Violated at the single point 0, which no search needs to hit: but never proved.
    assert verify(network, at_most(0.0)).status != "holds"
    for prop, expected in [
        (at_most(-1e-3), "holds"),
        (at_most(-1e-7), "holds"),
        (at_most(-2.0, -1.0), "violated"),
        (at_most(-2.001, -1.0), "holds"),
        (at_most(-2.0000002, -1.0), "holds"),
        (at_most(-1.9999998, -1.0), "violated"),
        (at_most(0.25, 1.0, 0.25, 0.25), "violated"),
        (at_most(0.2499, 1.0, 0.25, 0.25), "holds"),
    ]:
        assert verify(network, prop).status == expected, prop.regions


def test_ties_violate() -> None:
    """Two equal outputs: Y_0 <= Y_1 everywhere, and Y_0 < Y_1 nowhere."""
    draft = Draft(np.random.default_rng(0), (1, 2))
    names = [draft.constant([[0.5, 1.0], [0.5, 1.0]]), draft.constant([0.25, 0.25])]
    draft.add("Gemm", ["x", *names], (1, 2), transB=1)
    draft.add("Relu", [draft.current], (1, 2))
    network = draft.network("tie")
    row = Conjunction(np.array([[1.0, -1.0]]), np.zeros((1, 2)), np.zeros(1))
    prop = Property((Region(-np.ones(2), np.ones(2), (row,)),), 2, 2)
    assert verify(network, prop).status == "violated"
    below = Region(-np.ones(2), np.ones(2), (replace(row, bound=np.array([-1e-3])),))
    assert verify(network, Property((below,), 2, 2)).status == "holds"


def test_vacuous_properties_hold() -> None:
    network = interval_network()
    for prop in (Property((), 1, 1), Property((Region(-np.ones(1), np.ones(1), ()),), 1, 1)):
        verdict = verify(network, prop)
        assert verdict.status is VerifyStatus.HOLDS
        assert verdict.methods == ("vacuous: no region",)
        assert verdict.proved_volume == 1


def test_out_of_time_is_said_and_never_a_proof() -> None:
    network = dense_network(5, (5, 40, 40, 40, 1))
    points = np.random.default_rng(0).uniform(-1, 1, (5000, 5))
    bound = float(network(points).min()) - 0.5
    unsafe = Conjunction(np.ones((1, 1)), np.zeros((1, 5)), np.array([bound]))
    prop = Property((Region(-np.ones(5), np.ones(5), (unsafe,)),), 5, 1)
    for seconds in (1e-9, 0.3):
        verdict = verify(network, prop, FEEBLE, limits=Limits(seconds=seconds))
        assert verdict.status in (VerifyStatus.TIMEOUT, VerifyStatus.VIOLATED)
        assert verdict.seconds < seconds + 5
        if verdict.status is VerifyStatus.TIMEOUT:
            assert verdict.best_bound is not None
            assert verdict.best_bound <= 0
            assert verdict.proved_volume < 1
            assert verdict.counterexample is None


def test_the_same_seed_gives_the_same_verdict_for_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(12):
        network = random_network(seed, smooth=False)
        prop = random_property(seed, network)
        found = []
        for threads in ("1", "1", "2"):
            monkeypatch.setenv("REPAIRSOLVER_THREADS", threads)
            found.append(verify(network, prop, FEEBLE, seed=3))
        first, again, double = found
        assert first.status == again.status == double.status
        assert (first.boxes, first.best_bound, first.methods) == (
            again.boxes,
            again.best_bound,
            again.methods,
        )
        if first.counterexample is not None:
            assert np.array_equal(first.counterexample.input, again.counterexample.input)


def test_the_thread_setting_of_torch_is_left_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        verify(interval_network(), at_most(-0.5))
        assert torch.get_num_threads() == 2
        with pytest.raises(UnsupportedOperatorError):
            verify(random_network(0, softmax=True, outputs=1), constant_row())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def constant_row() -> Property:
    size = random_network(0, softmax=True, outputs=1).input_size
    row = Conjunction(np.ones((1, 1)), np.zeros((1, size)), np.array([0.5]))
    return Property((Region(np.zeros(size), np.ones(size), (row,)),), size, 1)


def test_misuse_is_named() -> None:
    network = interval_network()
    with pytest.raises(PropertyError, match="2 inputs and 1 output,"):
        verify(network, Property((), 2, 1))
    with pytest.raises(PropertyError, match="1 input and 3 outputs"):
        verify(network, Property((), 1, 3))
    empty = Conjunction(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0))
    with pytest.raises(PropertyError, match="without half-spaces"):
        verify(network, Property((Region(np.zeros(1), np.ones(1), (empty,)),), 1, 1))
    with pytest.raises(UnsupportedOperatorError, match="softmax"):
        verify(random_network(0, softmax=True, outputs=1), constant_row())


def test_bounds_that_overflow_are_no_proof() -> None:
    """Beyond 1e308 bounds are no numbers: a box stays open, whatever is asked."""
    wide, joined = np.array([[1e200], [-1e200]]), np.array([[1e200, 1e200]])
    nodes = (
        Node("a", ops.Dense(wide, np.zeros(2)), ("x",), (1, 2)),
        Node("b", ops.Relu(), ("a",), (1, 2)),
        Node("c", ops.Dense(joined, np.zeros(1)), ("b",), (1, 1)),
        Node("d", ops.Relu(), ("c",), (1, 1)),
        Node("y", ops.Dense(np.ones((1, 1)), np.zeros(1)), ("d",), (1, 1)),
    )
    graph = tensor_graph(Network(nodes, "x", (1, 1), np.dtype(np.float64), b""))
    for prop in (at_most(1e9), at_most(-1e9, -1.0)):
        search = InputSplitting(graph, queries(prop, "cpu"), batch=4)
        for _ in range(3):
            search.round()
        assert search.remaining() is not None


def status_in(folder: Path, name: str) -> dict[tuple[str, str], str]:
    with (folder / name).open() as file:
        return {(row["onnx"], row["vnnlib"]): row["status"] for row in csv.DictReader(file)}


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    ("net", "prop"), [("1_1", 3), ("3_3", 9), ("4_5", 10), ("2_2", 2), ("1_9", 7), ("2_9", 8)]
)
def test_acas_xu(net: str, prop: int) -> None:
    folder = Path(DATA or "") / "acasxu"
    names = f"ACASXU_run2a_{net}_batch_2000.onnx", f"prop_{prop}.vnnlib"
    expected = status_in(folder, "acasxu_ground_truth.csv").get(names)
    network = load_network(folder / "onnx" / names[0])
    verdict = verify_property(
        network, load_property(folder / "vnnlib" / names[1]), limits=Limits(seconds=120)
    )
    assert expected is None or verdict.status == expected


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("name", "expected"), [("nano", "holds"), ("tiny", "holds"), ("small", "holds")])
def test_sanity_instances(name: str, expected: str) -> None:
    folder = Path(DATA or "") / "small_nets_marabou" / "vnncomp_test"
    network, prop = load_network(folder / f"test_{name}.onnx"), load_property(folder / f"test_{name}.vnnlib")
    verdict = verify(network, prop)
    truth = can_be_violated(network, prop)
    assert verdict.status == ("violated" if truth else "holds")
    assert verdict.status == expected


@pytest.mark.data
@needs_data
def test_collision_detection() -> None:
    folder = Path(DATA or "") / "collision_detection"
    network = load_network(next((folder / "onnx").glob("*.onnx")))
    with (folder / "properties.csv").open() as file:
        rows = list(csv.DictReader(file))
    for status, expected in (("SAT", "violated"), ("UNSAT", "holds")):
        for row in [r for r in rows if r["status"] == status][:2]:
            lower, upper = ([float(row[f"{end}{i}"]) for i in range(6)] for end in ("lb", "ub"))
            keep = int(row["desired_argmax"])
            unsafe = Conjunction(np.eye(2)[[keep]] - np.eye(2)[[1 - keep]], np.zeros((1, 6)), np.zeros(1))
            prop = Property((Region(np.array(lower), np.array(upper), (unsafe,)),), 6, 2)
            assert verify(network, prop).status == expected, row["name"]


@pytest.mark.data
@needs_data
def test_mnist() -> None:
    folder = Path(DATA or "") / "mnist_fc_vnncomp"
    names = "mnist-net_256x2.onnx", "prop_0_0.03.vnnlib"
    verdict = verify_property(
        load_network(folder / "onnx" / names[0]),
        load_property(folder / "vnnlib" / f"{names[1]}.gz"),
        limits=Limits(seconds=120),
    )
    assert verdict.status == status_in(folder, "ground_truth.csv")[names]


def test_a_thin_box_whose_neurons_are_of_another_phase_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that hold for no point of a box close it, instead of leading to splits of nothing for ever."""
    network = dense_network(3, (3, 8, 8, 2))
    unsafe = Conjunction(np.array([[1.0, 0.0]]), np.zeros((1, 3)), np.array([1e6]))
    graph = tensor_graph(network)

    def examined() -> int:
        asked = queries(Property((Region(-np.ones(3), np.ones(3), (unsafe,)),), 3, 2), "cpu")
        search = InputSplitting(graph, asked, batch=4, record=True)
        whole = search.state.stack[0]
        known = {}
        for k, value in enumerate(graph.values(torch.full((1, 3), 0.25, dtype=torch.float64))):
            if k in whole.known:
                # Stable, and beyond the value in the middle; every second neuron of the last layer.
                far = torch.where(value >= 0, -1.0, 1.0)
                wrong = (torch.arange(8) % 2 == 0) & (k == max(whole.known))
                low, high = torch.where(wrong, far - 0.1, value - 1), torch.where(wrong, far + 0.1, value + 1)
                known[k] = low, high
        box = torch.full((1, 3), 0.25, dtype=torch.float64)
        part = replace(whole, lower=box - 2.0**-9, upper=box + 2.0**-9, known=known)
        search.state = replace(search.state, stack=(part,))
        search.round()
        return search.state.count

    assert examined() == 0
    monkeypatch.setattr(split, "THIN", 0.0)
    assert examined() == 2
