"""What inserted layers can do on one edge, as z3 terms: reshape, then change the sizes, then the width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations
from typing import Any

import z3

from layerwise.shapes.terms import product as elements
from repairsolver.architecture.adapters import GROWTH, SMALL, Adapters
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Shape

RANKS = (1, 2, 3, 4)
"""Ranks that tensors have unless more are asked for."""


_WINDOWED = (2, 3, 4)
"""Ranks that layers with windows take."""


def equal(shape: Sequence[Any], other: Sequence[Any]) -> Any:
    """Equality of two shapes as a term."""
    if len(shape) != len(other):
        return z3.BoolVal(False)
    return z3.And(*(a == b for a, b in zip(shape, other, strict=True)))


class Tensor:
    """A shape of unknown rank: the first `rank` sizes count."""

    def __init__(self, solver: Any, name: str, ranks: tuple[int, ...] = RANKS) -> None:
        self.rank, self.ranks = z3.Int(f"{name}.rank"), ranks
        self.sizes = [z3.Int(f"{name}.{axis}") for axis in range(max(ranks))]
        solver.add(self.rank >= 1, self.rank <= max(ranks), *(size >= 1 for size in self.sizes))

    def shape(self, rank: int) -> tuple[Any, ...]:
        """The sizes at that rank."""
        return tuple(self.sizes[:rank])

    def equals(self, shape: Sequence[Any]) -> Any:
        """That the tensor has this shape."""
        if len(shape) not in self.ranks:
            return z3.BoolVal(False)
        return z3.And(self.rank == len(shape), equal(self.shape(len(shape)), tuple(shape)))

    def same(self, other: Tensor) -> Any:
        """That two tensors have one shape."""
        return z3.Or(*(z3.And(self.rank == r, other.equals(self.shape(r))) for r in self.ranks))

    def count(self) -> Any:
        """The number of elements."""
        total = elements(self.shape(1))
        for rank in self.ranks[1:]:
            total = z3.If(self.rank == rank, elements(self.shape(rank)), total)
        return total

    def value(self, found: Any) -> Shape:
        """Its shape in an assignment."""
        numbers = [found.eval(t, model_completion=True).as_long() for t in (self.rank, *self.sizes)]
        return tuple(numbers[1 : numbers[0] + 1])


class Slot:
    """One edge with room for inserted layers: source, then reshaped, then resized, then the end.

    Args:
        solver: where the constraints go.
        source: the tensor that comes in.
        adapters: what can be inserted here, with prices.
        name: unique.
        budget: dearer insertions are left out.
    """

    def __init__(self, solver: Any, source: Tensor, adapters: Adapters, name: str, budget: int) -> None:
        self.solver, self.adapters, self.budget = solver, adapters, budget
        self.prices: list[tuple[Any, int]] = []
        self.tensors = [source]
        price = adapters.costs.adapters
        if min(price.values()) <= budget:
            for stage, options in enumerate((self._reshaped, self._resized, self._projected)):
                self.tensors.append(Tensor(solver, f"{name}.{stage}", source.ranks))
                self._choose(f"{name}.{stage}", list(options(*self.tensors[-2:])))
        self.end = self.tensors[-1]

    def edits(self, found: Any) -> Iterator[Edit]:
        """The insertions that an assignment stands for."""
        shapes = [tensor.value(found) for tensor in self.tensors]
        for before, after in pairwise(shapes):
            if before != after:
                yield from self.adapters.direct(before, after)

    def _choose(self, name: str, options: list[tuple[int, Any]]) -> None:
        flags = []
        for number, (cost, holds) in enumerate(options):
            if cost <= self.budget:
                flag = z3.Bool(f"{name}.{number}")
                self.solver.add(z3.Implies(flag, holds))
                flags.append(flag)
                self.prices += [(flag, cost)] * (cost > 0)
        self.solver.add(z3.PbEq([(flag, 1) for flag in flags], 1))

    def _reshaped(self, a: Tensor, b: Tensor) -> Iterator[tuple[int, Any]]:
        price = self.adapters.costs.adapters
        yield 0, a.same(b)
        yield min(price["Flatten"], price["Reshape"]), z3.And(a.rank != b.rank, a.count() == b.count())
        yield price["Permute"], z3.And(a.rank == b.rank, self._permuted(a, b))
        yield price["Scramble"], z3.And(a.rank == b.rank, a.count() == b.count())
        if self.adapters.keras and self.adapters.pools:
            yield (
                price["GlobalPool"],
                z3.Or(*(z3.And(a.rank == r, b.equals(a.shape(r)[-1:])) for r in _WINDOWED)),
            )

    def _permuted(self, a: Tensor, b: Tensor) -> Any:
        return z3.Or(
            *(z3.And(a.rank == r, b.equals(order)) for r in a.ranks[1:] for order in permutations(a.shape(r)))
        )

    def _resized(self, a: Tensor, b: Tensor) -> Iterator[tuple[int, Any]]:
        yield 0, a.same(b)
        for rank in _WINDOWED:
            (have, wide), (want, width) = (
                self.adapters.split(a.shape(rank)),
                self.adapters.split(b.shape(rank)),
            )
            at = z3.And(a.rank == rank, b.rank == rank, wide == width)
            for cost, holds in self._sizes(list(zip(have, want, strict=True))):
                yield cost, z3.And(at, holds)

    def _sizes(self, pairs: list[tuple[Any, Any]]) -> Iterator[tuple[int, Any]]:
        price = self.adapters.costs.adapters
        bounded = (z3.And(m >= n, z3.Or(m <= GROWTH * n, m <= SMALL)) for n, m in pairs)
        grown, shrunk = z3.And(*bounded), z3.And(*(m <= n for n, m in pairs))
        some = z3.Or(*(m > 4 for _, m in pairs)), z3.Or(*(n > 4 for n, _ in pairs))
        far = z3.Or(*(4 * (m - n) > m for n, m in pairs)), z3.Or(*(4 * (n - m) > n for n, m in pairs))
        yield price["Pad"], z3.And(grown, z3.Not(z3.And(some[0], far[0])))
        yield price["LargePad"], grown
        shrunk = z3.And(shrunk, *(self._kept(n, m) for n, m in pairs))
        yield price["Crop"], z3.And(shrunk, z3.Not(z3.And(some[1], far[1])))
        yield price["LargeCrop"], shrunk
        if self.adapters.keras:
            multiples = z3.And(grown, *(m % n == 0 for n, m in pairs))
            yield price["Upsample"], z3.And(multiples, *(m <= 2 * n for n, m in pairs))
            yield price["LargeUpsample"], multiples
            whole = z3.And(shrunk, *(n % m == 0 for n, m in pairs))
            yield price["Pool"], z3.And(whole, z3.Or(*(m > 1 for _, m in pairs)))

    def _kept(self, size: Any, wanted: Any) -> Any:
        """That several positions do not become one."""
        return z3.BoolVal(True) if self.adapters.costs.collapse else z3.Or(wanted > 1, size <= 1)

    def _projected(self, a: Tensor, b: Tensor) -> Iterator[tuple[int, Any]]:
        price = self.adapters.costs.adapters
        yield 0, a.same(b)
        for rank in a.ranks if self.adapters.keras else RANKS:
            have, want = self.adapters.split(a.shape(rank))[0], self.adapters.split(b.shape(rank))[0]
            at = z3.And(a.rank == rank, b.rank == rank)
            yield price["Project"], z3.And(at, equal(have, want))
            if rank in _WINDOWED:
                yield (
                    price["Stride"],
                    z3.And(at, *(self._steps(n, m) for n, m in zip(have, want, strict=True))),
                )

    def _steps(self, size: Any, wanted: Any) -> Any:
        """ceil(n / s) = m for s = ceil(n / m): the stride that a 1x1 convolution would have."""
        stride = (size + wanted - 1) / wanted
        return z3.And(self._kept(size, wanted), wanted <= size, (size + stride - 1) / stride == wanted)
