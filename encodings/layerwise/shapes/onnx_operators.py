"""Operators of ONNX on one sample: the first axis, the batch, is left out and must stay where it is.

An operator with a constant second input has that input's shape as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerwise.shapes.features import on_axis
from layerwise.shapes.rule import (
    Argument,
    Arguments,
    Function,
    Outcome,
    RankMismatch,
    Rule,
    need_rank,
    require,
)
from layerwise.shapes.structure import SAME_RANK, broadcast, concatenate, filled, matmul, merge, permute, same
from layerwise.shapes.terms import Shape, divides, every, floor_div, product, some

POINTWISE = (
    "Relu LeakyRelu Elu Selu Celu Sigmoid Tanh Softplus Softsign HardSigmoid HardSwish Gelu Mish Clip Erf "
    "Exp Log Abs Neg Sqrt Reciprocal Floor Ceil Round Sign Identity Dropout Cast ThresholdedRelu"
)
BINARY = "Add Sub Mul Div Pow Max Min Mean Sum PRelu"
REDUCTIONS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2"


def _gemm(kind: str) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        if kind == "Gemm":
            need_rank(inputs[0], 1, kind=kind)
        if not inputs[0]:
            raise RankMismatch(f"{kind} needs a feature axis after the batch axis")
        wide, deep, size = a["in_features"], a["out_features"], inputs[0][-1]
        text = f"{kind}: weights for {wide} features, input {inputs[0]} ends in {size}"
        weight = (deep, wide) if a.get("transB") else (wide, deep)
        return Outcome(
            (*inputs[0][:-1], deep),
            (require("in_features", size == wide, text),),
            {"B": weight, "C": (deep,)},
        )

    return function


def _constant(kind: str) -> Function:
    """The second input is a constant: its shape is an argument; of full rank it has a batch axis of 1."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        shape = a["constant"]
        given = shape[1:] if len(shape) == len(inputs[0]) + 1 else shape
        if len(given) > len(inputs[0]):
            raise RankMismatch(
                f"{kind}: constant {shape} has more axes than the input {inputs[0]} with its batch"
            )
        met = broadcast([inputs[0], given], kind, strict=False)
        return Outcome(met.shape, met.requirements, {"constant": shape})

    return function


def _batch_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    return _per_channel("BatchNormalization", inputs, a, ("scale", "B", "input_mean", "input_var"))


def _instance_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 2, 3, 4, kind="InstanceNormalization")
    return _per_channel("InstanceNormalization", inputs, a, ("scale", "B"))


def _per_channel(kind: str, inputs: Sequence[Shape], a: Arguments, names: tuple[str, ...]) -> Outcome:
    if not inputs[0]:
        raise RankMismatch(f"{kind} needs a channel axis after the batch axis")
    size, wide = inputs[0][0], a["num_features"]
    text = f"{kind}: scale for {wide} channels, input has {size}"
    return Outcome(inputs[0], (require("num_features", size == wide, text),), dict.fromkeys(names, (wide,)))


def _group_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 2, 3, 4, kind="GroupNormalization")
    size, wide, groups = inputs[0][0], a["num_channels"], a["num_groups"]
    needs = (
        require(
            "num_channels", size == wide, f"GroupNormalization: scale for {wide} channels, input has {size}"
        ),
        require(
            "groups divide", divides(groups, wide), f"GroupNormalization: {groups} groups of {wide} channels"
        ),
    )
    return Outcome(inputs[0], needs, {"scale": (wide,), "bias": (wide,)})


def _layer_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    on_axis(inputs[0], a["axis"], "LayerNormalization")
    start = a["axis"] + len(inputs[0]) if a["axis"] < 0 else a["axis"] - 1
    tail, wanted = inputs[0][start:], a["normalized_shape"]
    text = f"LayerNormalization: scale {wanted}, the normalised axes are {tail}"
    fits = len(tail) == len(wanted) and every(
        some([t == w, w == 1]) for t, w in zip(tail, wanted, strict=True)
    )
    return Outcome(inputs[0], (require("normalized_shape", fits, text),), {"Scale": wanted, "B": wanted})


def _recurrent(kind: str, gates: int) -> Function:
    """Steps are the first axis, which is left out: (batch, size) to (directions, batch, hidden_size)."""

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], 2, kind=kind)
        batch, size = inputs[0]
        wide, hidden, ways = a["input_size"], a["hidden_size"], a["directions"]
        needs = (
            require("input_size", size == wide, f"{kind}: weights for {wide} features, input has {size}"),
        )
        weights = {"W": (ways, gates * hidden, wide), "R": (ways, gates * hidden, hidden)}
        return Outcome((ways, batch, hidden), needs, {**weights, "B": (ways, 2 * gates * hidden)})

    return function


def _depth_to_space(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 3, kind="DepthToSpace")
    (channels, high, wide), b = inputs[0], a["blocksize"]
    need = require(
        "channels divide", divides(b * b, channels), f"DepthToSpace: {channels} channels, blocksize {b}"
    )
    return Outcome((floor_div(channels, b * b), high * b, wide * b), (need,))


def _space_to_depth(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 3, kind="SpaceToDepth")
    (channels, high, wide), b = inputs[0], a["blocksize"]
    text = f"SpaceToDepth: sizes {high} x {wide}, blocksize {b}"
    need = require("sizes divide", every([divides(b, high), divides(b, wide)]), text)
    return Outcome((channels * b * b, floor_div(high, b), floor_div(wide, b)), (need,))


def _pad(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    pads, rank = a["pads"], len(inputs[0])
    if len(pads) != 2 * rank:
        raise RankMismatch(f"Pad: {len(pads)} pads for an input of {rank} axes after the batch")
    out = tuple(n + pads[i] + pads[i + rank] for i, n in enumerate(inputs[0]))
    text = f"Pad: sizes would be {list(out)}"
    return Outcome(out, (require("positive size", every(n >= 1 for n in out), text),))


def _flatten(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    return Outcome((product(inputs[0]),))


def _reshape(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    """The first entry stands for the batch; 0 keeps the size of that axis."""
    target = list(a["shape"][1:])
    for i, size in enumerate(target):
        if isinstance(size, int) and size == 0:
            if i >= len(inputs[0]):
                raise RankMismatch(f"Reshape: entry {i + 1} keeps an axis that {inputs[0]} does not have")
            target[i] = inputs[0][i]
    shape, need = filled(product(inputs[0]), tuple(target))
    return Outcome(shape, (need,))


def _squeeze(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    rank = len(inputs[0])
    places = [axis + rank if axis < 0 else axis - 1 for axis in a["axes"]]
    if not all(0 <= place < rank for place in places):
        raise RankMismatch(f"Squeeze: axes {a['axes']} of an input of {rank} axes after the batch")
    text = f"Squeeze: axes {a['axes']} of {inputs[0]} must have size 1"
    need = require("size 1", every(inputs[0][place] == 1 for place in places), text)
    return Outcome(tuple(n for i, n in enumerate(inputs[0]) if i not in places), (need,))


def _unsqueeze(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    rank = len(inputs[0]) + len(a["axes"])
    places = [axis + rank if axis < 0 else axis - 1 for axis in a["axes"]]
    if len(set(places)) < len(places) or not all(0 <= place < rank for place in places):
        raise RankMismatch(f"Unsqueeze: axes {a['axes']} of {inputs[0]}")
    rest = iter(inputs[0])
    return Outcome(tuple(1 if i in places else next(rest) for i in range(rank)))


def _reduce(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    rank = len(inputs[0])
    places = [axis + rank if axis < 0 else axis - 1 for axis in a["axes"]]
    if not all(0 <= place < rank for place in places):
        raise RankMismatch(f"axes {a['axes']} do not exist in {inputs[0]} with its batch")
    kept = [1 if i in places else n for i, n in enumerate(inputs[0]) if a["keepdims"] or i not in places]
    return Outcome(tuple(kept))


def _resize(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if len(a["scales"]) != len(inputs[0]):
        raise RankMismatch(f"Resize: {len(a['scales'])} scales for {inputs[0]}")
    return Outcome(tuple(n * s for n, s in zip(inputs[0], a["scales"], strict=True)))


def _softmax(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    on_axis(inputs[0], a["axis"], "Softmax")
    return Outcome(inputs[0])


def _gather(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    return Outcome((*inputs[0], a["columns"]), (), {"data": (a["rows"], a["columns"])})


def onnx() -> list[Rule]:
    """Rules of the operators without windows."""
    linear = (Argument("in_features", "derived"), Argument("out_features", "width"))
    strict, axes = Argument("strict", "flag", False), Argument("axes", "flag")
    rnn = (
        Argument("input_size", "derived"),
        Argument("hidden_size", "width"),
        Argument("directions", "flag", 1),
    )
    channels, block = Argument("num_features", "derived"), Argument("blocksize", "pool")
    groups = (Argument("num_groups", "groups"), Argument("num_channels", "derived"))
    norm = (Argument("normalized_shape", "derived", size=-1), Argument("axis", "flag", -1))
    constant = Argument("constant", "derived", size=-1)
    table = (Argument("rows", "width"), Argument("columns", "width"))
    keep, clash = Argument("keepdims", "flag", 1), "Incompatible dimensions"
    border = Argument("pads", "border", size=-1, low=-(10**6))
    return [
        *(Rule(kind, same) for kind in POINTWISE.split()),
        *(Rule(kind, merge(kind), (strict, SAME_RANK), None, error=clash) for kind in BINARY.split()),
        *(Rule(f"{kind}Constant", _constant(kind), (constant,), error=clash) for kind in BINARY.split()),
        *(Rule(kind, _reduce, (axes, keep)) for kind in REDUCTIONS.split()),
        *(Rule(k, _recurrent(k, g), rnn, error=clash) for k, g in {"RNN": 1, "GRU": 3, "LSTM": 4}.items()),
        Rule("Gemm", _gemm("Gemm"), (*linear, Argument("transB", "flag", 0)), error=clash),
        Rule("MatMulConstant", _gemm("MatMul"), linear, error=clash),
        Rule("MatMul", matmul, (), 2, error=clash),
        Rule("BatchNormalization", _batch_norm, (channels,), error=clash),
        Rule("InstanceNormalization", _instance_norm, (channels,), error=clash),
        Rule("GroupNormalization", _group_norm, groups, error=clash),
        Rule("LayerNormalization", _layer_norm, norm, error=clash),
        Rule("DepthToSpace", _depth_to_space, (block,), error=clash),
        Rule("SpaceToDepth", _space_to_depth, (block,), error=clash),
        Rule("Pad", _pad, (border,), error=clash),
        Rule("Flatten", _flatten),
        Rule("Reshape", _reshape, (Argument("shape", "target", size=-1),), error="cannot be reshaped"),
        Rule("Transpose", permute, (Argument("perm", "flag"),), error="perm does not fit"),
        Rule("Squeeze", _squeeze, (axes,), error=clash),
        Rule("Unsqueeze", _unsqueeze, (axes,), error=clash),
        Rule("Resize", _resize, (Argument("scales", "pool", size=-1),), error=clash),
        Rule("Softmax", _softmax, (Argument("axis", "flag", -1),)),
        Rule("LogSoftmax", _softmax, (Argument("axis", "flag", -1),)),
        Rule("Gather", _gather, table),
        Rule("Concat", concatenate("Concat", "axis"), (Argument("axis", "flag"),), None, error=clash),
    ]
