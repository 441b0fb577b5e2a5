"""What users are likely to mean: ten classes of edits, a level for each; two edits have several places."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TypeAlias

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

MOVED: Mapping[str, tuple[str, ...]] = {
    "adapters.LargeUpsample": ("resizes", "distorts", "structure"),
    "wide_padding": ("switches", "distorts"),
}
"""Edits that cases have moved, to the classes in which they have been: first that of what they are a large
kind of. Which one it is to be is chosen by `tuning`, on folds."""
Places: TypeAlias = tuple[str, ...]
PLACES: tuple[Places, ...] = tuple(product(*MOVED.values()))
"""A class for each edit in `MOVED`, in its order."""


def class_of(places: Places) -> Mapping[str, str]:
    """The class of every price."""
    fixed = {name: c for c, names in CLASSES.items() for name in names}
    return {**fixed, **dict(zip(MOVED, places, strict=True))}


def tiers(places: Places) -> Mapping[str, int]:
    """The level of every price."""
    return {name: TIERS[c] for name, c in class_of(places).items()}


PRICES = tuple(sorted(class_of(PLACES[0])))
"""The names of all prices."""
