"""How a run went: its progress events, thinned, and the curves that reports draw of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repairsolver.results import Event, OnEvent

LEAST_GAP, RUN_SHARE = 0.05, 1 / 400
"""Two events of a stage are kept only if so many seconds, or that share of the run so far, lie between."""

Row = dict[str, Any]


@dataclass(slots=True)
class Thinning:
    """Which events are worth keeping: the first of a stage, and then ever rarer ones.

    A run of T seconds keeps at most about 400 (1 + ln(T / 20)) events of each stage. Events that say what
    was reached for good (`proved`, `bound`) are all kept.
    """

    always: frozenset[str] = frozenset({"proved", "bound"})
    last: dict[str, float] = field(default_factory=dict)

    def keeps(self, event: Event) -> bool:
        before = self.last.get(event.stage, -math.inf)
        due = event.seconds - before >= max(LEAST_GAP, RUN_SHARE * event.seconds)
        if due or event.stage in self.always:
            self.last[event.stage] = event.seconds
            return True
        return False


class History:
    """Collects the events of a run; call it with each event, which it passes on.

    Args:
        onward: who else wants the events, such as a progress display.
    """

    def __init__(self, onward: OnEvent | None = None) -> None:
        self._onward, self._thinning = onward, Thinning()
        self._kept: list[Event] = []
        self._newest: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        if self._onward is not None:
            self._onward(event)
        if self._thinning.keeps(event):
            self._kept.append(event)
        self._newest[event.stage] = event

    def rows(self) -> list[Row]:
        """The events kept, and the newest of every stage, by time."""
        rest = [event for event in self._newest.values() if all(event is not kept for kept in self._kept)]
        return [event_record(event) for event in sorted([*self._kept, *rest], key=lambda e: e.seconds)]


def event_record(event: Event) -> Row:
    """An event as plain data; numbers that JSON lacks are left out."""
    numbers = {name: float(value) for name, value in event.numbers.items() if math.isfinite(value)}
    return {
        "stage": event.stage,
        "message": event.message,
        "seconds": round(float(event.seconds), 4),
        "numbers": numbers,
    }


@dataclass(frozen=True, slots=True)
class Curve:
    """A number over time.

    Args:
        seconds, values: of equal length, by time.
    """

    seconds: tuple[float, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)


def curve(rows: Sequence[Mapping[str, Any]], number: str) -> Curve:
    """What the events say of one number."""
    points = list(_points(rows, number))
    return Curve(tuple(x for x, _ in points), tuple(y for _, y in points))


def _points(rows: Sequence[Mapping[str, Any]], number: str) -> Iterator[tuple[float, float]]:
    for row in rows:
        value = row["numbers"].get(number)
        if value is not None:
            yield float(row["seconds"]), float(value)
