"""What a layer rule is: the validity and the shape of one layer type, written once for numbers and terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from layerwise.shapes.terms import Shape, Term, Truth, every

Arguments: TypeAlias = Mapping[str, Any]
Role: TypeAlias = Literal[
    "width",
    "kernel",
    "stride",
    "dilation",
    "padding",
    "pool",
    "groups",
    "derived",
    "amount",
    "border",
    "target",
    "flag",
]
Function: TypeAlias = Callable[[Sequence[Shape], Arguments], "Outcome"]


class RankMismatch(Exception):
    """The layer takes no inputs of these ranks; the message names what it takes."""


@dataclass(frozen=True)
class Requirement:
    """One precondition: what it says, with the numbers, and whether it holds."""

    rule: str
    text: str
    holds: Truth


@dataclass(frozen=True)
class Outcome:
    """The output shape, all preconditions, and the shapes of the weights by name."""

    shape: Shape
    requirements: tuple[Requirement, ...] = ()
    weights: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Argument:
    """An argument that a repair may change.

    Args:
        name: as the framework spells it.
        role: what it means, by which its price is found.
        default: its value where the user states none; None: it must be stated.
        size: number of components; 0: a scalar.
        low: its least value.
        choices: its values, for one that is not a number.
    """

    name: str
    role: Role
    default: Any = None
    size: int = 0
    low: int = 1
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One layer type.

    Args:
        kind: the layer's name in its framework.
        function: (input shapes, arguments) to `Outcome`; raises `RankMismatch`.
        arguments: all that it reads.
        inputs: number of inputs; None: two or more.
        siblings: layer types that differ only in the number of spatial axes.
        error: the framework's usual message.
    """

    kind: str
    function: Function
    arguments: tuple[Argument, ...] = ()
    inputs: int | None = 1
    siblings: tuple[str, ...] = ()
    error: str = ""

    def __call__(self, inputs: Sequence[Shape], arguments: Arguments) -> Outcome:
        """Apply the rule; raises `RankMismatch`."""
        count = len(inputs)
        if (self.inputs is None and count < 2) or (self.inputs is not None and count != self.inputs):
            raise RankMismatch(f"{self.kind} takes {self.inputs or 'two or more'} inputs, got {count}")
        return self.function(inputs, arguments)

    def argument(self, name: str) -> Argument:
        """The argument of that name; raises KeyError."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(a.name for a in self.arguments)


def require(rule: str, holds: Truth, text: str) -> Requirement:
    """A precondition."""
    return Requirement(rule, text, holds)


def need_rank(shape: Shape, *ranks: int, kind: str) -> None:
    """Raise `RankMismatch` unless the shape has one of these ranks (batch axis not counted)."""
    if len(shape) not in ranks:
        wanted = " or ".join(str(r + 1) for r in ranks)
        raise RankMismatch(f"{kind} expects ndim={wanted} (with batch), found ndim={len(shape) + 1}")


def positive(shape: Sequence[Term], where: str) -> Requirement:
    """Every size of a computed shape is at least 1."""
    return Requirement("positive size", f"{where}: size would be {list(shape)}", every(s >= 1 for s in shape))
