"""The simulated costs of shared searches, against what can be said by hand."""

from __future__ import annotations

import pytest

from benchmarks.scale.model import Costs, Packet, Shape, grown, simulate

FREE = Costs(serial=0.0, packet=0.0, latency=0.0, bandwidth=float("inf"))
SHAPE = Shape(4096, 16384, 4, 1.0, 2e-4, 0.03, 5e5, 20.0)


def even(count: int, seconds: float = 1.0) -> list[Packet]:
    return [Packet(seconds, 1e6, 1e6)] * count


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12), (2, 6), (3, 4), (5, 3), (12, 1), (100, 1)])
def test_packets_that_cost_nothing_but_work_fill_all_workers(workers, seconds):
    found = simulate(even(12), FREE, workers)
    assert (found.seconds, found.work, found.packets) == (seconds, 12, 12)


def test_costs_by_hand():
    """One packet: serial part, half of the driver's cost, way there, work, way back, the other half."""
    costs = Costs(serial=2.0, packet=0.4, latency=0.1, bandwidth=1e7)
    found = simulate(even(1), costs, 7)
    assert found.seconds == pytest.approx(2.0 + 0.2 + 0.1 + 0.1 + 1.0 + 0.1 + 0.1 + 0.2)
    assert found.driver_share == pytest.approx(2.4 / found.seconds)
    assert simulate(even(1), Costs(0.0, 0.0, 0.0, 1e12, start=5.0), 1).seconds == pytest.approx(6.0)


def test_a_rest_waits_for_its_packet():
    chain = Packet(1.0, 0, 0, lambda: [Packet(1.0, 0, 0, lambda: even(4))])
    assert simulate([chain], FREE, 4).seconds == 3
    assert simulate([chain], FREE, 1).seconds == 6


def test_a_driver_that_is_always_busy_bounds_the_speed():
    """With more workers than it can serve, a search takes the driver's time and no less."""
    costs = Costs(serial=0.0, packet=0.1, latency=0.0, bandwidth=float("inf"))
    found = simulate(even(1000), costs, 1000)
    assert 100 - 1e-6 <= found.seconds < 102
    assert found.driver_share > 0.98


@pytest.mark.parametrize("boxes", [1e3, 1e5, 1e7])
def test_grown_searches_have_their_boxes_whoever_works(boxes):
    costs = Costs(serial=1.0, packet=0.02)
    one, many = (simulate(grown(boxes, SHAPE, 7), costs, n) for n in (1, 50))
    assert (one.packets, one.work) == (many.packets, pytest.approx(many.work))
    found = (one.work - one.packets * SHAPE.fixed) / SHAPE.box
    assert found == pytest.approx(boxes, rel=0.01)
    assert many.seconds <= one.seconds
    assert many.seconds >= 1.0 + one.work / 50


def test_nobody_is_no_worker():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        simulate(even(1), FREE, 0)
