"""Few parameters instead of many prices: one level for each class of edits, held close to a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2

CLASSES: Mapping[str, tuple[str, ...]] = {
    "follows": ("roles.derived", "declared", "width_of_weights"),
    "switches": (
        *("roles.flag", "roles.padding", "roles.amount", "roles.groups"),
        *("layout", "layout_mixed"),
    ),
    "targets": ("roles.target", "target_total"),
    "reshapes": ("adapters.Flatten", "adapters.Reshape"),
    "axes": ("adapters.Permute", "input_layout", "transpose", "layout_layer", "layout_one"),
    "resizes": (
        *("adapters.Pad", "adapters.Crop", "adapters.Upsample", "adapters.Pool"),
        *("adapters.Project", "adapters.GlobalPool", "roles.border"),
    ),
    "distorts": (
        *("adapters.Scramble", "adapters.LargePad", "adapters.LargeCrop", "adapters.Stride"),
        *("weights", "unpad"),
    ),
    "intent": ("roles.dilation", "roles.stride", "roles.kernel", "roles.pool", "roles.width"),
    "structure": ("remove", "sibling", "rewire"),
    "global pools": ("remove_global_pool",),
}
"""Edits that mean much the same to a user, by the names of their prices."""

TIERS: Mapping[str, int] = {
    "follows": 2,
    "switches": 4,
    "targets": 4,
    "reshapes": 5,
    "axes": 5,
    "resizes": 6,
    "distorts": 8,
    "intent": 10,
    "structure": 12,
    "global pools": 12,
}
"""What the literature says of intent, before any case is looked at: what follows is cheap, widths, kernels
and strides are dear, removing is dearer than changing an argument."""

Levels = Mapping[str, float]
Prices = dict[str, int]
FACTORS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0)


def tiers(levels: Levels) -> Prices:
    """The same price for all edits of a class."""
    return {name: round(10 * TIERS[c] * level) for c, level in levels.items() for name in CLASSES[c]}


def scaled(base: Mapping[str, int], levels: Levels) -> Prices:
    """The prices of `base`, a factor for each class."""
    return {name: round(10 * base[name] * level) for c, level in levels.items() for name in CLASSES[c]}


def held_close(
    prices: Callable[[Levels], Prices], value: Callable[[Prices], float], strength: float
) -> Prices:
    """Factors from 1 on, the best change first, as long as it gains more than it is away from the start.

    Maximises value(p) - strength sum over classes |log2(factor)|.

    Args:
        prices: factors to prices.
        value: cases won; larger is better.
        strength: cases that a factor of 2 must win.
    """
    levels = dict.fromkeys(CLASSES, 1.0)

    def worth(trial: Levels) -> float:
        return value(prices(trial)) - strength * sum(abs(log2(level)) for level in trial.values())

    best = worth(levels)
    while True:
        trials: Sequence[dict[str, float]] = [{**levels, c: f} for c in CLASSES for f in FACTORS]
        found = max(trials, key=worth)
        if worth(found) <= best + 1e-9:
            return prices(levels)
        levels, best = found, worth(found)
