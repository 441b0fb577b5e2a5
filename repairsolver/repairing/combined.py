"""Wishes that say nothing without another one are refused, so that nobody believes they were heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from repairsolver.errors import EditError

Wishes = Mapping[str, Any]
Plain = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Rule:
    """When a wish is heard.

    Args:
        name: of the wish.
        usual: its value where nobody wishes anything.
        heard: whether other wishes give it a meaning.
        step: what would do so.
    """

    name: str
    usual: object
    heard: Callable[[Wishes], bool]
    step: str


def _sampled(wishes: Wishes) -> bool:
    return bool(wishes["guarantee"] != "exact")


def _searched(wishes: Wishes) -> bool:
    """Whether method delta takes part."""
    how = wishes["imitation"]
    taught = wishes["method"] == "imitation" and how is not None and how.prove
    return bool(wishes["method"] == "delta" or taught)


def _solved(wishes: Wishes) -> bool:
    """Whether there are programs to solve."""
    how = wishes["imitation"]
    tuned = how is not None and how.variant == "tune" and how.tuning.optimiser == "exact"
    return bool(wishes["method"] != "imitation" or tuned or _searched(wishes))


def _method(name: str) -> Callable[[Wishes], bool]:
    return lambda wishes: wishes["guarantee"] != "pac" or wishes["method"] == name


RULES = (
    Rule("keep_soft", None, lambda w: w["keep"] is not None, "give the points that may be lost as keep"),
    Rule("prefer_soft", 0.1, lambda w: w["prefer"] is not None, "give the points that it prices as prefer"),
    Rule(
        "contradictory",
        "refuse",
        lambda w: w["points"] is not None or w["keep"] is not None,
        "give points or keep, of which some may be left out",
    ),
    Rule("epsilon", 1e-3, _sampled, "choose guarantee 'pac' or 'auto', whose statement it is of"),
    Rule("eta", 1e-3, _sampled, "choose guarantee 'pac' or 'auto', whose statement it is of"),
    Rule(
        "min_agreement",
        0.99,
        lambda w: w["guarantee"] == "auto",
        "choose guarantee 'auto', which chooses between two repairs",
    ),
    Rule("margin", None, lambda w: w["guarantee"] != "pac", "choose another guarantee: samples choose it"),
    Rule(
        "margin",
        None,
        lambda w: w["method"] == "gate" or _searched(w),
        "take method 'delta', or let imitation go on to it with Imitation(prove=True)",
    ),
    Rule(
        "gap",
        0.01,
        _searched,
        "take method 'delta', or let imitation go on to it with Imitation(prove=True)",
    ),
    Rule(
        "solver",
        "highs",
        _solved,
        "tune exactly with Imitation(variant='tune'), or go on to a proof with Imitation(prove=True)",
    ),
    Rule(
        "max_gates",
        None,
        lambda w: w["method"] != "gate" or w["place"] != "output",
        "choose place 'inner' or 'auto': scores are corrected all at once",
    ),
    Rule("place", "auto", _method("gate"), "take method 'gate', with another guarantee"),
    Rule("max_gates", None, _method("gate"), "take method 'gate', with another guarantee"),
    Rule("monitor", False, _method("gate"), "take method 'gate', with another guarantee"),
    Rule("imitation", None, _method("imitation"), "take method 'imitation', with another guarantee"),
)
"""The methods themselves refuse what they never look at (`engine`); these depend on more than the method."""

OPTIONS = {"contradictory": "--drop-contradictory", "imitation": "--variant, --domain, --prove"}
"""Where the command line calls a wish otherwise."""


def check_combined(wishes: Wishes) -> None:
    """Refuse wishes that the others leave without a meaning.

    Args:
        wishes: the arguments of `repair`, by name.

    Raises:
        EditError: the first of them, with what it got and what would give it a meaning.
    """
    for rule in RULES:
        value = wishes[rule.name]
        if not _usual(value, rule.usual) and not rule.heard(wishes):
            got = f" got {value!r}, but" if isinstance(value, Plain) else ""
            option = OPTIONS.get(rule.name, f"--{rule.name.replace('_', '-')}")
            raise EditError(f"{rule.name} ({option}){got} has no effect here: leave it out, or {rule.step}")


def _usual(value: object, usual: object) -> bool:
    return value is usual or (isinstance(value, Plain) and value == usual)
