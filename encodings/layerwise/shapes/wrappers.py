"""Layers around a layer: one applied at every time step, a recurrent one in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from layerwise.shapes.rule import Argument, Arguments, Function, Outcome, RankMismatch, Rule
from layerwise.shapes.terms import Shape

MERGE_MODES = ("concat", "sum", "mul", "ave", None)
_RECURRENT = ("SimpleRNN", "GRU", "LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_NO_LAYERS = ("InputLayer",)


def wrapped(rules: Sequence[Rule]) -> list[Rule]:
    """`Bidirectional(...)` of the recurrent layers, `TimeDistributed(...)` of all with one input.

    The arguments are those of the inner layer, and the merge mode.
    """
    both = [_bidirectional(rule) for rule in rules if rule.kind in _RECURRENT]
    inner = [rule for rule in [*rules, *both] if rule.inputs == 1 and rule.kind not in _NO_LAYERS]
    return [*both, *(_time_distributed(rule) for rule in inner)]


def unwrapped(kind: str) -> Iterator[str]:
    """The type, then the types inside it."""
    while kind:
        yield kind
        kind = kind.partition("(")[2].removesuffix(")")


def _time_distributed(inner: Rule) -> Rule:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        """The inner rule on the shape of one time step."""
        if len(inputs[0]) < 2:
            raise RankMismatch(
                "TimeDistributed expects ndim=3 or more (with batch and time), "
                f"found ndim={len(inputs[0]) + 1}"
            )
        if a.get("merge_mode", "") is None:
            raise RankMismatch("TimeDistributed takes a layer with one output: state a merge_mode inside it")
        step = inner([inputs[0][1:]], a)
        return replace(step, shape=(inputs[0][0], *step.shape))

    return _around("TimeDistributed({})", inner, function, inner.arguments)


def _bidirectional(inner: Rule) -> Rule:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        """Both directions side by side on the last axis, or combined; without a mode each by itself."""
        one = inner(inputs, a)
        wide = 2 * one.shape[-1] if a["merge_mode"] == "concat" else one.shape[-1]
        return Outcome((*one.shape[:-1], wide), one.requirements, _both(one.weights))

    mode = Argument("merge_mode", "flag", "concat", choices=MERGE_MODES)
    return _around("Bidirectional({})", inner, function, (*inner.arguments, mode))


def _both(weights: Mapping[str, Shape]) -> dict[str, Shape]:
    return {f"{way}_{name}": shape for way in ("forward", "backward") for name, shape in weights.items()}


def _around(name: str, inner: Rule, function: Function, arguments: tuple[Argument, ...]) -> Rule:
    siblings = tuple(name.format(kind) for kind in inner.siblings)
    return Rule(name.format(inner.kind), function, arguments, siblings=siblings, error=inner.error)
