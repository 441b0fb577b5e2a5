"""Pooling, padding, cropping and upsampling: layers that change spatial sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerwise.shapes.convolution import CHANNELS, SIZE_ERROR, fits, join, reach, split, windows
from layerwise.shapes.rule import (
    Argument,
    Arguments,
    Function,
    Outcome,
    RankMismatch,
    Rule,
    need_rank,
    positive,
    require,
)
from layerwise.shapes.terms import Shape, choose, every, floor_div

FORMAT = Argument("data_format", "flag", "channels_last", choices=CHANNELS)


def _pool(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        sizes, channels = split(inputs[0], a["data_format"])
        steps = [choose(s == 0, p, s) for p, s in zip(a["pool_size"], a["strides"], strict=True)]
        rows = zip(sizes, a["pool_size"], steps, strict=True)
        out = tuple(windows(n, p, s, a["padding"]) for n, p, s in rows)
        whole = every([*(p >= 1 for p in a["pool_size"]), *(s >= 1 for s in steps)])
        needs = (
            require(
                "pool_size", whole, f"{kind}: pool_size {a['pool_size']} and strides {steps} must be positive"
            ),
            fits(sizes, a["pool_size"], a["padding"], kind),
        )
        return Outcome(join(out, channels, a["data_format"]), needs)

    return function


def _global_pool(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        return Outcome((split(inputs[0], a["data_format"])[1],))

    return function


def _pad(kind: str, dims: int, sign: int) -> Function:
    name = "padding" if sign > 0 else "cropping"

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        sizes, channels = split(inputs[0], a["data_format"])
        amounts = a[name]
        out = tuple(n + sign * (amounts[2 * i] + amounts[2 * i + 1]) for i, n in enumerate(sizes))
        whole = require(
            name, every(v >= 0 for v in amounts), f"{kind}: {name} {amounts} must not be negative"
        )
        return Outcome(join(out, channels, a["data_format"]), (whole, positive(out, kind)))

    return function


def _upsample(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        sizes, channels = split(inputs[0], a["data_format"])
        out = tuple(n * f for n, f in zip(sizes, a["size"], strict=True))
        whole = require(
            "size", every(f >= 1 for f in a["size"]), f"{kind}: size {a['size']} must be positive"
        )
        return Outcome(join(out, channels, a["data_format"]), (whole,))

    return function


def _torch_pool(kind: str, dims: int, dilated: bool) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        channels, *sizes = inputs[0]
        dilation = a["dilation"] if dilated else (1,) * dims
        steps = [choose(s == 0, k, s) for k, s in zip(a["kernel_size"], a["stride"], strict=True)]
        rows = list(zip(sizes, a["kernel_size"], steps, a["padding"], dilation, strict=True))
        out = tuple(floor_div(n + 2 * p - reach(k, d), s) + 1 for n, k, s, p, d in rows)
        half = every(2 * p <= k for _, k, _, p, _ in rows)
        whole = every(v >= 1 for v in (*a["kernel_size"], *steps, *dilation))
        held = every(n + 2 * p >= reach(k, d) for n, k, _, p, d in rows)
        if kind == "AvgPool3d":
            # Torch compares with the size before padding here, and only here.
            held = every([held, *(n >= k for n, k, _, _, _ in rows)])
        needs = (
            require(
                "kernel_size", whole, f"{kind}: kernel {a['kernel_size']} and stride {steps} must be positive"
            ),
            require(
                "padding", half, f"{kind}: padding {a['padding']} at most half of kernel {a['kernel_size']}"
            ),
            require("window fits", held, f"{kind}: kernel {a['kernel_size']} on {tuple(sizes)}"),
        )
        return Outcome((channels, *out), needs)

    return function


def _adaptive(kind: str, dims: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        return Outcome((inputs[0][0], *a["output_size"]), (positive(a["output_size"], kind),))

    return function


def _torch_pad(kind: str, dims: int) -> Function:
    """The last axis comes first; negative amounts crop."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        if len(inputs[0]) < dims:
            raise RankMismatch(f"{kind} pads {dims} axes, the input has {len(inputs[0])} after the batch")
        kept, sizes = inputs[0][: len(inputs[0]) - dims], inputs[0][len(inputs[0]) - dims :]
        pairs = [a["padding"][2 * i] + a["padding"][2 * i + 1] for i in range(dims)]
        out = tuple(n + p for n, p in zip(sizes, reversed(pairs), strict=True))
        return Outcome((*kept, *out), (positive(out, kind),))

    return function


def _torch_upsample(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 2, 3, 4, kind="Upsample")
    channels, *sizes = inputs[0]
    factor = a["scale_factor"]
    needs = (require("scale_factor", factor >= 1, f"Upsample: scale_factor {factor} must be positive"),)
    return Outcome((channels, *(n * factor for n in sizes)), needs)


def _siblings(template: str, dims: int) -> tuple[str, ...]:
    return tuple(template.format(d) for d in (1, 2, 3) if d != dims)


def _family(template: str, make: Any, arguments: Any, **extra: Any) -> list[Rule]:
    names = [(d, template.format(d)) for d in (1, 2, 3)]
    return [
        Rule(kind, make(kind, d), arguments(d), siblings=_siblings(template, d), error=SIZE_ERROR, **extra)
        for d, kind in names
    ]


def keras() -> list[Rule]:
    """Rules of the Keras layers."""

    def pool(d: int) -> tuple[Argument, ...]:
        padding = Argument("padding", "padding", "valid", choices=("valid", "same"))
        stride = Argument("strides", "stride", 0, size=d, low=0)
        return Argument("pool_size", "pool", 2, size=d), stride, padding, FORMAT

    def amounts(name: str, default: int) -> Any:
        return lambda d: (Argument(name, "border", default, size=2 * d, low=0), FORMAT)

    def sizes(d: int) -> tuple[Argument, ...]:
        return Argument("size", "pool", 2, size=d), FORMAT

    return [
        *_family("MaxPooling{}D", _pool, pool),
        *_family("AveragePooling{}D", _pool, pool),
        *_family("GlobalMaxPooling{}D", _global_pool, lambda d: (FORMAT,)),
        *_family("GlobalAveragePooling{}D", _global_pool, lambda d: (FORMAT,)),
        *_family("ZeroPadding{}D", lambda k, d: _pad(k, d, 1), amounts("padding", 1)),
        *_family("Cropping{}D", lambda k, d: _pad(k, d, -1), amounts("cropping", 0)),
        *_family("UpSampling{}D", _upsample, sizes),
    ]


def torch() -> list[Rule]:
    """Rules of the torch layers."""

    def pool(dilated: bool) -> Any:
        more = ("dilation",) if dilated else ()
        return lambda d: (
            Argument("kernel_size", "pool", size=d),
            Argument("stride", "stride", 0, size=d, low=0),
            Argument("padding", "padding", 0, size=d, low=0),
            *(Argument(name, "dilation", 1, size=d) for name in more),
        )

    def adaptive(d: int) -> tuple[Argument, ...]:
        return (Argument("output_size", "pool", size=d),)

    return [
        *_family("MaxPool{}d", lambda k, d: _torch_pool(k, d, True), pool(True)),
        *_family("AvgPool{}d", lambda k, d: _torch_pool(k, d, False), pool(False)),
        *_family("AdaptiveMaxPool{}d", _adaptive, adaptive),
        *_family("AdaptiveAvgPool{}d", _adaptive, adaptive),
        *_family(
            "ZeroPad{}d", _torch_pad, lambda d: (Argument("padding", "border", 0, size=2 * d, low=-(10**6)),)
        ),
        Rule("Upsample", _torch_upsample, (Argument("scale_factor", "pool", 1),), error=SIZE_ERROR),
    ]
