"""Kept proof trees: verdicts as from scratch, certificates that check, and no violation closed away."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bounding import assert_inside
from random_networks import dense_network, random_box, sample

import repairsolver as rs
from repairsolver.bounds import backward, tighten
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.certificate import checker
from repairsolver.network import Network, replace_parameters
from repairsolver.network.forward import activations
from repairsolver.network.operators import Dense
from repairsolver.property import Conjunction, Property, Region
from repairsolver.results import VerifyStatus
from repairsolver.verification import split
from repairsolver.verification.change import change
from repairsolver.verification.engine import verify_property
from repairsolver.verification.kept import Kept, first_edit, joined
from repairsolver.verification.query import queries
from repairsolver.verification.reuse import reuse
from repairsolver.verification.split import InputSplitting

SIZES = (3, 8, 8, 2)


def question(seed: int, margin: float = 0.05) -> tuple[Network, Property, float]:
    """A network, the property that not both outputs are small, which samples have by so much, and a unit."""
    rng = np.random.default_rng(seed)
    network = dense_network(seed, SIZES)
    lower, upper = random_box(rng, network, 2.0)
    worst = network(sample(rng, lower, upper, 2000)).max(axis=1)
    unit = float(np.ptp(worst)) + 0.1
    return network, asked(network, lower, upper, worst.min() - margin * unit), unit


def asked(network: Network, lower: np.ndarray, upper: np.ndarray, bound: float) -> Property:
    unsafe = Conjunction(np.eye(2), np.zeros((2, network.input_size)), np.full(2, bound))
    return Property((Region(lower, upper, (unsafe,)),), network.input_size, network.output_size)


def edited(network: Network, layer: int, scale: float, seed: int) -> Network:
    """The weights of one dense layer, changed a little."""
    rng = np.random.default_rng([seed, layer])
    operator = [n.operator for n in network.nodes if isinstance(n.operator, Dense)][layer]
    assert operator.weight_source is not None
    weight = operator.weight + scale * rng.normal(size=operator.weight.shape)
    stored = weight.T if operator.weight_source.transposed else weight
    return replace_parameters(network, {operator.weight_source.tensor: stored})


def moved(prop: Property, by: float) -> Property:
    """The same boxes with other thresholds."""
    regions = tuple(
        replace(r, unsafe=tuple(replace(c, bound=c.bound + by) for c in r.unsafe)) for r in prop.regions
    )
    return replace(prop, regions=regions, text="")


def search_of(network: Network, prop: Property, slack: float = 0.0) -> InputSplitting:
    graph = tensor_graph(network, torch.float64, "cpu")
    search = InputSplitting(graph, queries(prop, "cpu"), batch=16, record=True, keep=1e9)
    search.slack = slack
    return search


def assert_not_closed(search: InputSplitting, network: Network, prop: Property, seed: int) -> int:
    """Every violating sample lies in an open box, within its cut and the bounds of its neurons."""
    region = prop.regions[0]
    points = sample(np.random.default_rng(seed), region.lower, region.upper, 40_000)
    points = points[(network(points) <= region.unsafe[0].bound).all(axis=1)]
    names = [network.input_name, *(node.name for node in network.nodes)]
    open_boxes = search.remaining()
    if not len(points):
        return 0
    assert open_boxes is not None
    for point in points[:40]:
        x = torch.tensor(point)
        inside = ((open_boxes.lower <= x) & (x <= open_boxes.upper)).all(dim=1).nonzero()[:, 0]
        assert len(inside), point
        taken = activations(network, point[None])
        # A point on a common face lies in several boxes; one of them must have it within its cut.
        cuts = (open_boxes.cut.slope[inside] * x).sum(dim=1) + open_boxes.cut.shift[inside]
        assert float(cuts.min()) <= 1e-9, point
        for box in inside[cuts <= 1e-9].tolist():
            for source, (low, high) in open_boxes.known.items():
                assert_inside(taken[names[source]], low[box], high[box], source)
    return len(points)


def assert_rows_hold(search: InputSplitting, network: Network, prop: Property, seed: int) -> int:
    """Kept rows bound the weighted rows of the newest question wherever a violation may lie."""
    region, checked = prop.regions[0], 0
    if not search.nodes:
        return 0
    nodes = joined(search.nodes)
    points = torch.tensor(sample(np.random.default_rng(seed), region.lower, region.upper, 4000))
    # Outside of the cuts above nothing is claimed: a point counts where it violates.
    values = torch.tensor(network(points.numpy()) - region.unsafe[0].bound)
    for node in range(len(nodes)):
        box = nodes.boxes[slice(node, node + 1)]
        within = ((box.lower <= points) & (points <= box.upper)).all(dim=1) & (values <= 0).all(dim=1)
        weights = nodes.weights[node].to(torch.float64)
        truth = (values[within] @ weights) / weights.sum()
        claimed = points[within] @ nodes.row.slope[node] + nodes.row.shift[node]
        assert not len(truth) or float((claimed - truth).max()) <= 1e-9, (seed, node)
        checked += len(truth)
    return checked


@pytest.mark.parametrize("layer", [0, 1, 2, None], ids=["first", "hidden", "last", "property"])
def test_violations_of_the_next_question_stay_open(layer: int | None) -> None:
    seen = stayed = checked = 0
    for seed in range(8):
        network, prop, unit = question(seed)
        # More slack than margin: such a tree does not end, and keeps what the next question violates.
        search = search_of(network, prop, slack=0.08 * unit)
        for _ in range(12):
            if not search.done:
                search.round()
        kept = Kept()
        kept.put(network, search.queries, "real", search.nodes)
        after = network if layer is None else edited(network, layer, 0.002, seed)
        # Beyond the slack in every other question, so that cuts are wrong there.
        worse = moved(prop, (0.06, 0.25)[seed % 2] * unit)
        again = search_of(after, worse)
        nodes = kept.reusable(after, again.queries, "real")
        assert nodes is not None
        edit, known = first_edit(network, after), again.state.stack[0].known
        moved_by = change(network, search.queries, again.graph, again.queries, edit, known)
        assert (moved_by is None) == (layer in (0, 1))
        stayed += reuse(again, nodes, edit, moved_by)
        checked += assert_rows_hold(again, after, worse, seed)
        seen += assert_not_closed(again, after, worse, seed)
        again.round()
        assert_not_closed(again, after, worse, seed)
    assert seen > 100
    assert stayed > 100
    assert checked > 1000


@pytest.mark.parametrize("seed", range(6))
def test_same_verdicts_as_from_scratch_and_certificates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network, prop, unit = question(seed)
    kept, held = Kept(share=float(rng.choice([0.0, 0.3, 0.7]))), 0
    for step in range(6):
        found = verify_property(network, prop, kept=kept, record=True)
        assert found.status is verify_property(network, prop).status
        if found.status is VerifyStatus.HOLDS:
            held += 1
            assert found.certificate is not None
            assert rs.check(found.certificate, network=network, property=prop).valid
        network = edited(network, int(rng.integers(3)), 0.01, 10 * seed + step)
        prop = moved(prop, 0.01 * unit * float(rng.normal()))
    assert held


def test_an_edit_of_the_last_layer_leaves_little_to_bound() -> None:
    network, prop, _ = question(1)
    kept = Kept(share=0.5)
    first = rs.verify(network, prop, kept=kept)
    again = rs.verify(edited(network, 2, 1e-4, 0), prop, kept=kept)
    assert first.status is again.status is VerifyStatus.HOLDS
    assert first.boxes > 20
    assert again.boxes < first.boxes / 5
    assert again.certificate is None
    assert any(note.startswith("Kept from") for note in again.notes)


def test_layers_before_the_edited_one_are_not_bounded_again() -> None:
    network, prop, _ = question(1)
    search = search_of(network, prop)
    while not search.done:
        search.round()
    kept = Kept()
    kept.put(network, search.queries, "real", search.nodes)
    # From which layer a row starts that bounds neurons: the input for those of the first dense layer.
    for layer, expected in ((0, {0, 2}), (1, {2}), (2, set())):
        after, started = edited(network, layer, 1e-4, 0), set()

        def watched(graph: object, boxes: object, start: dict[int, object], **options: object) -> object:
            started.add(max(start))  # noqa: B023 - called within the loop
            return backward.pull_back(graph, boxes, start, **options)  # type: ignore[arg-type]

        again = search_of(after, prop)
        nodes = kept.reusable(after, again.queries, "real")
        assert nodes is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tighten, "pull_back", watched)
            assert reuse(again, nodes, first_edit(network, after)) > 1
        assert started == expected


def test_safer_questions_take_no_row_at_all() -> None:
    """Of a last layer with another bias, or of other thresholds, it is known by how much the rows move."""
    network, prop, unit = question(1)
    kept = Kept()
    assert rs.verify(network, prop, kept=kept).status is VerifyStatus.HOLDS
    operator = network.output.operator
    assert isinstance(operator, Dense)
    assert operator.bias_source is not None
    safer = replace_parameters(network, {operator.bias_source.tensor: operator.bias + 0.01 * unit})
    with pytest.MonkeyPatch.context() as patch:
        for module in (split, tighten):
            patch.setattr(module, "pull_back", lambda *_, **__: pytest.fail("a row was pulled back"))
        for asked_again in ((safer, prop), (network, moved(prop, -0.01 * unit)), (safer, prop)):
            found = rs.verify(*asked_again, kept=kept)
            assert (found.status, found.boxes) == (VerifyStatus.HOLDS, 0)
    # Back to the first question, and to one that is violated.
    assert rs.verify(network, prop, kept=kept).status is VerifyStatus.HOLDS
    worse = moved(prop, 0.5 * unit)
    assert rs.verify(network, worse, kept=kept).status is VerifyStatus.VIOLATED


def test_other_questions_start_anew() -> None:
    network, prop, _ = question(2)
    kept = Kept()
    rs.verify(network, prop, kept=kept)
    wider = replace(prop.regions[0], upper=prop.regions[0].upper + 0.125)
    other = replace(prop, regions=(wider,), text="")
    assert kept.reusable(network, queries(other, "cpu"), "real") is None
    assert kept.reusable(network, queries(prop, "cpu"), "float32") is None
    assert kept.reusable(dense_network(2, (3, 9, 8, 2)), queries(prop, "cpu"), "real") is None
    assert first_edit(network, network) == len(network.nodes) + 1
    assert not any(note.startswith("Kept") for note in rs.verify(network, other, kept=kept).notes)


def test_a_tree_that_memory_cannot_hold_is_searched_again() -> None:
    network, prop, _ = question(1)
    kept = Kept(most=20_000)
    first = rs.verify(network, prop, kept=kept)
    assert kept.nodes is not None
    assert kept.nodes.bytes <= 20_000
    again = rs.verify(network, prop, kept=kept, certificate=True)
    assert first.status is again.status is VerifyStatus.HOLDS
    assert again.certificate is not None
    assert rs.check(again.certificate, network=network, property=prop).valid


def test_leaves_that_the_checker_rejects_are_halved() -> None:
    network, prop, _ = question(1)
    whole = verify_property(network, prop, record=True).certificate
    assert whole is not None
    root = replace(whole, axis=np.full(1, -1, np.int16), value=np.zeros(0), weights=whole.weights[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checker, "SPARE", 0)
        assert not rs.check(root, network=network, property=prop).valid
        patch.setattr(checker, "SPARE", 10_000)
        assert rs.check(root, network=network, property=prop).boxes > 1
        assert rs.check(root, network=network, property=prop).valid


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_shares_that_make_no_sense(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Kept(share)


def test_a_file_and_a_kept_tree_at_once_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network, prop, _ = question(1)
    with pytest.raises(ValueError, match="tree"):
        rs.verify(network, prop, kept=Kept(), tree=tmp_path / "a.tree")
