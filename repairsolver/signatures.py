"""Calls of public functions checked against their annotations, so that a wrong argument is named at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

OWN = frozenset({"network", "original", "repaired", "property", "limits", "seed", "epsilon", "eta"})
"""Parameters whose own errors say more, where files are allowed too."""
ALONE = frozenset({"Network", "Network | None", "Property"})
PART = re.compile(r"\s*\|\s*(?![^\[]*\])")
"""Between the parts of an annotation, but not inside brackets."""


def _is_class(name: str) -> Callable[[object], bool]:
    """By its name, so that nothing is imported for the check."""
    return lambda value: any(c.__name__ == name for c in type(value).__mro__)


def _numbers(value: object) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:
        return False


def _each_is(name: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple | list) and all(map(_is_class(name), value))


def _listed(kind: type | tuple[type, ...]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(item, kind) for item in value)
    )


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "None": ("None", lambda value: value is None),
    "bool": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "int": ("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
    "str": ("a str", lambda value: isinstance(value, str)),
    "Path": ("a path", lambda value: isinstance(value, PathLike)),
    "ArrayLike": ("an array of real numbers", _numbers),
    "Array": ("an array of real numbers", _numbers),
    "Sequence[str]": ("a list of str", _listed(str)),
    "Sequence[int]": ("a list of whole numbers", _listed(Integral)),
    "Sequence[str | Path]": ("a list of paths", _listed((str, PathLike))),
    "Sequence[Mapping[str, object]]": ("a list of dicts", _listed(Mapping)),
    "Mapping[str, Any]": ("a dict", lambda value: isinstance(value, Mapping)),
    "OnEvent": ("a function of one Event", callable),
    "Certificate": ("a Certificate", _is_class("Certificate")),
    "Imitation": ("an Imitation(...)", _is_class("Imitation")),
    "Kept": ("a Kept()", _is_class("Kept")),
    "Property": ("a Property", _is_class("Property")),
    "Network": ("a Network, as load_network gives it", _is_class("Network")),
    "tuple[Region, ...]": ("a tuple of Regions", _each_is("Region")),
    "tuple[Conjunction, ...]": ("a tuple of Conjunctions", _each_is("Conjunction")),
    "Delta": ("a Delta", _is_class("Delta")),
    "Gates": ("the Gates of a repair", _is_class("Gates")),
}
"""How each part of an annotation is called, and what fits it; other annotations are not checked here."""


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of every call against the annotations.

    Raises:
        TypeError: an argument is of another kind; names it, what was got and what is expected.
    """
    signature = inspect.signature(function)
    wanted = {name: str(p.annotation) for name, p in signature.parameters.items()}
    wanted = {name: kind for name, kind in wanted.items() if name not in OWN or kind in ALONE}

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # says itself what is missing or too much
        for name, value in given.items():
            refuse_misfit(function.__name__, name, wanted.get(name, ""), value)
        return function(*args, **kwargs)

    return checked


def refuse_misfit(where: str, name: str, annotation: str, value: object) -> None:
    """Raise TypeError unless the value fits one part of an annotation such as `int | None`."""
    parts = PART.split(annotation.strip())
    if not all(part in KINDS for part in parts) or any(KINDS[part][1](value) for part in parts):
        return
    expected = " or ".join(KINDS[part][0] for part in parts)
    shown = repr(value) if isinstance(value, str | bytes | int | float | None) else "one"
    raise TypeError(
        f"{where}: {name} must be {expected}, got {shown[:60]} of type {type(value).__name__}; "
        f"see help(repairsolver.{where})"
    )
