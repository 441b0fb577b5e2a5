"""The frontier of a search over boxes: what is open, and the state between two rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.backward import HalfSpace
from repairsolver.results import OpenBoxes
from repairsolver.verification.query import Queries
from repairsolver.verification.record import Mark, Record


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Boxes that are not proved yet.

    Args:
        lower, upper: [b, n].
        query: which query each belongs to, [b].
        known: pre-activation bounds inherited from the parents, by position.
        cut: a violation in the box can only lie in this half-space.
        bound: proved lower bound of max_r g_r over each box (at most 0), [b].
        number: of the box in the record of the proof, [b].
    """

    lower: Tensor
    upper: Tensor
    query: Tensor
    known: dict[int, tuple[Tensor, Tensor]]
    cut: HalfSpace
    bound: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    def __getitem__(self, index: slice | Tensor) -> Open:
        known = {k: (low[index], high[index]) for k, (low, high) in self.known.items()}
        cut = HalfSpace(self.cut.slope[index], self.cut.shift[index])
        lower, upper, query = self.lower[index], self.upper[index], self.query[index]
        return Open(lower, upper, query, known, cut, self.bound[index], self.number[index])

    @property
    def bytes(self) -> int:
        """What the boxes hold in memory."""
        entries = 3 * self.lower.shape[1] + sum(2 * low.shape[1] for low, _ in self.known.values())
        return 8 * len(self) * (entries + 4)


def merge(parts: list[Open]) -> Open:
    """All boxes of several parts, in order."""
    if len(parts) == 1:
        return parts[0]
    known = {
        k: (torch.cat([p.known[k][0] for p in parts]), torch.cat([p.known[k][1] for p in parts]))
        for k in parts[0].known
    }
    columns = ("lower", "upper", "query", "bound", "number")
    lower, upper, query, bound, number = (torch.cat([getattr(p, name) for p in parts]) for name in columns)
    cut = HalfSpace(torch.cat([p.cut.slope for p in parts]), torch.cat([p.cut.shift for p in parts]))
    return Open(lower, upper, query, known, cut, bound, number)


def listed(parts: list[Open]) -> OpenBoxes:
    """Open boxes as a verdict shows them."""
    if not parts:
        return OpenBoxes(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0, dtype=np.int64), np.zeros(0))

    def column(name: str) -> np.ndarray:
        return torch.cat([getattr(part, name) for part in parts]).cpu().numpy()

    return OpenBoxes(column("lower"), column("upper"), column("query"), column("bound"))


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A search between two rounds: it never changes, a round makes the next one.

    Args:
        stack: boxes to examine, the next ones last.
        narrow: boxes that are too narrow to be split, or tied (see `ties`), left to exact methods.
        hottest: the largest violation (negative: distance to one) measured at a centre so far.
        record: of the proof, valid up to `mark`.
    """

    queries: Queries
    stack: tuple[Open, ...]
    narrow: tuple[Open, ...] = ()
    examined: int = 0
    least_proved: float = math.inf
    hottest: float = -math.inf
    record: Record | None = None
    mark: Mark = Mark()  # noqa: RUF009 - frozen

    @property
    def parts(self) -> list[Open]:
        """Everything that is not proved."""
        return [part for part in (*self.stack, *self.narrow) if len(part)]

    @property
    def count(self) -> int:
        """How many boxes are open."""
        return sum(map(len, self.parts))

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    def proved(self) -> float:
        """The share of the queries' volume that is proved, 0 to 1."""
        asked, total = self.queries, 0.0
        flat = asked.upper <= asked.lower
        span = (asked.upper - asked.lower).clamp(min=torch.finfo(asked.lower.dtype).tiny)
        for part in self.parts:
            share = torch.where(flat[part.query], 1.0, (part.upper - part.lower) / span[part.query])
            total += float(share.prod(dim=1).sum())
        return max(0.0, 1 - total / len(asked))

    def bound(self) -> float:
        """The least proved bound among open boxes; infinite when none is open."""
        return min((float(part.bound.min()) for part in self.parts), default=math.inf)

    def open_boxes(self) -> OpenBoxes:
        return listed(self.parts)
