"""What a shared search costs with any number of workers: its events one after the other, in simulated time.

The driver does one thing at a time: it gives packets to all free workers, the newest first, waits until one
comes back, and takes it in (`repairsolver.verification.shared.driver`). A packet's rest becomes packets only
then. Nothing else is assumed of the search; what things cost is measured or stated in `Costs`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Packet:
    """What a worker does at once, and what comes of it.

    Args:
        seconds: of the worker.
        sent, returned: bytes.
        rest: the packets that it leaves; made when it has come back.
    """

    seconds: float
    sent: float
    returned: float
    rest: Callable[[], Sequence[Packet]] = tuple


@dataclass(frozen=True, slots=True)
class Costs:
    """What is measured of a driver, and what is assumed of a network.

    Args:
        serial: seconds of the driver before the first packet, and for what it does alone (attacks, proof).
        packet: seconds of the driver for each packet, sent and taken in.
        latency: seconds of one message.
        bandwidth: bytes a second, each way, of the driver, which all workers share.
        start: seconds until a worker is there.
    """

    serial: float
    packet: float
    latency: float = 1e-3
    bandwidth: float = 1e9
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds of the clock, share of them in which the driver works, and seconds of work of all workers."""

    seconds: float
    driver_share: float
    work: float
    packets: int


def simulate(first: Sequence[Packet], costs: Costs, workers: int) -> Forecast:
    """A search with so many workers, all alike, none lost.

    Args:
        first: the packets that the search begins with.

    Raises:
        ValueError: there is no worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    now = busy = costs.serial
    gone = come = 0.0  # when the driver's line is free, each way
    waiting, away, free = list(first), list[tuple[float, int, Packet]](), workers
    work, count = 0.0, 0
    while waiting or away:
        while waiting and free:
            packet, count, free = waiting.pop(), count + 1, free - 1
            now, busy = now + costs.packet / 2, busy + costs.packet / 2
            gone = max(now, gone) + packet.sent / costs.bandwidth
            done = max(gone + costs.latency, costs.start) + packet.seconds
            heapq.heappush(away, (done + costs.latency, count, packet))
            work += packet.seconds
        back, _, packet = heapq.heappop(away)
        come = max(back, come) + packet.returned / costs.bandwidth
        now, busy, free = max(now, come) + costs.packet / 2, busy + costs.packet / 2, free + 1
        waiting += packet.rest()
    return Forecast(now, busy / now if now else 0.0, work, count)


@dataclass(frozen=True, slots=True)
class Shape:
    """How searches grow: how far packets are taken, into what their rest is cut, and what boxes cost.

    Args:
        boxes, most: what a first packet is taken forward by, and the most; it doubles with each generation.
        pieces: what the rest becomes.
        evenness: of the pieces' subtrees: the parameter of a symmetric Dirichlet distribution.
        box, fixed: seconds of a worker for a box, and for a packet whatever its boxes.
        sent, returned: bytes of a packet, and of the result for each box.
    """

    boxes: int
    most: int
    pieces: int
    evenness: float
    box: float
    fixed: float
    sent: float
    returned: float


def grown(boxes: float, shape: Shape, seed: int) -> list[Packet]:
    """The first packets of a random search of so many boxes; the same for the same seed, whoever works."""
    return _cut(boxes, shape.boxes, shape, np.random.SeedSequence(seed))


def _cut(boxes: float, budget: int, shape: Shape, seed: np.random.SeedSequence) -> list[Packet]:
    """Packets of a rest with so many boxes below it, shared out at random."""
    shares = np.random.default_rng(seed).dirichlet([shape.evenness] * shape.pieces)
    return [
        _packet(boxes * share, budget, shape, own)
        for share, own in zip(shares, seed.spawn(shape.pieces), strict=True)
        if boxes * share >= 1
    ]


def _packet(boxes: float, budget: int, shape: Shape, seed: np.random.SeedSequence) -> Packet:
    done = min(boxes, budget)
    seconds, returned = shape.fixed + shape.box * done, shape.returned * done

    def rest() -> list[Packet]:
        return _cut(boxes - done, min(shape.most, 2 * budget), shape, seed) if boxes > done else []

    return Packet(seconds, shape.sent, returned, rest)
