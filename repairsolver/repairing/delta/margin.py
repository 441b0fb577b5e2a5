"""Which margin to ask for next: large enough to be proved, small enough to cost little."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

START = 0.25
"""The first margin, as a share of the worst violation of the original network."""

FALL = 4.0
"""By how much the margin falls while proofs succeed."""

FIRST_RISE = 4.0
"""By how much it rises after the first failure, which a busy machine may explain."""

RISE = 32.0
"""By how much it rises after more failures: wide, because every failure costs the time of a proof."""

CLOSE = 1.6
"""Bisection stops when the proved margin is at most this multiple of the largest that failed."""

RANGE = 1e6
"""Margins outside start / RANGE .. start * RANGE are not tried."""


@dataclass(slots=True)
class Margins:
    """The search for the smallest margin with which the proof succeeds.

    The norm of the least change grows with the margin (roughly like worst violation + margin), while
    the verifier's work falls with it. Before the first proof the margin rises; afterwards it falls, and
    once both a proof and a failure are known it is bisected geometrically.

    Args:
        start: the first margin, in the units of the property's rows.
        proved: the smallest margin whose candidate was proved.
        failed: the largest margin below it whose candidate was not proved in time.
        ceiling: the smallest margin that no change of the layer reaches.
    """

    start: float
    proved: float | None = None
    failed: float = 0.0
    ceiling: float = float("inf")

    def next(self) -> float | None:
        """The margin to try, or None if there is nothing left to try."""
        upper = self.proved if self.proved is not None else self.ceiling
        if self.failed > 0 and upper < float("inf"):
            close = upper <= CLOSE * self.failed
            return None if close else sqrt(upper * self.failed)
        rise = FIRST_RISE if self.failed <= self.start else RISE
        wanted = self.failed * rise if self.failed > 0 else min(self.start, upper / FALL)
        inside = self.start / RANGE <= wanted <= self.start * RANGE
        return wanted if inside else None

    def report(self, margin: float, *, proved: bool) -> None:
        """Say how the candidate with this margin fared."""
        if proved:
            self.proved = margin if self.proved is None else min(self.proved, margin)
            self.failed = 0.0 if self.failed >= self.proved else self.failed
        else:
            self.failed = max(self.failed, margin)

    def unreachable(self, margin: float) -> None:
        """Say that no change of the layer, or none worth a proof, reaches this margin.

        Below a proved margin this ends the search: the least cost is convex in the margin, so that
        still smaller margins gain at most FALL / (FALL - 1) of what was not worth it.
        """
        if self.proved is not None:
            self.failed = self.proved
            return
        self.ceiling = min(self.ceiling, margin)
        self.failed = 0.0 if self.failed >= self.ceiling else self.failed
