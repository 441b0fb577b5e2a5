"""The search for the smallest margin that can be proved: which to try, how long, and when to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from repairsolver.repairing.delta.loop import Outcome, Session, try_margin, update_bound
from repairsolver.repairing.delta.margin import START, Margins
from repairsolver.verification.replay import into_box

POINTS_START = 1e-3
"""The first margin for points alone, which need no proof: as a share of what is missing at the worst."""

SAMPLES, MOST_REGIONS = 500, 20
"""Per region, for the typical size of the property's rows; of more regions the first ones tell."""

FIRST_TRIAL = 20.0
"""Seconds for one margin if there is no time limit; doubled with every failure until there is a proof."""

MOST_UNPROVED = 3
"""Margins that may fail after the first proof if there is no time limit: then the search ends."""

TRIAL_SHARE, HIDDEN_SHARE = 0.1, 0.4
"""The share of the remaining time for the first margin, of layers with a linear tail and of others."""

LONGER = 1.5
"""How many times as long each next margin may take until there is a proof."""

GUESSED_SHARE, PROOF_SHARE, PATIENCE = 0.4, 0.6, 1.4
"""The share of the remaining time that a smaller margin's proof should take, after one proof, and after more
of them; and how many times as long it may take."""

FREE = 0.5
"""A smaller margin gains nothing where the margin costs less than this share of the gap asked for."""

MOST_CHANGE = 30.0
"""Sizes of the layer: a margin raised for the proof's sake may not cost a larger change."""


def first_margin(session: Session) -> float:
    """The margin to begin with, from what is missing at the worst and, before a proof, the size of rows.

    Linear bounds lose a share of how far scores vary, however small a violation is.
    """
    scale = session.problem(0.0, np.inf).scale()
    if not session.prop.regions:
        return POINTS_START * scale
    return max(START * scale, _typical(session) if session.layer.affine else 0.0)


def _typical(session: Session) -> float:
    """The median size of the property's rows at samples of its regions."""
    rng, network, sizes = np.random.default_rng(session.seed), session.network, []
    for region in session.prop.regions[:MOST_REGIONS]:
        points = rng.uniform(region.lower, region.upper, size=(SAMPLES, network.input_size))
        points = into_box(points, region, network.element)
        outputs = network(points)
        for unsafe in region.unsafe:
            rows = outputs @ unsafe.output.T + points @ unsafe.input.T - unsafe.bound
            sizes.append(np.abs(rows).ravel())
    return float(np.median(np.concatenate(sizes))) if sizes else 0.0


def search_margins(session: Session, start: float, *, shared: bool) -> None:
    """Try margins until the gap is closed, the time is up, or none is left to try.

    Without a time limit a margin may take the longer the more have failed, until one is proved; from then
    on a few failures end the search. If a repair is known already, choices of rows are only searched below
    its margin, and only as long as proofs succeed.
    """
    if session.best is not None and not shared:
        verdict = session.best.verdict
        if verdict is not None and session.remaining < verdict.seconds:
            return
        start = session.best.margin
    _Search(session, Margins(start), shared, known=session.best is not None).run()


@dataclass(slots=True, eq=False)
class _Search:
    """A search in progress.

    Args:
        known: whether there was a repair before it.
        trial: seconds for the next margin before the first proof; with no limit, after it too.
        unproved: margins that failed after a proof.
        beside: seconds that the newest proved margin took beside its proof.
    """

    session: Session
    margins: Margins
    shared: bool
    known: bool
    trial: float = FIRST_TRIAL
    unproved: int = 0
    beside: float = 0.0

    def run(self) -> None:
        session = self.session
        if not self.unlimited:
            share = TRIAL_SHARE if session.layer.affine else HIDDEN_SHARE
            self.trial = share * session.remaining
        while not session.finished and (margin := self._next()) is not None:
            outcome = self._try(margin, min(self._seconds(), session.remaining))
            if self.known and outcome is not Outcome.PROVED:
                return
            if self.unproved == MOST_UNPROVED and self.unlimited:
                return
        if session.best is None and not session.finished and self.margins.failed > 0:
            self._try(self.margins.failed, session.remaining)

    @property
    def unlimited(self) -> bool:
        return bool(np.isinf(self.session.remaining))

    @property
    def _budget(self) -> float:
        """Seconds that the proof of a smaller margin should take."""
        share = PROOF_SHARE if len(self.margins.proofs) > 1 else GUESSED_SHARE
        whole = self.trial if self.unlimited else share * self.session.remaining
        return max(0.0, whole - self.beside)

    def _next(self) -> float | None:
        best = self.session.best
        least, lower = 0.0, self.session.lower
        if best is not None and best.cost > lower > 0:
            least = FREE * self.session.gap * lower * best.margin / (best.cost - lower)
        return self.margins.next(self._budget, least)

    def _seconds(self) -> float:
        if self.margins.proved is None or self.unlimited:
            return self.trial
        return PATIENCE * (self._budget + self.beside)

    def _try(self, margin: float, seconds: float) -> Outcome:
        """One margin; what became of it counts for the next."""
        session, margins = self.session, self.margins
        raised = bool(session.prop.regions) and margin > margins.start and margins.proved is None
        begun = time.perf_counter()
        most = MOST_CHANGE * session.layer_size if raised else np.inf
        outcome = try_margin(session, margin, seconds, shared=self.shared, most=most)
        session.emit("margin", f"margin {margin:.3g}: {outcome}", margin=margin)
        if outcome in (Outcome.UNREACHABLE, Outcome.EXCESSIVE):
            margins.unreachable(margin)
            if outcome is Outcome.EXCESSIVE:
                session.excessive = min(session.excessive, margin)
            return outcome
        verdict = None if session.best is None else session.best.verdict
        if outcome is Outcome.PROVED:
            seconds = 0.0 if verdict is None else verdict.seconds
            margins.report(margin, proved=True, seconds=seconds)
            self.beside = max(0.0, time.perf_counter() - begun - seconds)
            update_bound(session)
            return outcome
        margins.report(margin, proved=False)
        if session.best is not None:
            self.unproved += 1
        else:
            self.trial *= 2.0 if self.unlimited else LONGER
        return outcome
