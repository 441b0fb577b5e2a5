"""What sampling says: a bound on the probability of a violation, with a confidence, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from repairsolver.display import result_html
from repairsolver.results import Counterexample, OpenBoxes, counted

SHOWN = 10
"""Violations that are kept."""


class SampleStatus(StrEnum):
    """The three answers: P(violation) <= epsilon; P(violation) > epsilon; neither is shown."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The part of a property's regions that was sampled, while the property is proved on the rest.

    Args:
        boxes: where it is not proved.
        share: of the volume of the regions that they have, at most; counted once for each conjunction that is
            open, and as often as regions overlap there.
    """

    boxes: OpenBoxes
    share: float


def _over(part: Part) -> str:
    """That boxes overlap, if they must."""
    return f" that overlap, {part.share:.4g} times the volume together" if part.share > 1 else ""


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A statement about the probability that an input drawn from a distribution violates the property.

    Its confidence is over the draw of the samples: of all such statements ever made, at most a share eta of
    the wrong kind is wrong. It says nothing about any other distribution, nor that no input violates.

    Args:
        status: accepted, rejected or undecided.
        samples, violations: n, and how many of them violate.
        epsilon, eta: what was asked: is P(violation) <= epsilon, with confidence 1 - eta?
        lower, upper: bounds on P(violation), each with confidence 1 - eta.
        test: "fixed" or "sequential"; the bounds of the latter hold at any time of stopping. Or "proof".
        limit: the most samples.
        distribution: what reproduces it; `text` is for people.
        seed: with the hashes and the distribution it gives the same samples.
        network_sha256, property_sha256: of what it is about.
        names: of network and property, for people.
        evaluation: what computed the outputs.
        alone: how many samples were run by themselves on the network's own file.
        counterexamples: some of the violations, the worst first.
        spent: the share of eta that the test may be wrong with. Where several candidates of a repair are
            tested, their shares add up to 1, so that the one that is accepted is wrongly so with probability
            at most eta.
        part: where only the part was sampled on which the property is not proved.
        seconds: what it took, by the clock.
        notes: what the reader should know besides.
    """

    status: SampleStatus
    samples: int
    violations: int
    epsilon: float
    eta: float
    lower: float
    upper: float
    test: str
    limit: int
    distribution: Mapping[str, Any]
    seed: int
    network_sha256: str
    property_sha256: str
    names: tuple[str, str]
    evaluation: str
    alone: int
    counterexamples: tuple[Counterexample, ...] = ()
    part: Part | None = None
    spent: float = 1.0
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def accepted(self) -> bool:
        """Whether P(violation) <= epsilon is stated."""
        return self.status is SampleStatus.ACCEPTED

    @property
    def estimate(self) -> float | None:
        """The share of violations among the samples; None without samples."""
        return self.violations / self.samples if self.samples else None

    @property
    def samples_per_minute(self) -> float:
        """The speed; NaN where no time was measured."""
        return 60 * self.samples / self.seconds if self.seconds else math.nan

    @property
    def overall(self) -> float:
        """The upper bound for the whole of the regions: with a proved part, the bound times the open share.

        Boxes of several conjunctions may overlap, and their share be more than 1: then an input uniform on
        them violates less often than one uniform on the regions may.
        """
        return self.upper if self.part is None else min(1.0, self.part.share * self.upper)

    @property
    def where(self) -> str:
        """Which share of the regions' volume was sampled, and which is proved, in words."""
        if self.part is None:
            return "on all of the volume"
        share = min(1.0, self.part.share)
        return f"on {share:.4%} of the volume, the other {1 - share:.4%} proved"

    def __bool__(self) -> bool:
        raise TypeError("a Statement has no truth value: compare statement.status with SampleStatus.ACCEPTED")

    def __repr__(self) -> str:
        return f"<Statement {self.status}: {self.claim}; {self.counts}>"

    def _repr_html_(self) -> str:
        kind = {SampleStatus.ACCEPTED: "good", SampleStatus.REJECTED: "bad"}.get(self.status, "open")
        rows = {
            "samples": self.samples,
            "violations": self.violations,
            "P(violation) at most": self.upper,
            "P(violation) at least": self.lower,
            "each with confidence": 1 - self.eta,
            "test": self.test,
            "inputs": str(self.distribution.get("text", "")),
            "seconds": round(self.seconds, 2),
        }
        shown = "no proof" if self.test != "proof" else "a proof"
        return result_html(
            kind, str(self.status), f"{self.claim}; {shown}, for this distribution alone", rows
        )

    @property
    def claim(self) -> str:
        """The statement in short."""
        if self.test == "proof":
            return "P(violation) = 0, proved"
        where = "" if self.part is None else " on the open part"
        sure = f"with confidence {1 - self.eta:.6g}"
        match self.status:
            case SampleStatus.ACCEPTED:
                return f"P(violation) <= {self.epsilon:g}{where} {sure}"
            case SampleStatus.REJECTED:
                return f"P(violation) > {self.epsilon:g}{where} {sure}"
            case _:
                return f"not decided whether P(violation) <= {self.epsilon:g}{where}"

    @property
    def counts(self) -> str:
        """How many samples violate, in words."""
        return f"{self.violations} of {counted(self.samples, 'sample')} violate"

    def sentences(self) -> tuple[str, ...]:
        """What is stated, by what test, for which inputs, and who computed."""
        if self.test == "proof":
            return (
                f"No input of the property's regions violates: nothing was sampled, by {self.evaluation}",
            )
        span = "whenever the sampling stops" if self.test == "sequential" else "for this number of samples"
        lines = [
            f"{self.claim[0].upper()}{self.claim[1:]}: {self.counts}; {self.test} test, whose bounds hold "
            f"{span}: "
            f"P(violation) <= {self.upper:.6g} and P(violation) >= {self.lower:.6g}, each with confidence "
            f"{1 - self.eta:.6g}.",
            f"Inputs: {self.distribution['text']}; seed {self.seed}.",
            f"Evaluated by {self.evaluation} ({self.alone} of {self.samples} by themselves).",
        ]
        if self.part is not None:
            lines.insert(
                1,
                f"Proved, in real arithmetic, on {max(0.0, 1 - self.part.share):.4%} of the volume; sampled "
                f"on the "
                f"other {min(1.0, self.part.share):.4%} "
                f"({counted(len(self.part.boxes), 'open box', 'open boxes')}{_over(self.part)}): in "
                f"all at most {self.overall:.6g} of the volume violates, with that confidence.",
            )
        if self.spent < 1:
            lines.append(
                f"Tested at the level {self.eta * self.spent:.3g}: other candidates of the repair have the "
                f"rest of eta."
            )
        return (*lines, *self.notes)

    def save(self, path: str | Path) -> None:
        """Write it as a certificate, which `repairsolver check` samples anew.

        Raises:
            CertificateError: the distribution is a function, which no file can hold.
            OSError: the file cannot be written.
        """
        from repairsolver.sampling.certificate import write_statement

        write_statement(self, path)
