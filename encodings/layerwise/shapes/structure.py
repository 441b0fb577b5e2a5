"""Layers that rearrange or join tensors, and those that change no shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from layerwise.shapes.rule import (
    Argument,
    Arguments,
    Function,
    Outcome,
    RankMismatch,
    Requirement,
    Rule,
    require,
)
from layerwise.shapes.terms import Shape, Term, divides, every, floor_div, larger, product, same_shape, some

POINTWISE_KERAS = (
    "Activation ReLU LeakyReLU ELU ThresholdedReLU Sigmoid Dropout GaussianNoise GaussianDropout "
    "AlphaDropout ActivityRegularization Masking Identity InputLayer"
)
POINTWISE_TORCH = (
    "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Sigmoid Tanh Softplus "
    "Softsign LogSigmoid Softmax LogSoftmax Dropout AlphaDropout Identity"
)


def same(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    """Any shape passes."""
    return Outcome(inputs[0])


def _prelu(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    return Outcome(inputs[0], (), {"alpha": inputs[0]})


def _flatten(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    return Outcome((product(inputs[0]),))


def filled(total: Term, target: Shape) -> tuple[Shape, Requirement]:
    """A target shape with its -1 replaced by what is left of the elements, and whether the counts agree."""
    known = product(size for size in target if not _free(size))
    text = f"cannot reshape {total} elements into {list(target)}"
    if not any(_free(size) for size in target):
        return target, require("total size", total == known, text)
    rest = floor_div(total, known)
    return tuple(rest if _free(s) else s for s in target), require("total size", divides(known, total), text)


def _free(size: Term) -> bool:
    return isinstance(size, int) and size == -1


def _reshape(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    shape, need = filled(product(inputs[0]), a["target_shape"])
    return Outcome(shape, (need,))


def _view(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    """The first entry stands for the batch."""
    if a["shape"][:1] not in ((-1,), ("batch",)):
        raise RankMismatch(f"View{a['shape']} must keep the batch axis: -1 or 'batch' first")
    shape, need = filled(product(inputs[0]), a["shape"][1:])
    return Outcome(shape, (need,))


def permute(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    """ONNX counts all axes from 0; the batch stays in place."""
    return _permute(inputs, {"dims": a["perm"]}, offset=1)


def _permute(inputs: Sequence[Shape], a: Arguments, offset: int = 0) -> Outcome:
    """Keras counts the axes after the batch from 1, torch all axes from 0; both leave the batch in place."""
    dims = a["dims"][offset:]
    if sorted(dims) != list(range(1, len(inputs[0]) + 1)) or (offset and a["dims"][0] != 0):
        raise RankMismatch(f"Permute{a['dims']} does not fit {inputs[0]}")
    return Outcome(tuple(inputs[0][d - 1] for d in dims))


def _repeat(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if len(inputs[0]) != 1:
        raise RankMismatch(f"RepeatVector expects ndim=2, found ndim={len(inputs[0]) + 1}")
    return Outcome(
        (a["n"], inputs[0][0]), (require("n", a["n"] >= 1, f"RepeatVector: n {a['n']} must be positive"),)
    )


def broadcast(inputs: Sequence[Shape], kind: str, strict: bool) -> Outcome:
    """Elementwise operations: equal sizes, or, unless strict, 1 on one side."""
    rank = max(len(shape) for shape in inputs)
    text = f"{kind}: inputs have incompatible shapes {', '.join(map(str, inputs))}"
    if strict:
        if any(len(shape) != rank for shape in inputs):
            raise RankMismatch(text)
        return Outcome(
            inputs[0], (require("equal shapes", every(same_shape(inputs[0], s) for s in inputs[1:]), text),)
        )
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in inputs]
    out, holds = list(padded[0]), []
    for shape in padded[1:]:
        holds += [some([x == y, x == 1, y == 1]) for x, y in zip(out, shape, strict=True)]
        out = [larger(x, y) for x, y in zip(out, shape, strict=True)]
    return Outcome(tuple(out), (require("shapes broadcast", every(holds), text),))


def merge(kind: str) -> Function:
    """Elementwise operations; of different ranks only where the framework keeps batches aligned."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        if a.get("same_rank") and len({len(shape) for shape in inputs}) > 1:
            listed = ", ".join(map(str, inputs))
            raise RankMismatch(
                f"{kind}: of different ranks the batch meets another axis: {listed} with batch"
            )
        return broadcast(inputs, kind, a["strict"])

    return function


SAME_RANK = Argument("same_rank", "flag", True)
"""Of frameworks that align shapes at their last axis, so that a batch may meet another axis."""


def concatenate(kind: str, name: str) -> Function:
    """Sizes must agree but on one axis, which counts the batch axis as 0."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        rank = len(inputs[0])
        place = a[name] + rank if a[name] < 0 else a[name] - 1
        text = f"{kind} on axis {a[name]}: sizes must match except there: {', '.join(map(str, inputs))}"
        if any(len(s) != rank for s in inputs) or not 0 <= place < rank:
            raise RankMismatch(text)
        rest = [[x for i, x in enumerate(s) if i != place] for s in inputs]
        holds = every(x == y for s in rest[1:] for x, y in zip(rest[0], s, strict=True))
        total = inputs[0][place]
        for shape in inputs[1:]:
            total = total + shape[place]
        out = tuple(total if i == place else x for i, x in enumerate(inputs[0]))
        return Outcome(out, (require("sizes match", holds, text),))

    return function


def _dot(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    left, right = inputs
    i, j = (d if d > 0 else d + len(s) + 1 for d, s in zip(a["axes"], inputs, strict=True))
    if not (1 <= i <= len(left) and 1 <= j <= len(right)):
        raise RankMismatch(f"Dot: axes {a['axes']} do not exist in {left} and {right}")
    text = f"Dot: axis {i} of {left} and axis {j} of {right} must have the same size"
    out = (*left[: i - 1], *left[i:], *right[: j - 1], *right[j:]) or (1,)
    return Outcome(out, (require("dot axes", left[i - 1] == right[j - 1], text),))


def matmul(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    """Products of matrices on the last two axes; the others broadcast."""
    left, right = inputs
    if len(left) != len(right) or len(left) < 2:
        raise RankMismatch(f"MatMul of {left} and {right}: two axes after as many leading ones are needed")
    lead = broadcast([left[:-2], right[:-2]], "MatMul", strict=False)
    need = every([left[-1] == right[-2], *(n.holds for n in lead.requirements)])
    text = f"MatMul of {left} and {right}"
    return Outcome((*lead.shape, left[-2], right[-1]), (require("inner sizes", need, text),))


def _shuffle(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if len(inputs[0]) < 3:
        raise RankMismatch(f"PixelShuffle expects ndim=4 or more, found ndim={len(inputs[0]) + 1}")
    *lead, channels, high, wide = inputs[0]
    r = a["upscale_factor"]
    need = require(
        "channels divide", divides(r * r, channels), f"PixelShuffle: {channels} channels, factor {r}"
    )
    return Outcome((*lead, floor_div(channels, r * r), high * r, wide * r), (need,))


def _torch_flatten(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    shape = inputs[0]
    first = a["start_dim"] - 1 if a["start_dim"] > 0 else a["start_dim"] + len(shape)
    last = a["end_dim"] - 1 if a["end_dim"] > 0 else a["end_dim"] + len(shape)
    if not 0 <= first <= last < len(shape):
        raise RankMismatch(f"Flatten({a['start_dim']}, {a['end_dim']}) does not fit {shape}")
    return Outcome((*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]))


def keras() -> list[Rule]:
    """Rules of the Keras layers."""
    strict = Argument("strict", "flag", False)
    target = Argument("target_shape", "target", size=-1)
    merges = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]
    return [
        *(Rule(kind, same) for kind in POINTWISE_KERAS.split()),
        *(Rule(f"SpatialDropout{d}D", partial(_ranked, f"SpatialDropout{d}D", d + 1)) for d in (1, 2, 3)),
        Rule("PReLU", _prelu),
        Rule("Flatten", _flatten),
        Rule("Reshape", _reshape, (target,), error="The total size of the tensor must be unchanged"),
        Rule("Permute", _permute, (Argument("dims", "flag"),), error="dims do not match the input"),
        Rule("RepeatVector", _repeat, (Argument("n", "width"),), error="expected ndim=2"),
        *(
            Rule(
                k,
                merge(k),
                (strict,),
                None if k != "Subtract" else 2,
                error="Inputs have incompatible shapes",
            )
            for k in merges
        ),
        Rule(
            "Concatenate",
            concatenate("Concatenate", "axis"),
            (Argument("axis", "flag", -1),),
            None,
            error="A `Concatenate` layer requires inputs with matching shapes except for the axis",
        ),
        Rule("Dot", _dot, (Argument("axes", "flag"),), 2, error="Incompatible input shapes"),
    ]


def _ranked(kind: str, rank: int, inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if len(inputs[0]) != rank:
        raise RankMismatch(f"{kind} expects ndim={rank + 1}, found ndim={len(inputs[0]) + 1}")
    return Outcome(inputs[0])


def torch() -> list[Rule]:
    """Rules of the torch layers and functions."""
    ends = (Argument("start_dim", "flag", 1), Argument("end_dim", "flag", -1))
    clash = "The size of tensor a must match the size of tensor b"
    strict = Argument("strict", "flag", False)
    return [
        *(Rule(kind, same) for kind in POINTWISE_TORCH.split()),
        Rule("Flatten", _torch_flatten, ends, error="Dimension out of range"),
        Rule(
            "View", _view, (Argument("shape", "target", size=-1),), error="shape is invalid for input of size"
        ),
        Rule(
            "Permute",
            partial(_permute, offset=1),
            (Argument("dims", "flag"),),
            error="number of dimensions in the ordering does not match",
        ),
        Rule("PixelShuffle", _shuffle, (Argument("upscale_factor", "pool"),), error="pixel_shuffle expects"),
        *(
            Rule(kind, merge(kind), (strict, SAME_RANK), inputs, error=clash)
            for kind, inputs in _TORCH_MERGES.items()
        ),
        Rule("MatMul", matmul, (), 2, error="mat1 and mat2 shapes cannot be multiplied"),
        Rule(
            "Concat",
            concatenate("Concat", "dim"),
            (Argument("dim", "flag", 1),),
            None,
            error="Sizes of tensors must match except in dimension",
        ),
    ]


_TORCH_MERGES: dict[str, int | None] = {"Add": None, "Sub": 2, "Mul": None}
