"""What a caller may wish of a repair by gates."""

from __future__ import annotations

from dataclasses import dataclass

from repairsolver.errors import EditError

PLACES = ("auto", "inner", "output")


@dataclass(frozen=True, slots=True)
class Gating:
    """Wishes of a repair by gates.

    Args:
        place: "output": correct the scores; "inner": override hidden neurons; "auto": whichever keeps more.
        most: neurons that one gate may override; None for no limit.
        monitor: add an output that tells which gates are on.

    Raises:
        EditError: another place, or fewer than one neuron.
    """

    place: str = "auto"
    most: int | None = None
    monitor: bool = False

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise EditError(f"unknown place {self.place!r}: choose one of {', '.join(PLACES)}")
        if self.most is not None and self.most < 1:
            raise EditError(f"max_gates must be at least 1, got {self.most}")
