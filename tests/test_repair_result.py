"""The change of a repair: norms, names, JSON and back; what a Repair says about itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from delta_networks import dense_network

from layerwise.norm import NORMS
from repairsolver.errors import EditError
from repairsolver.network import load_network
from repairsolver.repairing.delta.candidate import edit_of, make_candidate
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.result import Delta, Repair
from repairsolver.report.words import guarantees
from repairsolver.results import RepairStatus, Verdict, VerifyStatus

NETWORK = dense_network(0, transposed=True)
LAYER = find_layer(NETWORK)


def some_delta() -> np.ndarray:
    delta = np.zeros(LAYER.size)
    delta[[1, 7, 19]] = [0.5, -0.125, 2.0]
    return delta


@pytest.fixture
def edit() -> Delta:
    return edit_of(NETWORK, LAYER, some_delta())


def repair_with(status: RepairStatus, verdict: VerifyStatus, *, network: bool = True) -> Repair:
    candidate = make_candidate(NETWORK, LAYER, some_delta(), NORMS["l1"].value, 0.1)
    return Repair(
        status=status,
        network=candidate.network if network else None,
        edit=edit_of(NETWORK, LAYER, some_delta()) if network else None,
        norm="l1",
        cost=candidate.cost if network else None,
        lower_bound=2.0,
        gap=None,
        fidelity=None,
        verdict=Verdict(verdict),
        rounds=3,
        seconds=1.5,
        seed=0,
        solver="highs",
        message="a message",
    )


def test_norms_are_those_of_what_was_written(edit: Delta) -> None:
    assert edit.count == 3
    np.testing.assert_allclose(
        [edit.norm(name) for name in ("l0", "l1", "l2", "linf")],
        [3, 2.625, np.sqrt(0.25 + 0.125**2 + 4), 2.0],
        rtol=1e-6,
    )
    with pytest.raises(EditError, match="unknown norm 'l3': known are l0, l1"):
        edit.norm("l3")


def test_apply_gives_the_candidate(edit: Delta) -> None:
    candidate = make_candidate(NETWORK, LAYER, some_delta(), NORMS["l1"].value, 0.0)
    assert edit.apply(NETWORK).sha256 == candidate.network.sha256
    assert candidate.cost == pytest.approx(edit.norm("l1"), abs=0)


def test_json_survives_exactly(edit: Delta) -> None:
    again = Delta.from_json(edit.to_json(), NETWORK)
    assert again.to_json() == edit.to_json()
    assert again.apply(NETWORK).model == edit.apply(NETWORK).model


def test_names_follow_the_layout_of_the_file(edit: Delta) -> None:
    """Entry 1 of the stored [6, 3] matrix is the weight of neuron 1 from input 0."""
    assert "layer1: weight of neuron 1 from 0" in edit.describe()
    assert edit.describe(entries=1).splitlines() == [
        edit.describe().splitlines()[0],
        "and 2 more",
    ]
    assert "bias of neuron 1" in edit.describe().splitlines()[0]


def test_no_change_says_so() -> None:
    nothing = edit_of(NETWORK, LAYER, np.zeros(LAYER.size))
    assert nothing.describe() == "no change"
    assert (nothing.count, nothing.norm("linf")) == (0, 0.0)
    assert nothing.apply(NETWORK) is NETWORK


def test_other_network_is_refused(edit: Delta) -> None:
    other = dense_network(8, transposed=True)
    with pytest.raises(EditError, match="belongs to the network with SHA-256"):
        edit.apply(other)
    with pytest.raises(EditError, match="belongs to another network"):
        Delta.from_json(edit.to_json(), other)


def broken(edit: Delta, **changes: object) -> str:
    return json.dumps(json.loads(edit.to_json()) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "version 99; expected 'repairsolver-delta', version 1"),
        ({"tensors": [{"name": "nowhere"}]}, "has no tensors nowhere"),
        ({"tensors": [{"name": "W1"}]}, "not a change in the format"),
    ],
)
def test_broken_json_is_refused(edit: Delta, changes: dict[str, object], message: str) -> None:
    with pytest.raises(EditError, match=message):
        Delta.from_json(broken(edit, **changes), NETWORK)


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(EditError, match="not a change in the format"):
        Delta.from_json("{", NETWORK)


def test_repr_tells_what_is_guaranteed() -> None:
    proved = repair_with(RepairStatus.REPAIRED, VerifyStatus.HOLDS)
    assert "proved for every input" in repr(proved)
    assert "at least 2 for any repair" in repr(proved)
    open_ = repair_with(RepairStatus.TIMEOUT, VerifyStatus.TIMEOUT)
    assert "NOT proved" in repr(open_)
    assert "not proved" in open_._repr_html_()


def test_save_writes_the_network(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "repaired.onnx"  # type: ignore[operator]
    proved = repair_with(RepairStatus.REPAIRED, VerifyStatus.HOLDS)
    proved.save(path)
    x = np.ones((1, 2))
    np.testing.assert_array_equal(load_network(path)(x), proved.network(x))  # type: ignore[misc]
    with pytest.raises(EditError, match="no network to save: infeasible"):
        repair_with(RepairStatus.INFEASIBLE, VerifyStatus.UNKNOWN, network=False).save(path)


def test_a_lower_bound_that_counts_prices_is_not_called_one_of_the_norm() -> None:
    """The norm is 2.625, below the bound, as the cost has the prices of lost points on top."""
    fix = repair_with(RepairStatus.REPAIRED, VerifyStatus.HOLDS)
    priced = replace(fix, cost=9.0, lower_bound=8.0)
    assert "l1 norm" in fix._repr_html_()
    assert "l1 cost" in priced._repr_html_()
    assert "l1 norm" not in priced._repr_html_()
    record = {"kind": "repair", "result": "repaired", "norm": "l1", "cost": 9.0, "lower_bound": 8.0}
    claims = [claim for claim, _, _ in guarantees(record)]
    assert not any("smaller l1 norm" in claim for claim in claims)
    assert any("costs less than 8, this one costs 9" in claim for claim in claims)
