"""An irreducible contradiction among what is asked of a repair, as data and as sentences."""

from __future__ import annotations

from dataclasses import dataclass

from repairsolver.results import Array, counted


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """One thing that is asked at one input.

    Args:
        source: "points", "keep" or "property".
        index: which of the given points it is, or None where it is a counterexample that was found.
        label: the decision that is asked for, or None for the property.
        beats: the output that the label has to beat; None for the property.
        part: of the property: "region 1, conjunction 2", counted from 1.
        input: [n].
    """

    source: str
    index: int | None
    label: int | None
    beats: int | None
    part: str
    input: Array

    @property
    def name(self) -> str:
        """What people call its input."""
        if self.index is None:
            shown = ", ".join(f"{value:.6g}" for value in self.input[:6])
            return f"the counterexample [{shown}{', ...' if len(self.input) > 6 else ''}]"
        return f"{self.source}[{self.index}]"

    def __str__(self) -> str:
        if self.label is None:
            return f"{self.name} must not violate {self.part} of the property"
        return f"{self.name} must decide {self.label} and not {self.beats}"


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """Demands that no change meets at once; without any one of them the others can be met.

    Args:
        ties: whether all of them could be met with equality, which is not enough.
        same: whether all of them see the same features, that is, inputs of the changed layer.
    """

    demands: tuple[Demand, ...]
    ties: bool
    same: bool

    def __str__(self) -> str:
        return " ".join(self.sentences())

    def sentences(self) -> tuple[str, ...]:
        """The contradiction for people, the reason first, one sentence for each demand."""
        return (self.reason, *(f"{demand}." for demand in self.demands))

    @property
    def reason(self) -> str:
        """Why they contradict each other, in one or two sentences."""
        names = " and ".join(dict.fromkeys(demand.name for demand in self.demands))
        if len(self.demands) == 2 and self._opposite():
            where = "at the same features" if self.same else "at features that cannot be told apart for it"
            return f"{names} ask for opposite orders {where}."
        count = counted(len(self.demands), "demand")
        equal = " At best all could be met with equality, which is not enough." if self.ties else ""
        if len(self.demands) == 1:
            return f"No change meets this demand.{equal}"
        where = " at the same features" if self.same else ""
        rest = "either" if len(self.demands) == 2 else f"any {len(self.demands) - 1} of them"
        return f"No change meets these {count}{where} at once, though one meets {rest}.{equal}"

    def _opposite(self) -> bool:
        first, second = self.demands
        wanted = (first.label, first.beats) == (second.beats, second.label)
        return wanted and first.label is not None
