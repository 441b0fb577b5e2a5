"""Windows that slide over the spatial axes: the geometry that convolution and pooling share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from repairsolver.network.lowering.builder import Call, RefusedError, affordable
from repairsolver.network.operators import Indices


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, strides, dilations and paddings per spatial axis, and how often the window fits.

    `pads` are what the file declares; `overhang` is what the last window reaches beyond them
    (only with ceil_mode).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    target: tuple[int, ...]
    overhang: tuple[int, ...]

    @property
    def reach(self) -> tuple[tuple[int, int], ...]:
        """The paddings, overhang included."""
        return tuple((a, b + more) for (a, b), more in zip(self.pads, self.overhang, strict=True))

    def padded(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial axes with their paddings."""
        return tuple(n + a + b for n, (a, b) in zip(sizes, self.reach, strict=True))

    def over(self, values: NDArray[np.int64]) -> Indices:
        """All windows over padded values [*lead, *s]: [*lead, *target, *kernel]."""
        lead = values.ndim - len(self.kernel)
        extent = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        views = sliding_window_view(values, extent, axis=tuple(range(lead, values.ndim)))
        steps = tuple(slice(None, s * t, s) for s, t in zip(self.strides, self.target, strict=True))
        taps = tuple(slice(None, None, d) for d in self.dilations)
        return views[(*(slice(None),) * lead, *steps, *taps)]


def window_of(call: Call, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> Window:
    """The window of a node over spatial axes of these sizes.

    With extent e = (k - 1) d + 1, padding p and stride s, an axis of n entries has
    floor((n + p - e) / s) + 1 windows (ceil with ceil_mode, but none that starts in the padding
    behind the entries). auto_pad SAME pads so that there are ceil(n / s) windows of extent k: dilations are
    not counted, as onnxruntime does not, so that dilated windows are fewer.
    """
    rank = len(sizes)
    strides = call.integers("strides") or (1,) * rank
    dilations = call.integers("dilations") or (1,) * rank
    declared = call.integers("pads") or (0,) * (2 * rank)
    if not len(kernel) == len(strides) == len(dilations) == len(declared) // 2 == rank:
        raise RefusedError(f"its kernel, strides, dilations or pads do not fit {rank} spatial axes")
    if min(kernel) < 1 or min(strides) < 1 or min(dilations) < 1 or min(declared) < 0:
        raise RefusedError("its kernel, strides, dilations or pads are out of range")
    auto = padding_of(call)
    ceil = bool(call.integer("ceil_mode", 0))
    axes = [
        along(n, k, s, d, (declared[i], declared[i + rank]), auto, ceil)
        for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True))
    ]
    pads, target = tuple(p for p, _ in axes), tuple(t for _, t in axes)
    overhang = tuple(
        max(0, (t - 1) * s + (k - 1) * d + 1 - (n + a + b))
        for t, s, k, d, n, (a, b) in zip(target, strides, kernel, dilations, sizes, pads, strict=True)
    )
    window = Window(kernel, strides, dilations, pads, target, overhang)
    affordable(window.padded(sizes))
    return window


def padding_of(call: Call) -> str:
    return call.text("auto_pad", "NOTSET")


def same(n: int, k: int, s: int) -> int:
    """What auto_pad SAME adds to n entries for a kernel k and stride s; negative where it would crop."""
    return (-(-n // s) - 1) * s + k - n


def along(
    n: int, k: int, s: int, d: int, declared: tuple[int, int], auto: str, ceil: bool
) -> tuple[tuple[int, int], int]:
    """Padding and number of windows on one axis."""
    extent = (k - 1) * d + 1
    match auto:
        case "SAME_UPPER" | "SAME_LOWER":
            total = max(0, same(n, k, s))
            small, large = total // 2, total - total // 2
            pads = (small, large) if auto == "SAME_UPPER" else (large, small)
        case "VALID" | "NOTSET" | "":
            pads = (0, 0) if auto == "VALID" else declared
        case _:
            raise RefusedError(f"its auto_pad {auto!r} is not known")
    room = n + sum(pads) - extent
    if room < 0:
        raise RefusedError(
            f"its window of extent {extent} does not fit an axis of {n} entries with pads {pads}"
        )
    count = (-(-room // s) if ceil else room // s) + 1
    if ceil and (count - 1) * s >= n + pads[0]:
        count -= 1
    return pads, count
