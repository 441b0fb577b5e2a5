"""Searches that ran out of time, kept in memory: asked the same once more, they go on."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Arithmetic

if TYPE_CHECKING:
    from repairsolver.verification.frontier import State

Question = tuple[str, str, Arithmetic]


def question(network: Network, prop: Property, arithmetic: Arithmetic) -> Question:
    """What a search is about: equal for two calls only if one may go on where the other stopped."""
    from repairsolver.verification.record import property_sha256

    return network.sha256, property_sha256(prop), arithmetic


@dataclass(slots=True, eq=False)
class Paused:
    """The newest searches on boxes that ended by a time-out.

    Args:
        most: bytes that all of them may hold; the oldest are dropped first.
    """

    most: float = 1e9
    states: OrderedDict[Question, State] = field(default_factory=OrderedDict)

    def take(self, asked: Question) -> State | None:
        """Where the search stopped, once."""
        return self.states.pop(asked, None)

    def put(self, asked: Question, state: State) -> None:
        self.states[asked] = state
        while self.states and sum(kept.bytes for kept in self.states.values()) > self.most:
            self.states.popitem(last=False)
