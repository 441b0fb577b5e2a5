"""Time for a sweep: it is asked for often, and ends the sweep when it is up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


class TimeUpError(Exception):
    """The sweep did not end in time."""


@dataclass(frozen=True)
class Deadline:
    """A number of seconds from now."""

    seconds: float
    start: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that are left; not below 0."""
        return max(0.0, self.seconds - (time.perf_counter() - self.start))

    def check(self) -> None:
        """Raise `TimeUpError` once the time is up."""
        if time.perf_counter() - self.start > self.seconds:
            raise TimeUpError


FOREVER = Deadline(float("inf"))
"""No limit."""
