"""The options that rows of a list, or a whole sweep, may set: their names, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from repairsolver.errors import ExperimentError
from repairsolver.results import RepairStatus, VerifyStatus

Read = Callable[[str], Any]


def one_of(*words: str) -> Read:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("a number") from None
    if value != value or abs(value) == float("inf"):
        raise ValueError("a finite number")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise ValueError("a number above 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise ValueError("a number from 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise ValueError("a number between 0 and 1")
    return value


def _count(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise ValueError("a whole number from 1")
    return value


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("a whole number from 0")
    return int(text)


def _truth(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError("true or false")
    return words[text.lower()]


def _change(text: str) -> float | str:
    """A number, or a share of each weight such as `10%`."""
    if text.endswith("%"):
        _positive(text.removesuffix("%"))
        return text
    return _positive(text)


def _indices(text: str) -> list[int]:
    return [_whole(part.strip()) for part in text.replace(";", ",").split(",")]


SHARED: dict[str, Read] = {"seed": _whole, "memory_gb": _positive, "normalise": _truth}
NORMS = ("l0", "l1", "l2", "linf", "relative-l1", "relative-l2", "relative-linf")


@dataclass(frozen=True, slots=True)
class Mode:
    """What is done with every instance.

    Args:
        body: the function that does it, see `Task`.
        options: by name, how they are read.
        files: options that are files.
        answers: words that an answer can be.
    """

    body: str
    options: Mapping[str, Read]
    files: tuple[str, ...]
    answers: frozenset[str]


MODES: dict[str, Mode] = {
    "verify": Mode(
        "repairsolver.experiments.bodies:verify_instance",
        SHARED | {"arithmetic": one_of("real", "float32"), "device": str},
        (),
        frozenset(status.word for status in VerifyStatus),
    ),
    "repair": Mode(
        "repairsolver.experiments.bodies:repair_instance",
        SHARED
        | {
            "method": one_of("delta", "gate", "imitation"),
            "layers": str,
            "parameters": one_of("both", "weights", "biases"),
            "neurons": _indices,
            "norm": one_of(*NORMS),
            "max_change": _change,
            "minimise": one_of("weights", "behaviour"),
            "margin": _number,
            "gap": _not_negative,
            "solver": str,
            "keep_soft": _not_negative,
            "prefer_soft": _positive,
            "decision": one_of("auto", "max", "min", "both"),
            "place": one_of("auto", "inner", "output"),
            "max_gates": _count,
            "monitor": _truth,
            "guarantee": one_of("exact", "pac", "auto"),
            "epsilon": _share,
            "eta": _share,
        },
        ("points", "keep", "prefer", "unseen"),
        frozenset(status.value for status in RepairStatus),
    ),
}
"""A new mode is one body and one entry here."""


def mode_of(name: str) -> Mode:
    """The mode of that name.

    Raises:
        ExperimentError: there is none.
    """
    if name not in MODES:
        raise ExperimentError(f"no mode is called {name!r}: known are {', '.join(MODES)}")
    return MODES[name]


def check_names(names: list[str], mode: str, where: str) -> None:
    """Refuse options that the mode does not have.

    Raises:
        ExperimentError: with all of them.
    """
    known = [*mode_of(mode).options, *mode_of(mode).files]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ExperimentError(
            f"{where}: mode {mode} has no {', '.join(map(repr, unknown))}; its options are {', '.join(known)}"
        )


def read_option(name: str, text: str, mode: str) -> Any:
    """The value of an option that is no file.

    Raises:
        ExperimentError: what was expected, and what was got.
    """
    try:
        return mode_of(mode).options[name](text)
    except ValueError as error:
        raise ExperimentError(f"{name}: expected {error}, got {text!r}") from error
