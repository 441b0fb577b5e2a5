"""Layers that can be inserted between two others, and which of them lead from one shape to another."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, prod
from typing import Any

from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Framework, Shape

Way = tuple[Shape, tuple[Edit, ...]]
GROWTH, SMALL = 4, 8
"""Padding and upsampling lead to at most four times the size of an axis, or to eight positions: beyond that
nearly all that a layer reads would be zeros or copies."""


class Adapters:
    """What can be inserted on one edge.

    Args:
        framework: whose layers are inserted.
        costs: their prices.
        layer: the layer that is fed, or the output.
        slot: which of its inputs; -1: behind the output.
        pools: whether a global pool may be inserted here.
    """

    def __init__(self, framework: Framework, costs: Costs, layer: str, slot: int, pools: bool = True) -> None:
        self.keras, self.onnx = framework == "keras", framework == "onnx"
        self.costs = costs
        self.layer, self.slot, self.pools = layer, slot, pools

    def anywhere(self, shape: Shape) -> Iterator[Way]:
        """Insertions that make sense without a target: flatten and pool away all positions."""
        if len(shape) > 1:
            yield (prod(shape),), (self._edit("Flatten", "Flatten", {}),)
            yield from self._global(shape)

    def ranked(self, shape: Shape, rank: int) -> Iterator[Way]:
        """Reshapes to another rank that keep the order of the elements and most axes."""
        for target in dict.fromkeys(_targets(shape, rank)):
            yield target, (self._reshape(shape, target),)

    def squared(self, shape: Shape, channels: int) -> Iterator[Way]:
        """The elements as a square image with that many channels."""
        total = prod(shape)
        side = isqrt(total // channels)
        if channels and side * side * channels == total and side > 1:
            target = (side, side, channels) if self.keras else (channels, side, side)
            if target != shape:
                yield target, (self._reshape(shape, target),)

    def bridge(self, shape: Shape, target: Shape) -> Iterator[Way]:
        """Insertions that turn one shape into the other."""
        if shape == target:
            yield target, ()
            return
        if sorted(shape) == sorted(target) and len(shape) > 1 and shape != target:
            yield target, (self._permute(shape, target),)
        if prod(shape) == prod(target):
            kind = "Flatten" if len(target) == 1 else None
            yield target, (self._edit("Flatten", "Flatten", {}) if kind else self._reshape(shape, target),)
            return
        if len(shape) != len(target):
            for middle in dict.fromkeys(_targets(shape, len(target))):
                for end, rest in self._resized(middle, target):
                    yield end, (self._reshape(shape, middle), *rest)
            return
        yield from self._resized(shape, target)

    def _resized(self, shape: Shape, target: Shape) -> Iterator[Way]:
        """Same rank: sizes first, then the width."""
        if shape == target:
            yield target, ()
            return
        (have, wide), (want, width) = self.split(shape), self.split(target)
        if have == want:
            yield target, (self._project(wide, width, len(shape)),)
            return
        for edit in self._spatial(have, want):
            yield target, (edit,) if wide == width else (edit, self._project(wide, width, len(shape)))
        if wide != width:
            for edit in self._steps(have, want, wide, width):
                yield target, (edit,)

    def _spatial(self, have: Shape, want: Shape) -> Iterator[Edit]:
        pairs = list(zip(have, want, strict=True))
        dims = len(have)
        if not 1 <= dims <= 3:
            return
        grown = all(n <= m <= max(GROWTH * n, SMALL) for n, m in pairs)
        if grown:
            price = "LargePad" if any(4 * (m - n) > m for n, m in pairs) and max(want) > 4 else "Pad"
            yield self._padding(price, "ZeroPadding{}D", "padding", [m - n for n, m in pairs])
        kept = self.costs.collapse or all(m > 1 or n == 1 for n, m in pairs)
        if kept and all(n >= m for n, m in pairs):
            price = "LargeCrop" if any(4 * (n - m) > n for n, m in pairs) and max(have) > 4 else "Crop"
            yield self._padding(price, "Cropping{}D", "cropping", [n - m for n, m in pairs])
        if self.keras and grown and all(m % n == 0 for n, m in pairs):
            price = "Upsample" if all(m <= 2 * n for n, m in pairs) else "LargeUpsample"
            yield self._edit(price, f"UpSampling{dims}D", {"size": tuple(m // n for n, m in pairs)})
        if self.keras and kept and all(n % m == 0 for n, m in pairs) and any(m > 1 for m in want):
            args = {"pool_size": tuple(n // m for n, m in pairs)}
            yield self._edit("Pool", f"MaxPooling{dims}D", args)

    def _padding(self, price: str, kind: str, name: str, amounts: list[int]) -> Edit:
        """Evenly, the odd one at the end; torch counts the last axis first, and crops by negative amounts."""
        amounts = amounts if self.keras else amounts[::-1]
        halves = tuple(part for a in amounts for part in (a // 2, a - a // 2))
        if self.keras:
            return self._edit(price, kind.format(len(amounts)), {name: halves})
        sign = 1 if "Pad" in price else -1
        return self._edit(price, f"ZeroPad{len(amounts)}d", {"padding": tuple(sign * h for h in halves)})

    def _global(self, shape: Shape) -> Iterator[Way]:
        if self.keras and self.pools and 2 <= len(shape) <= 4:
            kind = f"GlobalAveragePooling{len(shape) - 1}D"
            yield (shape[-1],), (self._edit("GlobalPool", kind, {}),)

    def direct(self, shape: Shape, target: Shape) -> tuple[Edit, ...]:
        """The cheapest single insertion that leads from one shape to the other; empty where none does."""
        ways = [edits for end, edits in (*self.bridge(shape, target), *self.anywhere(shape)) if end == target]
        if prod(shape) == prod(target):
            ways.append((self._reshape(shape, target),))
        if len(shape) == len(target):
            (have, wide), (want, width) = self.split(shape), self.split(target)
            ways += [(edit,) for edit in self._steps(have, want, wide, width)]
        single = [way for way in ways if len(way) == 1]
        return min(single, key=lambda way: way[0].cost, default=())

    def _steps(self, have: Shape, want: Shape, wide: int, width: int) -> Iterator[Edit]:
        """A strided 1x1 convolution where its strides give these sizes."""
        kept = self.costs.collapse or all(m > 1 or n == 1 for n, m in zip(have, want, strict=True))
        if kept and len(have) in (1, 2, 3):
            steps = tuple(-(-n // m) for n, m in zip(have, want, strict=True))
            if all(-(-n // s) == m for n, s, m in zip(have, steps, want, strict=True)):
                yield self._strided(wide, width, steps)

    def split(self, shape: Any) -> tuple[Any, Any]:
        """(sizes, width)."""
        return (shape[:-1], shape[-1]) if self.keras else (shape[1:], shape[0])

    def _join(self, sizes: Shape, width: int) -> Shape:
        return (*sizes, width) if self.keras else (width, *sizes)

    def _project(self, wide: int, width: int, rank: int) -> Edit:
        if self.keras:
            return self._edit("Project", "Dense", {"units": width})
        if rank == 1:
            return self._edit("Project", "Linear", {"in_features": wide, "out_features": width})
        args = {"in_channels": wide, "out_channels": width, "kernel_size": (1,) * (rank - 1)}
        return self._edit("Project", f"Conv{rank - 1}d", args)

    def _strided(self, wide: int, width: int, steps: Shape) -> Edit:
        ones = (1,) * len(steps)
        if self.keras:
            args: dict[str, Any] = {"filters": width, "kernel_size": ones, "strides": steps}
            return self._edit("Stride", f"Conv{len(steps)}D", args)
        args = {"in_channels": wide, "out_channels": width, "kernel_size": ones, "stride": steps}
        return self._edit("Stride", f"Conv{len(steps)}d", args)

    def _reshape(self, shape: Shape, target: Shape) -> Edit:
        # An axis of size 1 at the end is a channel, in front it is a position that nothing fills.
        awkward = 0.0 if target[: len(shape)] == shape else 0.5
        price = "Scramble" if len(shape) == len(target) else "Reshape"
        if self.keras:
            return self._edit(price, "Reshape", {"target_shape": target}, awkward)
        return self._edit(price, "View", {"shape": (-1, *target)}, awkward)

    def _permute(self, shape: Shape, target: Shape) -> Edit:
        left = list(range(len(shape)))
        order = []
        for size in target:
            place = next(i for i in left if shape[i] == size)
            left.remove(place)
            order.append(place + 1)
        dims = tuple(order) if self.keras else (0, *order)
        return self._edit("Permute", "Permute", {"dims": dims})

    def _edit(self, price: str, kind: str, args: dict[str, Any], size: float = 0.0) -> Edit:
        cost = self.costs.adapters[price]
        if self.onnx:
            kind, args = onnx_layer(kind, args)
        return Edit("insert", self.layer, kind, args, cost, size, self.slot)


def onnx_layer(kind: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An inserted torch layer as the ONNX operator that does the same."""
    if kind == "View":
        return "Reshape", {"shape": args["shape"]}
    if kind == "Permute":
        return "Transpose", {"perm": args["dims"]}
    if kind == "Linear":
        return "Gemm", args
    if kind.startswith("ZeroPad"):
        pairs = list(zip(args["padding"][::2], args["padding"][1::2], strict=True))[::-1]
        return "Pad", {"pads": (0, *(a for a, _ in pairs), 0, *(b for _, b in pairs))}
    if kind.startswith("Conv"):
        names = {"kernel_size": "kernel_shape", "stride": "strides"}
        return kind, {names.get(name, name): value for name, value in args.items()}
    return kind, args


def _targets(shape: Shape, rank: int) -> Iterator[Shape]:
    have = len(shape)
    if rank > have:
        yield (*shape, *(1,) * (rank - have))
        yield (*(1,) * (rank - have), *shape)
        if have == 2 and rank == 3:
            yield (shape[0], 1, shape[1])
    elif 1 <= rank < have:
        ones = [size for size in shape if size > 1]
        if len(ones) <= rank:
            yield (*ones, *(1,) * (rank - len(ones)))
        yield (*shape[: rank - 1], prod(shape[rank - 1 :]))
        yield (prod(shape[: have - rank + 1]), *shape[have - rank + 1 :])
