"""Parts of JSON models: each is what it must be, or the error names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repairsolver.architecture.model import Shape
from repairsolver.errors import ArchitectureError


def sizes(value: Any, where: str) -> Shape:
    """A list of whole numbers."""
    if not isinstance(value, list | tuple) or not all(
        isinstance(size, int) and not isinstance(size, bool) for size in value
    ):
        raise ArchitectureError(f"{where} is {value!r}, expected a list of whole numbers such as [28, 28, 1]")
    return tuple(value)


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, Mapping):
        raise ArchitectureError(f"{where} is {value!r}, expected an object in braces")
    return value


def text(value: Any, where: str) -> str:
    """A word."""
    if not isinstance(value, str) or not value:
        raise ArchitectureError(f"{where} is {value!r}, expected a name in quotes")
    return value


def names(value: Any, where: str) -> tuple[str, ...]:
    """A list of words."""
    if not isinstance(value, list | tuple):
        raise ArchitectureError(f"{where} is {value!r}, expected a list of names")
    return tuple(text(name, where) for name in value)


def entries(value: Any, where: str) -> list[Mapping[str, Any]]:
    """A list of objects, one at least."""
    if not isinstance(value, list) or not value:
        raise ArchitectureError(f"{where} is {value!r}, expected a list with one layer at least")
    return [mapping(entry, f"{where}, number {n}") for n, entry in enumerate(value, start=1)]
