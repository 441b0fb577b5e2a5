"""Every public field and property of a public class is explained where `help()` shows it."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

import repairsolver as rs

NAMES = [name for name in rs.__all__ if name != "plot"]
CLASSES = [getattr(rs, name) for name in NAMES if inspect.isclass(getattr(rs, name))]


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if dataclasses.is_dataclass(kind)], ids=lambda kind: kind.__name__
)
def test_every_field_is_explained(kind: type) -> None:
    told = kind.__doc__ or ""
    names = [item.name for item in dataclasses.fields(kind) if not item.name.startswith("_")]
    assert not [name for name in names if not re.search(rf"\b{name}\b", told)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_property_is_explained(kind: type) -> None:
    found = {name: item for name, item in vars(kind).items() if isinstance(item, property)}
    assert not [name for name, item in found.items() if not name.startswith("_") and not item.__doc__]
