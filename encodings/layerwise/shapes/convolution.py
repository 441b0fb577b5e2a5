"""Convolutions, transposed, depthwise, separable and locally connected, of Keras and of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from layerwise.shapes.rule import (
    Argument,
    Arguments,
    Outcome,
    Requirement,
    Rule,
    need_rank,
    positive,
    require,
)
from layerwise.shapes.terms import (
    Shape,
    Term,
    ceil_div,
    choose,
    divides,
    every,
    floor_div,
    larger,
    product,
    some,
)

CHANNELS = ("channels_last", "channels_first")
SIZE_ERROR = "Computed output size would be zero or negative"


def split(shape: Shape, data_format: str) -> tuple[Shape, Term]:
    """(spatial sizes, channels)."""
    return (shape[:-1], shape[-1]) if data_format == "channels_last" else (shape[1:], shape[0])


def join(spatial: Shape, channels: Term, data_format: str) -> Shape:
    """The inverse of `split`."""
    return (*spatial, channels) if data_format == "channels_last" else (channels, *spatial)


def reach(kernel: Term, dilation: Term) -> Term:
    """Input cells spanned by a dilated kernel: d (k - 1) + 1."""
    return dilation * (kernel - 1) + 1


def windows(size: Term, span: Term, stride: Term, padding: str) -> Term:
    """Number of positions of a window: ceil(n / s) if padded to the same size, else floor((n - k)/s) + 1."""
    return floor_div(size - span, stride) + 1 if padding == "valid" else ceil_div(size, stride)


def fits(sizes: Shape, spans: Sequence[Term], padding: str, kind: str) -> Requirement:
    """Every window fits into its axis, unless the axis is padded."""
    holds = (
        every(n >= 1 for n in sizes)
        if padding != "valid"
        else every(n >= k for n, k in zip(sizes, spans, strict=True))
    )
    return require(
        "window fits", holds, f"{kind}: window {tuple(spans)} on {tuple(sizes)}, padding {padding!r}"
    )


def _whole(values: Sequence[Term], rule: str, kind: str) -> Requirement:
    return require(rule, every(v >= 1 for v in values), f"{kind}: {rule} {tuple(values)} must be positive")


def _steps(a: Arguments, kind: str) -> list[Requirement]:
    dilated = every(d == 1 for d in a["dilation_rate"])
    strided = every(s == 1 for s in a["strides"])
    both = some([dilated, strided])
    text = f"{kind}: strides {a['strides']} with dilation_rate {a['dilation_rate']}: only one may exceed 1"
    return [
        _whole(a["kernel_size"], "kernel_size", kind),
        _whole(a["strides"], "strides", kind),
        _whole(a["dilation_rate"], "dilation_rate", kind),
        *([require("stride or dilation", both, text)] if kind[:4] == "Conv" else []),
    ]


def _spatial(shape: Shape, a: Arguments, kind: str, dims: int) -> tuple[Shape, Term, list[Requirement]]:
    need_rank(shape, dims + 1, kind=kind)
    sizes, channels = split(shape, a["data_format"])
    spans = [reach(k, d) for k, d in zip(a["kernel_size"], a["dilation_rate"], strict=True)]
    out = tuple(windows(n, k, s, a["padding"]) for n, k, s in zip(sizes, spans, a["strides"], strict=True))
    return out, channels, [*_steps(a, kind), fits(sizes, spans, a["padding"], kind)]


def _conv(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        out, channels, needs = _spatial(inputs[0], a, kind, dims)
        groups = every(
            [divides(a["groups"], channels), divides(a["groups"], a["filters"]), a["filters"] >= 1]
        )
        text = f"{kind}: groups {a['groups']} must divide {channels} channels and {a['filters']} filters"
        per_group = floor_div(channels, a["groups"])
        weights = {"kernel": (*a["kernel_size"], per_group, a["filters"]), "bias": (a["filters"],)}
        needs.append(require("groups divide", groups, text))
        return Outcome(join(out, a["filters"], a["data_format"]), tuple(needs), weights)

    return function


def _depthwise(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        out, channels, needs = _spatial(inputs[0], a, kind, dims)
        width = channels * a["depth_multiplier"]
        weights = {"kernel": (*a["kernel_size"], channels, a["depth_multiplier"]), "bias": (width,)}
        return Outcome(join(out, width, a["data_format"]), tuple(needs), weights)

    return function


def _separable(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        out, channels, needs = _spatial(inputs[0], a, kind, dims)
        deep = channels * a["depth_multiplier"]
        weights = {
            "depthwise_kernel": (*a["kernel_size"], channels, a["depth_multiplier"]),
            "pointwise_kernel": (*(1 for _ in range(dims)), deep, a["filters"]),
            "bias": (a["filters"],),
        }
        return Outcome(join(out, a["filters"], a["data_format"]), tuple(needs), weights)

    return function


def _local(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        full = {**a, "dilation_rate": (1,) * dims, "padding": "valid"}
        out, channels, needs = _spatial(inputs[0], full, kind, dims)
        patch = product(a["kernel_size"]) * channels
        weights = {"kernel": (product(out), patch, a["filters"]), "bias": (*out, a["filters"])}
        return Outcome(join(out, a["filters"], a["data_format"]), tuple(needs), weights)

    return function


def _conv_lstm(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    """Steps come first; the maps of all steps, or that of the last one."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 2, kind=kind)
        out, channels, needs = _spatial(inputs[0][1:], a, kind, dims)
        width = a["filters"]
        weights = {
            "kernel": (*a["kernel_size"], channels, 4 * width),
            "recurrent_kernel": (*a["kernel_size"], width, 4 * width),
            "bias": (4 * width,),
        }
        shape = join(out, width, a["data_format"])
        steps = inputs[0][:1] if a["return_sequences"] else ()
        needs.append(_whole([width], "filters", kind))
        return Outcome((*steps, *shape), tuple(needs), weights)

    return function


def transposed_size(size: Term, kernel: Term, stride: Term, padding: str, extra: Term) -> Term:
    """Length of a transposed convolution in Keras; `extra` = -1 where output_padding is not stated."""
    if padding == "same":
        return choose(
            extra == -1, size * stride, (size - 1) * stride + kernel - 2 * floor_div(kernel, 2) + extra
        )
    return choose(
        extra == -1, size * stride + larger(kernel - stride, 0), (size - 1) * stride + kernel + extra
    )


def _transposed(kind: str, dims: int) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        sizes, channels = split(inputs[0], a["data_format"])
        axes = list(zip(sizes, a["kernel_size"], a["strides"], a["output_padding"], strict=True))
        out = tuple(transposed_size(n, k, s, a["padding"], e) for n, k, s, e in axes)
        less = every(e < s for _, _, s, e in axes)
        extra = a["output_padding"]
        told = some([every(e == -1 for e in extra), every(e >= 0 for e in extra)])
        needs = (
            require(
                "output_padding", told, f"{kind}: output_padding {extra} must be stated for all axes or none"
            ),
            _whole(a["kernel_size"], "kernel_size", kind),
            _whole(a["strides"], "strides", kind),
            require(
                "output_padding",
                less,
                f"{kind}: output_padding {extra} < strides {a['strides']}",
            ),
            positive(out, kind),
        )
        weights = {"kernel": (*a["kernel_size"], a["filters"], channels), "bias": (a["filters"],)}
        return Outcome(join(out, a["filters"], a["data_format"]), needs, weights)

    return function


def _torch_conv(kind: str, dims: int, transposed: bool) -> Callable[[Sequence[Shape], Arguments], Outcome]:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], dims + 1, kind=kind)
        channels, *sizes = inputs[0]
        rows = list(zip(sizes, a["kernel_size"], a["stride"], a["padding"], a["dilation"], strict=True))
        groups, wide, deep = a["groups"], a["in_channels"], a["out_channels"]
        needs = [
            require(
                "in_channels", channels == wide, f"{kind}: in_channels {wide}, input has {channels} channels"
            ),
            require(
                "groups divide",
                every([divides(groups, wide), divides(groups, deep), deep >= 1]),
                f"{kind}: groups {groups} must divide in_channels {wide} and out_channels {deep}",
            ),
            _whole([*a["kernel_size"], *a["stride"], *a["dilation"]], "kernel, stride and dilation", kind),
        ]
        if transposed:
            extra = a["output_padding"]
            out = tuple(
                (n - 1) * s - 2 * p + reach(k, d) + e for (n, k, s, p, d), e in zip(rows, extra, strict=True)
            )
            less = every(some([e < s, e < d]) for (_, _, s, _, d), e in zip(rows, extra, strict=True))
            needs += [require("output_padding", less, f"{kind}: output_padding {extra} < stride or dilation")]
            weight = (wide, floor_div(deep, groups), *a["kernel_size"])
        else:
            out = tuple(floor_div(n + 2 * p - reach(k, d), s) + 1 for n, k, s, p, d in rows)
            held = every(n + 2 * p >= reach(k, d) for n, k, s, p, d in rows)
            needs += [require("window fits", held, f"{kind}: kernel {a['kernel_size']} on {tuple(sizes)}")]
            weight = (deep, floor_div(wide, groups), *a["kernel_size"])
        return Outcome((deep, *out), (*needs, positive(out, kind)), {"weight": weight, "bias": (deep,)})

    return function


def _keras(dims: int) -> dict[str, Argument]:
    return {
        "filters": Argument("filters", "width"),
        "kernel_size": Argument("kernel_size", "kernel", size=dims),
        "strides": Argument("strides", "stride", 1, size=dims),
        "padding": Argument("padding", "padding", "valid", choices=("valid", "same")),
        "dilation_rate": Argument("dilation_rate", "dilation", 1, size=dims),
        "data_format": Argument("data_format", "flag", "channels_last", choices=CHANNELS),
        "groups": Argument("groups", "groups", 1),
        "depth_multiplier": Argument("depth_multiplier", "width", 1),
        "output_padding": Argument("output_padding", "amount", -1, size=dims, low=-1),
    }


def _pick(dims: int, names: str) -> tuple[Argument, ...]:
    table = _keras(dims)
    return tuple(table[name] for name in names.split())


def _torch_arguments(dims: int, transposed: bool) -> tuple[Argument, ...]:
    extra = (Argument("output_padding", "amount", 0, size=dims, low=0),) if transposed else ()
    return (
        Argument("in_channels", "derived"),
        Argument("out_channels", "width"),
        Argument("kernel_size", "kernel", size=dims),
        Argument("stride", "stride", 1, size=dims),
        Argument("padding", "padding", 0, size=dims, low=0),
        *extra,
        Argument("dilation", "dilation", 1, size=dims),
        Argument("groups", "groups", 1),
    )


def _siblings(template: str, dims: int, available: tuple[int, ...] = (1, 2, 3)) -> tuple[str, ...]:
    return tuple(template.format(d) for d in available if d != dims)


STEP = "kernel_size strides padding dilation_rate data_format"


def keras() -> list[Rule]:
    """Rules of the Keras layers."""
    rules = []
    for d in (1, 2, 3):
        conv = _pick(d, f"filters {STEP} groups")
        back = _pick(d, "filters kernel_size strides padding output_padding data_format")
        rules += [
            Rule(
                f"Conv{d}D", _conv(f"Conv{d}D", d), conv, siblings=_siblings("Conv{}D", d), error=SIZE_ERROR
            ),
            Rule(
                f"Conv{d}DTranspose",
                _transposed(f"Conv{d}DTranspose", d),
                back,
                siblings=_siblings("Conv{}DTranspose", d),
                error=SIZE_ERROR,
            ),
        ]
    sequences = Argument("return_sequences", "flag", False, choices=(False, True))
    for d in (1, 2, 3):
        kind = f"ConvLSTM{d}D"
        arguments = (*_pick(d, f"filters {STEP}"), sequences)
        rules.append(Rule(kind, _conv_lstm(kind, d), arguments, siblings=_siblings("ConvLSTM{}D", d)))
    for d in (1, 2):
        deep = _pick(d, f"{STEP} depth_multiplier")
        apart = _pick(d, f"filters {STEP} depth_multiplier")
        local = _pick(d, "filters kernel_size strides data_format")
        rules += [
            Rule(name, make(name, d), arguments, siblings=_siblings(template, d, (1, 2)), error=SIZE_ERROR)
            for template, make, arguments in (
                ("DepthwiseConv{}D", _depthwise, deep),
                ("SeparableConv{}D", _separable, apart),
                ("LocallyConnected{}D", _local, local),
            )
            for name in [template.format(d)]
        ]
    return rules


def torch() -> list[Rule]:
    """Rules of the torch layers."""
    return [
        Rule(
            kind,
            _torch_conv(kind, d, transposed),
            _torch_arguments(d, transposed),
            siblings=_siblings(template, d),
            error="expected input to have another number of channels, or kernel size greater than input size",
        )
        for d in (1, 2, 3)
        for template, transposed in (("Conv{}d", False), ("ConvTranspose{}d", True))
        for kind in [template.format(d)]
    ]
