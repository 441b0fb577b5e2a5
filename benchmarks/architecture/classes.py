"""What users are likely to mean, before any bug is looked at: ten classes of edits, a level for each."""

from __future__ import annotations

from collections.abc import Mapping

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
        *("weights", "unpad", "wide_padding"),
    ),
    "intent": ("roles.dilation", "roles.stride", "roles.kernel", "roles.pool", "roles.width"),
    "structure": ("remove", "sibling", "rewire", "adapters.LargeUpsample"),
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
and strides are dear, removing is dearer than changing an argument, and so is making most positions out of
copies."""

TIER_OF: Mapping[str, int] = {name: TIERS[c] for c, names in CLASSES.items() for name in names}
CLASS_OF: Mapping[str, str] = {name: c for c, names in CLASSES.items() for name in names}
PRICES = tuple(sorted(TIER_OF))
"""The names of all prices."""
