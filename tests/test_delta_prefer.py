"""Points that are preferred to be right: they gain where it is worth their price, and decide nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import dense_network

import repairsolver as rs
from repairsolver.errors import EditError, PointSetError

NETWORK = dense_network(3, (4, 12, 8, 3))
NOWHERE = rs.Property((), 4, 3)
LIMITS = rs.Limits(seconds=30)


def some(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32).astype(np.float64)


def second(points: np.ndarray) -> np.ndarray:
    """Labels that the network does not give: its second choice."""
    return np.asarray(NETWORK(points).argsort(axis=1)[:, -2])


def repaired(layer: str, **wishes: object) -> rs.Repair:
    points = some(0, 4)
    fix = rs.repair(
        NETWORK, NOWHERE, layers=layer, points=rs.PointSet(points, second(points)), minimise="behaviour",
        norm="l2", keep=rs.PointSet(some(1, 60)), keep_soft=0.01, limits=LIMITS, **wishes,
    )  # fmt: skip
    assert fix.status is rs.RepairStatus.REPAIRED
    assert fix.network is not None
    assert (fix.network(points).argmax(axis=1) == second(points)).all()
    return fix


def right(fix: rs.Repair, points: np.ndarray, labels: np.ndarray) -> float:
    assert fix.network is not None
    return float((fix.network(points).argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_high_price_makes_more_of_them_right(index: int) -> None:
    layer = NETWORK.affine_layers[index].layer
    wanted = some(2, 12)
    labels = second(wanted)
    prefer = rs.PointSet(wanted, labels)
    without = repaired(layer)
    cheap, dear = (repaired(layer, prefer=prefer, prefer_soft=price) for price in (1e-4, 3.0))
    assert right(dear, wanted, labels) > right(without, wanted, labels)
    assert abs(right(cheap, wanted, labels) - right(without, wanted, labels)) <= 0.25


def test_a_last_layer_without_time_for_its_program_is_still_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    from repairsolver.repairing.delta import least_behaviour

    monkeypatch.setattr(least_behaviour, "EXACT", -1.0)  # its time is over before it begins
    wanted = some(2, 12)
    prefer = rs.PointSet(wanted, second(wanted))
    fix = repaired(NETWORK.affine_layers[-1].layer, prefer=prefer, prefer_soft=0.1)
    monkeypatch.undo()
    best = repaired(NETWORK.affine_layers[-1].layer, prefer=prefer, prefer_soft=0.1)
    assert fix.cost is not None
    assert best.cost is not None
    assert fix.cost == pytest.approx(best.cost, rel=0.25)  # without what is paid for points


def test_what_contradicts_them_is_not_lost() -> None:
    """The same inputs, preferred to stay as they are: points to repair come first."""
    points = some(0, 4)
    prefer = rs.PointSet(points, NETWORK(points).argmax(axis=1))
    repaired(NETWORK.affine_layers[-1].layer, prefer=prefer, prefer_soft=10.0)


def test_least_weights_take_them_too() -> None:
    points, wanted = some(0, 2), some(2, 5)
    prefer = rs.PointSet(wanted, second(wanted))
    given = {"points": rs.PointSet(points, second(points)), "margin": 0.05, "limits": LIMITS}
    fix = rs.repair(NETWORK, NOWHERE, prefer=prefer, prefer_soft=100.0, **given)
    assert fix.status is rs.RepairStatus.REPAIRED
    assert right(fix, wanted, second(wanted)) > 0.5


def test_bad_wishes_are_refused() -> None:
    points = some(0, 4)
    with pytest.raises(PointSetError, match="need the labels"):
        rs.repair(NETWORK, NOWHERE, points=rs.PointSet(points, second(points)), prefer=rs.PointSet(points))
    prefer = rs.PointSet(points, second(points))
    with pytest.raises(EditError, match="prefer_soft must be positive"):
        rs.repair(NETWORK, NOWHERE, points=prefer, prefer=prefer, prefer_soft=0.0)
    with pytest.raises(EditError, match="does not use prefer"):
        rs.repair(NETWORK, NOWHERE, method="gate", prefer=prefer)
    with pytest.raises(EditError, match="exact guarantee"):
        rs.repair(NETWORK, NOWHERE, points=prefer, prefer=prefer, guarantee="pac")
