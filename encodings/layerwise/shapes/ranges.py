"""Sets of integers as arrays of intervals, on which the layer rules run as they do on numbers and z3 terms.

An operation on ranges contains every value that the operation has on their members (interval arithmetic), and
a comparison says of each entry whether it may hold and whether it must. So a rule on ranges is a relaxation:
what it refuses fails for all members.

Source: Cousot and Cousot, "Abstract interpretation", POPL 1977, for the interval domain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

EXACT = 2.0**50
"""Products beyond this are not exact: upper bounds there become infinite, lower ones this."""


@dataclass(frozen=True, eq=False)
class Possible:
    """Of each entry, whether a condition may hold and whether it must."""

    may: Flags
    must: Flags

    def __bool__(self) -> bool:
        raise TypeError("a condition on ranges is neither true nor false: use every, some or choose")

    def negated(self) -> Possible:
        """The opposite condition."""
        return Possible(~self.must, ~self.may)


def _finite(product: Numbers) -> Numbers:
    """0 times infinity is 0: a range holds no infinite member."""
    return np.where(np.isnan(product), 0.0, product)


@dataclass(frozen=True, eq=False)
class Range:
    """Entrywise, all integers from `low` to `high`, which may be infinite."""

    low: Numbers
    high: Numbers

    @classmethod
    def of(cls, value: Any) -> Range:
        """A range; of a number the one with that member alone."""
        if isinstance(value, Range):
            return value
        return cls(np.asarray(float(value)), np.asarray(float(value)))

    @classmethod
    def hull(cls, low: Numbers, high: Numbers) -> Range:
        """The range with these bounds, widened where they are too large for exact arithmetic."""
        high = np.where(high > EXACT, np.inf, np.where(high < -EXACT, -EXACT, high))
        low = np.where(low < -EXACT, -np.inf, np.where(low > EXACT, EXACT, low))
        return cls(low, high)

    @property
    def exact(self) -> Flags:
        """Where there is one member."""
        return np.asarray(self.low == self.high)

    def __add__(self, other: Any) -> Range:
        o = Range.of(other)
        return Range.hull(self.low + o.low, self.high + o.high)

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low)

    def __sub__(self, other: Any) -> Range:
        return self + -Range.of(other)

    def __rsub__(self, other: Any) -> Range:
        return Range.of(other) - self

    def __mul__(self, other: Any) -> Range:
        o = Range.of(other)
        with np.errstate(invalid="ignore"):
            corners = [_finite(a * b) for a in (self.low, self.high) for b in (o.low, o.high)]
        return Range.hull(_least(corners), _most(corners))

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Range:
        """floor(a / b) of the members with b >= 1."""
        o = Range.of(other)
        below, above = np.maximum(o.low, 1), np.maximum(o.high, 1)
        with np.errstate(invalid="ignore"):
            corners = [_quotient(a, b) for a in (self.low, self.high) for b in (below, above)]
        return Range.hull(_least(corners), _most(corners))

    def __rtruediv__(self, other: Any) -> Range:
        return Range.of(other) / self

    def __le__(self, other: Any) -> Possible:
        o = Range.of(other)
        return Possible(self.low <= o.high, self.high <= o.low)

    def __lt__(self, other: Any) -> Possible:
        o = Range.of(other)
        return Possible(self.low < o.high, self.high < o.low)

    def __ge__(self, other: Any) -> Possible:
        below: Possible = self < other
        return below.negated()

    def __gt__(self, other: Any) -> Possible:
        below: Possible = self <= other
        return below.negated()

    def __eq__(self, other: object) -> Possible:  # type: ignore[override]
        o = Range.of(other)
        same = self.exact & o.exact & (self.low == o.low)
        return Possible((self.low <= o.high) & (o.low <= self.high), same)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        # Messages of rules are built for ranges too, and thrown away: numbers would cost more than the rules.
        return f"<{self.low.size} ranges>"


def _least(corners: list[Numbers]) -> Numbers:
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*corners)))


def _most(corners: list[Numbers]) -> Numbers:
    return np.asarray(np.maximum.reduce(np.broadcast_arrays(*corners)))


def _quotient(a: Numbers, b: Numbers) -> Numbers:
    """Towards infinity a quotient of infinities is as far as its numerator; finite by infinite is 0 or -1."""
    both = np.isinf(a) & np.isinf(b)
    return np.where(both, np.where(a > 0, 0.0, -1.0), np.floor(a / b))


def divides_range(divisor: Any, number: Any) -> Possible:
    """Whether a divisor that is at least 1 divides a number; precise where the divisor is exact."""
    d, n = Range.of(divisor), Range.of(number)
    whole = np.maximum(d.low, 1)
    known = d.exact & (d.low >= 1)
    with np.errstate(invalid="ignore"):
        multiple = np.where(np.isinf(n.high), True, np.floor(n.high / whole) * whole >= n.low)
        must = known & n.exact & (np.mod(n.low, whole) == 0)
    return Possible((d.high >= 1) & np.where(known, multiple, True), must)


def choose_range(condition: Possible, yes: Any, no: Any) -> Range:
    """Entrywise one, the other, or what holds both."""
    a, b = Range.of(yes), Range.of(no)
    low = np.where(condition.must, a.low, np.where(condition.may, np.minimum(a.low, b.low), b.low))
    high = np.where(condition.must, a.high, np.where(condition.may, np.maximum(a.high, b.high), b.high))
    return Range(low, high)


def join_possible(conditions: Iterable[Possible], conjunction: bool) -> Possible:
    """The conjunction or the disjunction."""
    listed = list(conditions)
    join = np.logical_and if conjunction else np.logical_or
    may = join.reduce(np.broadcast_arrays(*(c.may for c in listed)))
    must = join.reduce(np.broadcast_arrays(*(c.must for c in listed)))
    return Possible(may, must)
