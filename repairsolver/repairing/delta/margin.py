r"""Which margin to ask for next: large enough to be proved in the time there is, small enough to cost little.

The norm of the least change grows with the margin (roughly like worst violation + margin), while the
verifier's work falls with it, close to a power law: with proofs at margins m and m' that took t and t',

$$ t(\mu) \approx t \left(\frac{m}{\mu}\right)^a, \qquad a = \frac{\log t / t'}{\log m' / m}. $$

So after a proof the next margin is the smallest whose proof should fit into the time that is set aside for
it. Small problems never come near that time: their margins fall by the same factor every time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt

START = 0.25
"""The first margin, as a share of the worst violation of the original network."""

FALL = 8.0
"""By how much the margin falls at most after a proof."""

FIRST_RISE = 8.0
"""By how much it rises after the first failure, which a busy machine may explain."""

RISE = 32.0
"""By how much it rises after more failures: wide, because every failure costs the time of a proof."""

CLOSE = 1.6
"""Margins are not told apart if one proved, or out of reach, is at most this multiple of one that failed."""

NEAR = 1.15
"""Nor is one tried that is not smaller than the proved one by this factor."""

RANGE = 1e6
"""Margins outside start / RANGE .. start * RANGE are not tried."""

FLATTEST, STEEPEST = 0.4, 2.0
"""The range of the exponent a."""

GUESS = 0.8
"""The exponent where one proof alone is known."""

QUICK = 0.05
"""Seconds: proofs are not measured more closely."""


@dataclass(slots=True)
class Margins:
    """The search for the smallest margin with which the proof succeeds.

    Before the first proof the margin rises; afterwards it falls, and once both a proof and a failure are
    known it lies between them.

    Args:
        start: the first margin, in the units of the property's rows.
        proved: the smallest margin whose candidate was proved.
        failed: the largest margin below it whose candidate was not proved in time.
        ceiling: the smallest margin that no change of the layer reaches, or none that is worth it.
        proofs: the seconds of each proof, by its margin.
    """

    start: float
    proved: float | None = None
    failed: float = 0.0
    ceiling: float = float("inf")
    proofs: dict[float, float] = field(default_factory=dict)

    def next(self, seconds: float = float("inf"), least: float = 0.0) -> float | None:
        """The margin to try, or None if there is nothing left to try.

        Args:
            seconds: that the proof should take at most.
            least: below it a smaller margin gains nothing.
        """
        if self.proved is not None:
            return self._below(self.proved, seconds, least)
        if self.failed > 0 and self.ceiling < float("inf"):
            close = self.ceiling <= CLOSE * self.failed
            return None if close else sqrt(self.ceiling * self.failed)
        rise = FIRST_RISE if self.failed <= self.start else RISE
        wanted = self.failed * rise if self.failed > 0 else min(self.start, self.ceiling / FALL)
        return wanted if self._inside(wanted) else None

    def _below(self, proved: float, seconds: float, least: float) -> float | None:
        if proved <= CLOSE * self.failed:
            return None
        lowest = sqrt(proved * self.failed) if self.failed > 0 else proved / FALL
        wanted = max(lowest, self.provable(seconds), min(least, proved / CLOSE))
        return wanted if wanted * NEAR <= proved and self._inside(wanted) else None

    def _inside(self, margin: float) -> bool:
        return self.start / RANGE <= margin <= self.start * RANGE

    def provable(self, seconds: float) -> float:
        """The margin whose proof should take this long; 0 if any should take less."""
        assert self.proved is not None
        took = max(self.proofs.get(self.proved, 0.0), QUICK)
        others = {margin: spent for margin, spent in self.proofs.items() if margin > self.proved}
        steep = GUESS
        if others:
            margin = min(others)
            steep = log(took / max(others[margin], QUICK)) / log(margin / self.proved)
        steep = min(max(steep, FLATTEST), STEEPEST)
        return 0.0 if seconds == float("inf") else self.proved * (took / max(seconds, 1e-3)) ** (1 / steep)

    def report(self, margin: float, *, proved: bool, seconds: float = 0.0) -> None:
        """Say how the candidate with this margin fared, and how long its proof took."""
        if proved:
            self.proofs[margin] = seconds
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
