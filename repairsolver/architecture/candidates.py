"""Which values of a layer's arguments are worth trying on given input shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd, prod
from typing import Any

from layerwise.shapes import Argument
from repairsolver.architecture.alternatives import format_price
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model, Shape

_LAST = ("in_features", "input_size", "embed_dim")
HEAD = 64
_FIRST = ("in_channels", "num_features", "num_channels")


def argument_edits(model: Model, layer: Layer, inputs: Sequence[Shape], costs: Costs) -> Iterator[Edit]:
    """Single changes of the arguments of a layer."""
    widths = given_widths(layer)
    if layer.kind.startswith("TimeDistributed("):
        inputs = [shape[1:] for shape in inputs]
        if not inputs[0]:
            return
    for argument in model.rule(layer).arguments:
        old = layer.args[argument.name]
        if argument.name == "data_format" and format_price(model, layer, costs) is None:
            continue
        values = _choices(argument, layer, inputs[0]) if layer.kind != "Dot" else _axes(inputs)
        for value in dict.fromkeys([*values, *widths.get(argument.name, ())]):
            if value == old or (isinstance(value, tuple) and not value and argument.role == "derived"):
                continue
            cost = price_of(model, argument, value, layer, costs)
            size = size_of(layer, argument.name, value)
            yield Edit("set", layer.name, argument.name, value, cost, size, before=said(layer, argument))


def said(layer: Layer, argument: Argument) -> Any:
    """The argument as the user wrote it; a default that depends on other arguments is None."""
    default = None if argument.name in ("strides", "output_padding") else argument.default
    return layer.stated.get(argument.name, default)


def price_of(model: Model, argument: Argument, value: Any, layer: Layer, costs: Costs) -> int:
    """The price of a new value of an argument."""
    if argument.name == "data_format":
        return format_price(model, layer, costs) or 0
    if argument.name == "padding" and value == "valid":
        return costs.unpad
    if argument.role == "target":
        skip = 1 if argument.name == "shape" else 0
        old = layer.args[argument.name][skip:]
        if -1 not in old and prod(old) != prod(value[skip:]):
            return costs.target_total
    half = half_kernel(argument, layer)
    if half and any(v > h for v, h in zip(value, half, strict=True)):
        return costs.wide_padding
    if value in given_widths(layer).get(argument.name, ()):
        return min(costs.width_of_weights, costs.roles[argument.role])
    return costs.roles[argument.role]


def half_kernel(argument: Argument, layer: Layer) -> Shape:
    """The most padding of each border that makes sense; empty for arguments that are no such numbers."""
    kernel = layer.args.get("kernel_size", layer.args.get("kernel_shape"))
    if argument.role != "padding" or argument.choices or kernel is None:
        return ()
    return tuple(k // 2 for k in kernel) * (argument.size // len(kernel))


def size_of(layer: Layer, name: str, value: Any) -> float:
    """The size of a change of an argument; the usual number of heads counts as none."""
    usual = name == "num_heads" and value == usual_heads(layer)
    return 0.0 if usual else change(layer.args.get(name), value)


def change(old: Any, new: Any) -> float:
    """Relative size of a numeric change; 1 where that means nothing."""
    a, b = (v if isinstance(v, tuple) else (v,) for v in (old, new))
    if len(a) != len(b) or not all(isinstance(v, int) for v in (*a, *b)):
        return 1.0
    total: float = sum(abs(x - y) / max(abs(x), abs(y), 1) for x, y in zip(a, b, strict=True))
    return total / max(len(a), 1)


def _choices(argument: Argument, layer: Layer, shape: Shape) -> Iterator[Any]:
    if argument.choices:
        yield from argument.choices
        return
    old = layer.args[argument.name]
    if argument.role == "derived":
        yield from derived(argument, old, shape)
    elif argument.role in ("kernel", "pool") and argument.size:
        yield from _windows(argument, layer, shape)
    elif argument.role in ("stride", "dilation"):
        yield (1,) * argument.size
    elif argument.role == "padding":
        yield from _paddings(layer, shape)
    elif argument.role == "groups":
        yield from _divisors(layer, old)
    elif argument.role in ("amount", "border"):
        yield from _amounts(argument, layer, shape)
    elif argument.role == "target":
        yield from _reshapes(argument, old, shape)
    elif argument.name == "axis":
        yield from range(1, len(shape) + 1)


def derived(argument: Argument, old: Any, shape: tuple[Any, ...]) -> Iterator[Any]:
    """The value with which an argument that follows from the input fits it; none if the rank is too low."""
    if not shape:
        return
    if argument.name in _LAST:
        yield shape[-1]
    elif argument.name in _FIRST:
        yield shape[0]
    elif argument.name == "normalized_shape":
        yield shape[len(shape) - len(old) :]
    elif argument.name == "constant":
        yield _constant(old, shape)


def _constant(old: Shape, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """A constant that broadcasts: its axes of size 1 stay, one more than the input's is the batch."""
    tail = (old[:1] + tuple(shape)) if len(old) > len(shape) else tuple(shape[len(shape) - len(old) :])
    return tuple(1 if o == 1 else size for o, size in zip(old, tail, strict=False))


def _sizes(layer: Layer, shape: Shape, dims: int) -> Shape:
    """The spatial sizes, if the rank is right; torch and channels_first have the channels in front."""
    if len(shape) != dims + 1:
        return ()
    first = layer.args.get("data_format", "channels_first") == "channels_first"
    return shape[1:] if first else shape[:-1]


def _windows(argument: Argument, layer: Layer, shape: Shape) -> Iterator[Any]:
    sizes, old = _sizes(layer, shape, argument.size), layer.args[argument.name]
    if not sizes or layer.kind.startswith("UpSampling"):
        return
    pads = layer.args.get("padding", layer.args.get("pads", 0))
    pads = pads if isinstance(pads, tuple) else (0,) * argument.size
    both = pads if len(pads) == 2 * len(sizes) else pads * 2
    least = tuple(
        min(k, n + both[i] + both[i + len(sizes)]) for i, (k, n) in enumerate(zip(old, sizes, strict=True))
    )
    yield least
    yield tuple(min(least) for _ in least)


def _paddings(layer: Layer, shape: Shape) -> Iterator[Any]:
    if "kernel_shape" in layer.args:
        yield from _onnx_pads(layer, shape)
        return
    kernel = layer.args["kernel_size"]
    yield tuple(k // 2 for k in kernel)
    sizes = _sizes(layer, shape, len(kernel))
    if sizes:
        yield tuple(
            max(p, (k - n + 1) // 2) for p, k, n in zip(layer.args["padding"], kernel, sizes, strict=True)
        )


def _onnx_pads(layer: Layer, shape: Shape) -> Iterator[Any]:
    """Half the kernel on both sides, or what is missing."""
    kernel, pads = layer.args["kernel_shape"], layer.args["pads"]
    dims = len(kernel)
    yield (*((k - 1) // 2 for k in kernel), *(k // 2 for k in kernel))
    sizes = _sizes(layer, shape, dims)
    if sizes:
        short = [
            max(0, k - n - pads[i] - pads[i + dims])
            for i, (k, n) in enumerate(zip(kernel, sizes, strict=True))
        ]
        yield tuple(p + (s + (i >= dims)) // 2 for i, (p, s) in enumerate(zip(pads, short * 2, strict=True)))


def _divisors(layer: Layer, old: int) -> Iterator[int]:
    numbers = [
        layer.args[n] for n in ("in_channels", "out_channels", "num_channels", "embed_dim") if n in layer.args
    ]
    common = gcd(*numbers) if numbers else 1
    found = [d for d in range(1, min(common, 4096) + 1) if common % d == 0]
    # Near in ratio; powers of two before others, as they are usual.
    yield from sorted(found, key=lambda d: (max(d, old) / min(d, old), d & (d - 1) != 0))[:4]
    if usual_heads(layer) in found:
        yield usual_heads(layer)


def usual_heads(layer: Layer) -> int:
    """The number of attention heads of width 64; 0 for other layers.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.2.2; most transformers since.
    """
    return int(layer.args["embed_dim"]) // HEAD if "num_heads" in layer.args else 0


def _amounts(argument: Argument, layer: Layer, shape: Shape) -> Iterator[Any]:
    old = layer.args[argument.name]
    if argument.name == "output_padding":
        steps = layer.args.get("strides", layer.args.get("stride"))
        for extra in range(max(steps)):
            yield (extra,) * argument.size
        return
    sizes = _sizes(layer, shape, argument.size // 2)
    if argument.name == "cropping" and sizes:
        fitted: list[int] = []
        for i, size in enumerate(sizes):
            low = min(old[2 * i], size - 1)
            fitted += [low, min(old[2 * i + 1], size - 1 - low)]
        yield tuple(fitted)


def _reshapes(argument: Argument, old: tuple[Any, ...], shape: Shape) -> Iterator[Any]:
    """Ones dropped or appended, the first axes merged, or one axis that takes what there is."""
    skip = 1 if argument.name == "shape" else 0
    head, target, total = old[:skip], old[skip:], prod(shape)
    for rank in (1, 2, 3, 4):
        kept = tuple(s for s in target if s != 1)
        options = [kept + (1,) * (rank - len(kept)), (*target[: rank - 1], -1), target[:rank]]
        for option in options:
            whole = tuple(total // max(1, prod(s for s in option if s > 0)) if s == -1 else s for s in option)
            if len(whole) == rank and prod(whole) == total:
                yield (*head, *whole)
    for i in range(len(target)):
        rest = prod(s for j, s in enumerate(target) if j != i)
        if rest > 0 and total % rest == 0:
            yield (*head, *target[:i], total // rest, *target[i + 1 :])


def _axes(inputs: Sequence[Shape]) -> Iterator[Any]:
    left, right = inputs
    for i, n in enumerate(left, start=1):
        for j, m in enumerate(right, start=1):
            if n == m:
                yield (i, j)


def given_widths(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Widths that weights which are given imply."""
    kernel = layer.weights.get("kernel") or layer.weights.get("weight")
    table = layer.weights.get("embeddings")
    if table is not None and len(table) == 2:
        return {"input_dim": (table[0],), "output_dim": (table[1],)}
    if kernel is None or len(kernel) < 2:
        return {}
    torch = "weight" in layer.weights
    return dict.fromkeys(("units", "filters", "out_features", "out_channels"), (kernel[0 if torch else -1],))
