"""One verification under way: what was asked, what was found, and the clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import Certificate, Counterexample, Event, Limits, OnEvent, Verdict, VerifyStatus
from repairsolver.verification.query import Queries


@dataclass(slots=True, eq=False)
class Run:
    """State of one call; `core` is the network without its final softmax, which queries speak of."""

    network: Network
    core: Network
    prop: Property
    limits: Limits
    seed: int
    on_event: OnEvent | None
    device: str
    queries: Queries
    regions: list[Region]
    started: float = field(default_factory=time.monotonic)
    methods: list[str] = field(default_factory=list)
    found: list[Counterexample] = field(default_factory=list)
    boxes: int = 0
    record: bool = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds left, infinite without a limit."""
        return math.inf if self.limits.seconds is None else self.limits.seconds - self.elapsed

    def say(self, stage: str, message: str, **numbers: float) -> None:
        if self.on_event is not None:
            self.on_event(Event(stage, message, self.elapsed, numbers))

    def verdict(
        self,
        status: VerifyStatus,
        *,
        bound: float | None = None,
        volume: float = 0.0,
        certificate: Certificate | None = None,
    ) -> Verdict:
        examples = tuple(sorted(self.found, key=lambda c: -c.violation))
        return Verdict(
            status,
            examples[0] if examples else None,
            examples,
            bound,
            volume,
            tuple(self.methods),
            self.boxes,
            self.elapsed,
            self.seed,
            certificate=certificate,
        )
