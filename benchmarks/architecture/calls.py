"""Random single-layer calls, valid and invalid, and what real torch and Keras make of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layerwise.shapes import RULES, Argument, RankMismatch
from layerwise.shapes.wrappers import unwrapped
from repairsolver.architecture.reading import WRAPPERS

Shape = tuple[int, ...]
FUNCTIONS = ("Add", "Sub", "Mul", "MatMul", "Concat", "View", "Permute")
LEFT_OUT = {
    "keras": (
        "LocallyConnected1D",
        "LocallyConnected2D",
        "InputLayer",
        "ThresholdedReLU",
        "Sigmoid",
        "Opaque",
    ),
    "torch": ("Opaque",),
}
"""Not in Keras 3, or no layers of the framework."""


@dataclass(frozen=True)
class Call:
    """One layer with arguments on inputs without batch axis."""

    framework: str
    kind: str
    args: Mapping[str, Any]
    inputs: tuple[Shape, ...]


def kinds(framework: str) -> list[str]:
    """The layer types that are drawn."""
    out = LEFT_OUT[framework]
    return [kind for kind in RULES[framework] if not any(inner in out for inner in unwrapped(kind))]


def draw(framework: str, kind: str, rng: random.Random) -> Call:
    """A call near the border of validity."""
    rule = RULES[framework][kind]
    digits = [int(c) for c in kind if c in "123"]
    steps = kind.startswith("TimeDistributed(")
    usual = digits[-1] + 1 + ("ConvLSTM" in kind) + steps if digits else 0
    rank = usual if digits and rng.random() < 0.9 else rng.randint(1, 4)
    first = tuple(rng.choice((1, 2, 3, 4, 6, 7)) for _ in range(rank))
    count = rule.inputs or 2
    inputs = [first]
    if count > 1 and rank > 1 and rng.random() < 0.1:
        inputs.append(first[1:])
    for _ in range(count - len(inputs)):
        inputs.append(tuple(n if rng.random() < 0.85 else rng.randint(1, 4) for n in first))
    seen = first[1:] if steps else first
    args = {a.name: _value(a, framework, seen, rng) for a in rule.arguments}
    return Call(framework, kind, args, tuple(inputs))


def _value(argument: Argument, framework: str, shape: Shape, rng: random.Random) -> Any:
    if argument.choices:
        allowed = [c for c in argument.choices if c != "channels_first"]
        return rng.choice(allowed)
    name = argument.name
    if name in ("start_dim", "end_dim"):
        return rng.choice((1, 2, -1, -2))
    if name == "same_rank":
        return True
    if name in ("strict", "bidirectional", "reset_after"):
        return name == "reset_after" if name != "bidirectional" else rng.random() < 0.5
    if name in ("axis", "dim"):
        return rng.choice([-1, 1, 2])
    if name == "dims":
        order = rng.sample(range(1, len(shape) + 1), len(shape))
        return tuple(order) if framework == "keras" else (0, *order)
    if name == "axes":
        return (rng.randint(1, 3), rng.randint(1, 3))
    if name == "target_shape":
        return shape[::-1] if rng.random() < 0.7 else (2, *shape[1:])
    if name == "shape":
        return (-1, *shape[::-1]) if rng.random() < 0.7 else (-1, 2, *shape[1:])
    if name == "normalized_shape":
        return shape[-rng.randint(1, len(shape)) :] if rng.random() < 0.7 else (3,)
    if argument.role == "derived":
        right = shape[0] if name in ("in_channels", "num_features", "num_channels") else shape[-1]
        return right if rng.random() < 0.8 else rng.randint(1, 6)
    if argument.size == 0:
        return rng.choice((1, 1, 2, 3, 4, 6)) if argument.role != "groups" else rng.choice((1, 1, 1, 2, 3))
    if name == "output_padding" and argument.low < 0:
        return (rng.choice((-1, -1, 0, 1)),) * argument.size
    low, high = (
        max(argument.low, 0),
        {"kernel": 4, "pool": 4, "stride": 3, "dilation": 2}.get(argument.role, 2),
    )
    if argument.role == "dilation" and rng.random() < 0.7:
        return (1,) * argument.size
    values = tuple(rng.randint(low, high) for _ in range(argument.size))
    return values if rng.random() < 0.5 else (values[0],) * argument.size


def predicted(call: Call) -> Shape | None:
    """The rule's output shape; None: invalid."""
    try:
        outcome = RULES[call.framework][call.kind](call.inputs, call.args)
    except RankMismatch:
        return None
    if any(size < 1 for size in outcome.shape) or not all(need.holds for need in outcome.requirements):
        return None
    return tuple(outcome.shape)


def real(call: Call) -> Shape | None:
    """The framework's output shape on real CPU tensors, batch of 2; None: it raises, or gives nothing."""
    return _REAL[call.framework](call)


def _torch(call: Call) -> Shape | None:
    import torch

    try:
        with torch.no_grad():
            out = torch_output(call, [torch.zeros((2, *shape)) for shape in call.inputs])
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError, ZeroDivisionError):
        return None
    shape = tuple(out.shape)
    return shape[1:] if shape[:1] == (2,) and 0 not in shape else None


def torch_output(call: Call, tensors: Sequence[Any]) -> Any:
    """The output tensor of a call; raises whatever torch does."""
    import torch

    args = dict(call.args)
    if call.kind in FUNCTIONS:
        functions: dict[str, Callable[[], Any]] = {
            "Add": lambda: tensors[0] + tensors[1],
            "Sub": lambda: tensors[0] - tensors[1],
            "Mul": lambda: tensors[0] * tensors[1],
            "MatMul": lambda: tensors[0] @ tensors[1],
            "Concat": lambda: torch.cat(list(tensors), dim=args["dim"]),
            "View": lambda: tensors[0].reshape(args["shape"]),
            "Permute": lambda: tensors[0].permute(args["dims"]),
        }
        return functions[call.kind]()
    if call.kind in ("LSTM", "GRU", "RNN", "MultiheadAttention"):
        args["batch_first"] = True
    if "stride" in args and 0 in args["stride"]:
        # 0 in one axis stands for the kernel's size there; torch has only None for all axes.
        pairs = zip(args["stride"], args["kernel_size"], strict=True)
        args["stride"] = tuple(s or k for s, k in pairs)
    module = getattr(torch.nn, call.kind)(**args).eval()
    if call.kind == "Embedding":
        return module(tensors[0].long())
    if call.kind == "MultiheadAttention":
        return module(tensors[0], tensors[0], tensors[0])[0]
    out = module(tensors[0])
    return out[0] if isinstance(out, tuple) else out


def _keras(call: Call) -> Shape | None:
    import keras

    try:
        layer = keras_layer(call)
        tensors = [keras.ops.zeros((2, *shape)) for shape in call.inputs]
        out = layer(tensors if len(tensors) > 1 else tensors[0])
    except Exception:  # Keras raises whatever its backend does
        return None
    if isinstance(out, list | tuple):
        # Both directions by themselves.
        out = out[0] if out[0].shape == out[1].shape else keras.ops.zeros((0,))
    shape = tuple(out.shape)
    return shape[1:] if shape[:1] == (2,) and 0 not in shape else None


def keras_layer(call: Call) -> Any:
    """The Keras layer of a call; raises whatever Keras does."""
    import keras

    outer, _, kind = call.kind.partition("(")
    if kind:
        own = {name: value for name, value in call.args.items() if name in WRAPPERS[outer]}
        rest = {name: value for name, value in call.args.items() if name not in own}
        return getattr(keras.layers, outer)(keras_layer(_inner(call, rest)), **own)
    args = _keras_arguments(call)
    positional: list[Any] = [0.5] if "Dropout" in call.kind or "Noise" in call.kind else []
    positional += ["relu"] if call.kind == "Activation" else []
    if call.kind == "Sigmoid":
        # Keras 3 has the function, but no layer of that name.
        return keras.layers.Activation("sigmoid")
    return getattr(keras.layers, call.kind)(*positional, **args)


def _keras_arguments(call: Call) -> dict[str, Any]:
    """What stands for None in the rules is left out; pairs and single numbers as Keras wants them."""
    args = {k: v for k, v in call.args.items() if k not in ("strict", "same_rank") and v != "channels_last"}
    if "strides" in args and 0 in args["strides"]:
        args["strides"] = tuple(s or p for s, p in zip(args["strides"], args["pool_size"], strict=True))
    for name in ("padding", "cropping"):
        if isinstance(args.get(name), tuple):
            flat = args[name]
            args[name] = flat if len(flat) == 2 else tuple(zip(flat[::2], flat[1::2], strict=True))
    if -1 in args.get("output_padding", ()):
        del args["output_padding"]
    if call.kind != "GRU":
        args.pop("reset_after", None)
    single = {k: v[0] for k, v in args.items() if isinstance(v, tuple) and len(v) == 1}
    return args | {k: v for k, v in single.items() if k not in ("target_shape", "dims")}


def _inner(call: Call, args: Mapping[str, Any]) -> Call:
    """What a layer around a layer calls."""
    kind = call.kind.partition("(")[2].removesuffix(")")
    steps = call.kind.startswith("TimeDistributed(")
    return Call(call.framework, kind, args, tuple(shape[steps:] for shape in call.inputs))


def explained(call: Call, rule: Shape | None, found: Shape | None) -> str:
    """Why a disagreement is none of the rules' mistakes; "" where it is one."""
    if "(" in call.kind and len(call.inputs[0]) > 1:
        return _explained_inside(call, rule, found)
    digits = [int(c) for c in call.kind if c in "123"]
    rank = len(call.inputs[0])
    if call.framework == "torch" and rule is None and found is not None:
        if call.kind in FUNCTIONS and len({len(shape) for shape in call.inputs}) > 1:
            return "torch broadcasts the batch axis with another axis"
        if call.kind == "MatMul" and rank == 1:
            return "torch multiplies over the batch axis"
        if call.kind.startswith("ZeroPad") and rank < digits[-1]:
            return "torch pads the batch axis too"
        if call.kind == "AdaptiveAvgPool2d" and set(call.args["output_size"]) == {1}:
            return "torch averages the last two axes of any rank where the output is 1 x 1"
        if call.kind == "Flatten" and -(rank + 1) in (call.args["start_dim"], call.args["end_dim"]):
            return "torch counts the batch axis, and flattens nothing"
        if call.kind == "PixelShuffle" and rank == 2:
            return "torch reads the batch axis as channels or positions of one sample"
        unbatched = (rank == digits[-1]) if digits else call.kind in _UNBATCHED and rank == 1
        if unbatched:
            return "torch reads the batch axis as channels or positions of one sample"
    if call.framework == "keras" and rule is not None and found is None:
        if call.kind == "LayerNormalization" and call.args["axis"] not in (-1, rank):
            return "the torch backend of Keras normalises only the last axes"
        if call.kind == "AveragePooling3D":
            return "the torch backend of Keras compares the window with the size before padding"
    return ""


def _explained_inside(call: Call, rule: Shape | None, found: Shape | None) -> str:
    inner = _inner(call, call.args)
    if call.kind.startswith("TimeDistributed(") and rule is None and found is not None:
        if call.args.get("merge_mode", "") is None:
            return "Keras stacks the tensors of both directions on a new axis"
        try:
            RULES[call.framework][inner.kind](inner.inputs, inner.args)
        except RankMismatch:
            return "TimeDistributed of Keras does not ask whether the rank is one that the inner layer takes"
    return explained(inner, rule, found)


_UNBATCHED = ("LSTM", "GRU", "RNN", "MultiheadAttention")
_REAL = {"torch": _torch, "keras": _keras}
