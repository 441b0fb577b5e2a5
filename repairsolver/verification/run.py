"""One verification under way: what was asked, what was found, and the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from repairsolver.executors import Executor
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import (
    Arithmetic,
    Certificate,
    Counterexample,
    Event,
    Limits,
    OnEvent,
    OpenBoxes,
    Verdict,
    VerifyStatus,
)
from repairsolver.verification.kept import Kept
from repairsolver.verification.paused import Paused
from repairsolver.verification.query import Queries
from repairsolver.verification.tree import Tree


class Reached(Protocol):
    """How far a proof has come; it never changes, whatever the search does next."""

    @property
    def count(self) -> int:
        """How many boxes or parts are open."""
        ...

    def proved(self) -> float:
        """The share of the volume that is proved, 0 to 1."""
        ...

    def bound(self) -> float:
        """The least proved bound of what is open."""
        ...

    def open_boxes(self) -> OpenBoxes: ...


@dataclass(frozen=True, slots=True, eq=False)
class Savable:
    """What a tree can hold: the kind of search, and its state as arrays when they are asked for."""

    kind: str
    to_arrays: Callable[[], dict[str, NDArray[Any]]]


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
    certified: bool = False
    tree: Tree | None = None
    paused: Paused | None = None
    kept: Kept | None = None
    executor: Executor | None = None
    reused: bool = False
    nearest: float = -math.inf
    resumed: bool = False
    reached: Reached | None = None
    savable: Savable | None = None
    notes: list[str] = field(default_factory=list)
    arithmetic: Arithmetic = "real"

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

    def reach(self, stage: str, message: str, reached: Reached) -> None:
        """Report how far the proof has come."""
        self.reached = reached
        if self.on_event is not None:
            share, bound, count = reached.proved(), reached.bound(), reached.count
            text = f"{message}, {share:.2%} proved, {count} open, bound {bound:.4g}"
            self.say(stage, text, boxes=self.boxes, proved_volume=share, bound=bound, open=count)

    def keep(self, kind: str, to_arrays: Callable[[], dict[str, NDArray[Any]]]) -> None:
        """Remember what a tree would hold, and write it when it is time to."""
        self.savable = Savable(kind, to_arrays)
        if self.tree is not None and self.tree.due:
            self.save()

    def save(self) -> None:
        """Write the tree, if there is one to be written and something to write."""
        if self.tree is None or self.savable is None:
            return
        try:
            self.tree.write(self.savable.kind, self.savable.to_arrays())
        except OSError as error:
            self.notes.append(f"The tree could not be written to {self.tree.name}: {error}.")

    def close(self) -> None:
        """Write the tree of a search that ends undecided, and say what can be done with it."""
        before = len(self.notes)
        self.save()
        if self.tree is not None and len(self.notes) == before:
            kept = self.savable is not None or self.tree.path.exists()
            self.notes.append(f"Go on with the tree {self.tree.name}." if kept else "No tree yet.")

    def verdict(
        self,
        status: VerifyStatus,
        *,
        bound: float | None = None,
        interrupted: bool = False,
        certificate: Certificate | None = None,
    ) -> Verdict:
        """The answer with all that was reached; a proof's `bound` is its own."""
        examples = tuple(sorted(self.found, key=lambda c: -c.violation))
        reached, holds = self.reached, status is VerifyStatus.HOLDS
        decided = holds or status is VerifyStatus.VIOLATED
        if not decided and reached is not None:
            bound = reached.bound()
        return Verdict(
            status,
            examples[0] if examples else None,
            examples,
            bound,
            1.0 if holds else reached.proved() if reached is not None else 0.0,
            tuple(self.methods),
            self.boxes,
            self.elapsed,
            self.seed,
            self.arithmetic,
            certificate,
            open_boxes=reached.open_boxes() if reached is not None and not decided else None,
            interrupted=interrupted,
            notes=tuple(self.notes),
        )
