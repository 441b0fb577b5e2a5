"""Convolutions and pools of ONNX: sizes of one sample, channels first, padding for both ends of each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerwise.shapes.convolution import reach
from layerwise.shapes.rule import (
    Argument,
    Arguments,
    Function,
    Outcome,
    Requirement,
    Rule,
    need_rank,
    positive,
    require,
)
from layerwise.shapes.terms import Shape, Term, ceil_div, divides, every, floor_div

AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
SIZES = "Incompatible dimensions, or an output size below 1"


def _padded(sizes: Shape, pads: Sequence[Term], auto: str) -> tuple[Term, ...]:
    """Sizes with the padding at both ends; first all beginnings, then all ends."""
    if auto != "NOTSET":
        return tuple(sizes)
    return tuple(n + pads[i] + pads[i + len(sizes)] for i, n in enumerate(sizes))


def _windows(sizes: Shape, a: Arguments, kind: str) -> tuple[tuple[Term, ...], list[Requirement]]:
    """Output sizes, and what must hold of kernels, strides and dilations."""
    spans = [reach(k, d) for k, d in zip(a["kernel_shape"], a["dilations"], strict=True)]
    whole = every(v >= 1 for v in (*a["kernel_shape"], *a["strides"], *a["dilations"]))
    needs = [require("kernel_shape", whole, f"{kind}: kernel, strides and dilations must be positive")]
    if a["auto_pad"].startswith("SAME"):
        return tuple(ceil_div(n, s) for n, s in zip(sizes, a["strides"], strict=True)), needs
    room = _padded(sizes, a["pads"], a["auto_pad"])
    rows = list(zip(room, spans, a["strides"], strict=True))
    text = f"{kind}: kernel {a['kernel_shape']} with dilations {a['dilations']} on padded sizes {room}"
    needs.append(require("window fits", every(n >= k for n, k, _ in rows), text))
    return tuple(_count(n - k, s, a.get("ceil_mode", 0)) for n, k, s in rows), needs


def _count(rest: Term, stride: Term, ceil_mode: int) -> Term:
    return (ceil_div(rest, stride) if ceil_mode else floor_div(rest, stride)) + 1


def _groups(kind: str, channels: Term, a: Arguments) -> list[Requirement]:
    wide, deep, group = a["in_channels"], a["out_channels"], a["group"]
    return [
        require(
            "in_channels", channels == wide, f"{kind}: weights for {wide} channels, input has {channels}"
        ),
        require(
            "groups divide",
            every([divides(group, wide), divides(group, deep), deep >= 1]),
            f"{kind}: group {group} must divide {wide} input and {deep} output channels",
        ),
    ]


def _conv(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        channels, *sizes = inputs[0]
        out, needs = _windows(tuple(sizes), a, kind)
        weight = (a["out_channels"], floor_div(a["in_channels"], a["group"]), *a["kernel_shape"])
        needs += [*_groups(kind, channels, a), positive(out, kind)]
        return Outcome((a["out_channels"], *out), tuple(needs), {"W": weight, "B": (a["out_channels"],)})

    return function


def _transposed(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        channels, *sizes = inputs[0]
        rows = zip(sizes, a["kernel_shape"], a["strides"], a["dilations"], a["output_padding"], strict=True)
        pads = a["pads"]
        out = tuple(
            (n - 1) * s - pads[i] - pads[i + dims] + reach(k, d) + e for i, (n, k, s, d, e) in enumerate(rows)
        )
        whole = every(v >= 1 for v in (*a["kernel_shape"], *a["strides"], *a["dilations"]))
        less = every(e < s for e, s in zip(a["output_padding"], a["strides"], strict=True))
        needs = [
            require("kernel_shape", whole, f"{kind}: kernel, strides and dilations must be positive"),
            require("output_padding", less, f"{kind}: output_padding {a['output_padding']} too large"),
            *_groups(kind, channels, a),
            positive(out, kind),
        ]
        weight = (a["in_channels"], floor_div(a["out_channels"], a["group"]), *a["kernel_shape"])
        return Outcome((a["out_channels"], *out), tuple(needs), {"W": weight, "B": (a["out_channels"],)})

    return function


def _pool(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        channels, *sizes = inputs[0]
        out, needs = _windows(tuple(sizes), a, kind)
        less = every(p < k for p, k in zip(a["pads"], (*a["kernel_shape"],) * 2, strict=True))
        needs.append(
            require("pads", less, f"{kind}: pads {a['pads']} must be below kernel {a['kernel_shape']}")
        )
        return Outcome((channels, *out), (*needs, positive(out, kind)))

    return function


def _global(kind: str) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], 2, 3, 4, kind=kind)
        return Outcome((inputs[0][0], *(1 for _ in inputs[0][1:])))

    return function


def _steps(dims: int) -> tuple[Argument, ...]:
    return (
        Argument("strides", "stride", 1, size=dims),
        Argument("pads", "padding", 0, size=2 * dims, low=0),
        Argument("dilations", "dilation", 1, size=dims),
        Argument("auto_pad", "padding", "NOTSET", choices=AUTO),
    )


def _convolution(dims: int, transposed: bool) -> tuple[Argument, ...]:
    extra = (Argument("output_padding", "amount", 0, size=dims, low=0),) if transposed else ()
    wide = (Argument("in_channels", "derived"), Argument("out_channels", "width"))
    kernel = Argument("kernel_shape", "kernel", size=dims)
    steps = _steps(dims)[:3] if transposed else _steps(dims)
    return (*wide, kernel, *steps, *extra, Argument("group", "groups", 1))


def onnx() -> list[Rule]:
    """Rules of the windowed operators; a digit in the kind is the number of spatial axes."""
    rules: list[Rule] = []
    for d in (1, 2, 3):
        pool: tuple[Any, ...] = (
            Argument("kernel_shape", "pool", size=d),
            *_steps(d),
            Argument("ceil_mode", "flag", 0),
        )
        for op, make, arguments in (
            ("Conv", _conv, _convolution(d, False)),
            ("ConvTranspose", _transposed, _convolution(d, True)),
            ("MaxPool", _pool, pool),
            ("AveragePool", _pool, pool),
        ):
            siblings = tuple(f"{op}{other}d" for other in (1, 2, 3) if other != d)
            rules.append(Rule(f"{op}{d}d", make(op, d), arguments, siblings=siblings, error=SIZES))
    return [*rules, *(Rule(kind, _global(kind)) for kind in ("GlobalAveragePool", "GlobalMaxPool"))]
