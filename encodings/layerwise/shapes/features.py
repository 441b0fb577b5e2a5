"""Layers on the feature axis: dense, embedding, recurrent, attention and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

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
from layerwise.shapes.terms import Shape, Term, divides, same_shape

SEQUENCES = (False, True)
MISMATCH = "mat1 and mat2 shapes cannot be multiplied"


def _dense(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if not inputs[0]:
        raise RankMismatch("Dense expects min_ndim=2 (with batch), found ndim=1")
    units = a["units"]
    needs = (require("units", units >= 1, f"Dense: units {units} must be positive"),)
    return Outcome((*inputs[0][:-1], units), needs, {"kernel": (inputs[0][-1], units), "bias": (units,)})


def _linear(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if not inputs[0]:
        raise RankMismatch("Linear needs a feature axis after the batch axis")
    wide, deep, size = a["in_features"], a["out_features"], inputs[0][-1]
    needs = (
        require("in_features", size == wide, f"Linear: in_features {wide}, input {inputs[0]} ends in {size}"),
    )
    return Outcome((*inputs[0][:-1], deep), needs, {"weight": (deep, wide), "bias": (deep,)})


def _embedding(rows: str, columns: str, weight: str) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        return Outcome((*inputs[0], a[columns]), (), {weight: (a[rows], a[columns])})

    return function


def _recurrent(kind: str, gates: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], 2, kind=kind)
        steps, size = inputs[0]
        units = a["units"]
        needs = (require("units", units >= 1, f"{kind}: units {units} must be positive"),)
        rows = {"kernel": (size, gates * units), "recurrent_kernel": (units, gates * units)}
        two = gates == 3 and a["reset_after"]
        bias = {"bias": (2, gates * units) if two else (gates * units,)}
        return Outcome((steps, units) if a["return_sequences"] else (units,), needs, rows | bias)

    return function


def _torch_recurrent(kind: str, gates: int) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], 2, kind=kind)
        steps, size = inputs[0]
        wide, hidden = a["input_size"], a["hidden_size"]
        needs = (
            require("input_size", size == wide, f"{kind}: input_size {wide}, input has {size} features"),
        )
        weights = {"weight_ih_l0": (gates * hidden, wide), "weight_hh_l0": (gates * hidden, hidden)}
        return Outcome((steps, hidden * (2 if a["bidirectional"] else 1)), needs, weights)

    return function


def _attention(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    need_rank(inputs[0], 2, kind="MultiheadAttention")
    width, heads, size = a["embed_dim"], a["num_heads"], inputs[0][-1]
    needs = (
        require(
            "heads divide", divides(heads, width), f"embed_dim {width} must be divisible by num_heads {heads}"
        ),
        require(
            "embed_dim", size == width, f"MultiheadAttention: embed_dim {width}, input has {size} features"
        ),
    )
    return Outcome(
        inputs[0], needs, {"in_proj_weight": (3 * width, width), "out_proj.weight": (width, width)}
    )


def _axis_norm(kind: str) -> Function:
    names = (
        ("gamma", "beta", "moving_mean", "moving_variance")
        if kind == "BatchNormalization"
        else ("gamma", "beta")
    )

    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        size = on_axis(inputs[0], a["axis"], kind)
        return Outcome(inputs[0], (), dict.fromkeys(names, (size,)))

    return function


def on_axis(shape: Shape, axis: int, kind: str) -> Term:
    """The size on an axis that counts the batch axis as 0."""
    place = axis + len(shape) if axis < 0 else axis - 1
    if not 0 <= place < len(shape):
        raise RankMismatch(f"{kind}: axis {axis} does not exist at ndim={len(shape) + 1}")
    return shape[place]


def _softmax(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    on_axis(inputs[0], a["axis"], "Softmax")
    return Outcome(inputs[0])


def _batch_norm(kind: str, ranks: tuple[int, ...]) -> Function:
    def function(inputs: Sequence[Shape], a: Arguments) -> Outcome:
        need_rank(inputs[0], *ranks, kind=kind)
        size, wide = inputs[0][0], a["num_features"]
        text = f"{kind}: num_features {wide}, input has {size} channels"
        return Outcome(
            inputs[0], (require("num_features", size == wide, text),), {"weight": (wide,), "bias": (wide,)}
        )

    return function


def _group_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    if not inputs[0]:
        raise RankMismatch("GroupNorm needs a channel axis after the batch axis")
    groups, wide, size = a["num_groups"], a["num_channels"], inputs[0][0]
    needs = (
        require(
            "groups divide",
            divides(groups, wide),
            f"num_channels {wide} must be divisible by num_groups {groups}",
        ),
        require("num_channels", size == wide, f"GroupNorm: num_channels {wide}, input has {size} channels"),
    )
    return Outcome(inputs[0], needs, {"weight": (wide,), "bias": (wide,)})


def _layer_norm(inputs: Sequence[Shape], a: Arguments) -> Outcome:
    wanted = a["normalized_shape"]
    if len(wanted) > len(inputs[0]):
        raise RankMismatch(f"LayerNorm over {wanted} needs at least {len(wanted)} axes after the batch axis")
    tail = inputs[0][len(inputs[0]) - len(wanted) :]
    text = f"LayerNorm: normalized_shape {wanted}, expected input with shape [*, {wanted}], got {inputs[0]}"
    needs = (require("normalized_shape", same_shape(tail, wanted), text),)
    return Outcome(inputs[0], needs, {"weight": wanted, "bias": wanted})


def keras() -> list[Rule]:
    """Rules of the Keras layers."""
    units = Argument("units", "width")
    kept = Argument("return_sequences", "flag", False, choices=SEQUENCES)
    reset = Argument("reset_after", "flag", True)
    axis = Argument("axis", "flag", -1)
    table = (Argument("input_dim", "width", 1000), Argument("output_dim", "width", 32))
    gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
    return [
        Rule("Dense", _dense, (units,), error="expected axis -1 of input shape to have another value"),
        Rule("Embedding", _embedding("input_dim", "output_dim", "embeddings"), table),
        *(
            Rule(kind, _recurrent(kind, g), (units, kept, reset), error="expected ndim=3")
            for kind, g in gates.items()
        ),
        Rule("BatchNormalization", _axis_norm("BatchNormalization"), (axis,), error="axis out of range"),
        Rule("LayerNormalization", _axis_norm("LayerNormalization"), (axis,), error="axis out of range"),
        Rule("Softmax", _softmax, (axis,), error="axis out of range"),
    ]


def torch() -> list[Rule]:
    """Rules of the torch layers."""
    rnn = (
        Argument("input_size", "derived"),
        Argument("hidden_size", "width"),
        Argument("bidirectional", "flag", False),
    )
    heads = (Argument("embed_dim", "derived"), Argument("num_heads", "groups"))
    features = Argument("num_features", "derived")
    groups = (Argument("num_groups", "groups"), Argument("num_channels", "derived"))
    ranks = {"BatchNorm1d": (1, 2), "BatchNorm2d": (3,), "BatchNorm3d": (4,)}
    lookup = (Argument("num_embeddings", "width"), Argument("embedding_dim", "width"))
    linear = (Argument("in_features", "derived"), Argument("out_features", "width"))
    return [
        Rule("Linear", _linear, linear, error=MISMATCH),
        Rule("Embedding", _embedding("num_embeddings", "embedding_dim", "weight"), lookup),
        *(
            Rule(kind, _torch_recurrent(kind, g), rnn, error="input.size(-1) must be equal to input_size")
            for kind, g in {"RNN": 1, "GRU": 3, "LSTM": 4}.items()
        ),
        Rule("MultiheadAttention", _attention, heads, error="embed_dim must be divisible by num_heads"),
        *(
            Rule(kind, _batch_norm(kind, r), (features,), error="running_mean should contain other elements")
            for kind, r in ranks.items()
        ),
        Rule("GroupNorm", _group_norm, groups, error="num_channels must be divisible by num_groups"),
        Rule(
            "LayerNorm",
            _layer_norm,
            (Argument("normalized_shape", "derived", size=-1),),
            error="Given normalized_shape, expected input with another shape",
        ),
    ]
