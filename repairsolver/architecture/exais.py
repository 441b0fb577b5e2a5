"""Layer graphs in the JSON of ExAIS: arguments as text, inputs as names or tensors with their batch axis."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repairsolver.architecture.model import Layer, Model, Shape, build
from repairsolver.architecture.spelling import near
from repairsolver.errors import ArchitectureError

_NAMED = {
    "dense": "Dense",
    "linear": "Dense",
    "prelu": "PReLU",
    "elu": "ELU",
    "relu": "ReLU",
    "leakyrelu": "LeakyReLU",
    "thresholdedrelu": "ThresholdedReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "flatten": "Flatten",
    "reshape": "Reshape",
    "permute": "Permute",
    "dropout": "Dropout",
    "masking": "Masking",
    "embedding": "Embedding",
    "batchnormalization": "BatchNormalization",
    "layernormalization": "LayerNormalization",
    "repeatvector": "RepeatVector",
    "dot": "Dot",
    "concatenate": "Concatenate",
    "lstm": "LSTM",
    "gru": "GRU",
    "simplernn": "SimpleRNN",
    "lstmcell": "LSTM",
    "grucell": "GRU",
    "simplernncell": "SimpleRNN",
}
_FAMILIES = {
    "conv{}dtranspose": "Conv{}DTranspose",
    "conv{}d": "Conv{}D",
    "convlstm{}d": "ConvLSTM{}D",
    "depthwiseconv{}d": "DepthwiseConv{}D",
    "separableconv{}d": "SeparableConv{}D",
    "locallyconnected{}d": "LocallyConnected{}D",
    "maxpool{}d": "MaxPooling{}D",
    "averagepooling{}d": "AveragePooling{}D",
    "globalmaxpool{}d": "GlobalMaxPooling{}D",
    "globalaveragepooling{}d": "GlobalAveragePooling{}D",
    "zeropadding{}d": "ZeroPadding{}D",
    "cropping{}d": "Cropping{}D",
    "upsampling{}d": "UpSampling{}D",
}
MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
KINDS = {
    **_NAMED,
    **{kind.lower(): kind for kind in MERGES},
    **{old.format(d): new.format(d) for old, new in _FAMILIES.items() for d in (1, 2, 3)},
}
"""The layer types of ExAIS with their Keras names; cells stand for recurrent layers of one cell."""

_ARGUMENTS = {
    "kernel_shape": "kernel_size",
    "kernel_size": "kernel_size",
    "Permute_Dims": "dims",
    "sizes": "padding",
}
_VECTORS = (
    *("strides", "dilation_rate", "pool_size", "cropping", "size", "axis", "axes", "reset_after"),
    *("target_shape", "input_dim", "output_dim"),
)
_WORDS = (
    *("name", "type", "inputs", "input_shape", "shape", "nodes", "padding", "sizes", "func", "weight_shape"),
    *(
        "alpha",
        "epsilon",
        "max_value",
        "mask_value",
        "momentum",
        "negative_slope",
        "rate",
        "theta",
        "threshold",
    ),
    *("threshold", "activation", "recurrent_activation", "activation_function"),
)
"""Words that say nothing of the shapes, or are read in a place of their own."""
_WEIGHTS = {"weights": "kernel", "recurrent_weights": "recurrent_kernel", "bias": "bias"}
_OF_KIND = {
    "SeparableConv1D": {"weights": "depthwise_kernel", "weights1": "pointwise_kernel", "bias": "bias"},
    "SeparableConv2D": {"weights": "depthwise_kernel", "weights1": "pointwise_kernel", "bias": "bias"},
    "PReLU": {"alphas": "alpha"},
    "Embedding": {"weights": "embeddings"},
    "BatchNormalization": {
        "gammas": "gamma",
        "betas": "beta",
        "means": "moving_mean",
        "variances": "moving_variance",
    },
}


def read(data: Mapping[str, Any]) -> Model:
    """The model of one ExAIS object; merge layers demand equal shapes, as ExAIS has it.

    Raises:
        ArchitectureError: malformed, or layer types without a rule (all are listed).
    """
    unknown = [f"{e['name']}: {e['type']}" for e in data["layers"] if e["type"].lower() not in KINDS]
    if unknown:
        raise ArchitectureError(f"layer types without a rule: {', '.join(unknown)}; remove these layers")
    check_words(data["layers"])
    inputs: dict[str, Shape] = {}
    layers = [_layer(entry, inputs) for entry in data["layers"]]
    return build("keras", inputs, layers)


def check_words(entries: Sequence[Mapping[str, Any]]) -> None:
    """Raise ArchitectureError where a word is near one that is read and is none; all are listed."""
    words = {*_WORDS, *_ARGUMENTS, *_VECTORS, *_WEIGHTS, *(w for of in _OF_KIND.values() for w in of)}
    wrong = [
        f"{entry.get('name', number)} ({entry['type']}) has no argument {word!r}, did you mean {meant!r}?"
        for number, entry in enumerate(entries, start=1)
        for word in entry
        if word.rstrip("0123456789") not in words and (meant := near(word, words))
    ]
    if wrong:
        raise ArchitectureError("; ".join(wrong))


def _layer(entry: Mapping[str, Any], inputs: dict[str, Shape]) -> Layer:
    kind, name = KINDS[entry["type"].lower()], entry["name"]
    sources = []
    for source in entry["inputs"]:
        if not source.startswith("["):
            sources.append(source)
            continue
        for shape in _literal_shapes(source, kind):
            inputs[f"{name}_input{len(sources)}"] = shape
            sources.append(f"{name}_input{len(sources)}")
    weights = dict(_weights(kind, entry))
    args = dict(arguments(kind, entry, weights))
    return Layer(name, kind, args, tuple(sources), weights)


def _literal_shapes(text: str, kind: str) -> list[Shape]:
    """A merge of literal tensors holds them side by side in one text; the first axis of each is the batch."""
    value = literal(text)
    tensors = value if kind in (*MERGES, "Dot", "Concatenate") else [value]
    return [tensor_shape(tensor)[1:] for tensor in tensors]


def arguments(kind: str, entry: Mapping[str, Any], weights: dict[str, Shape]) -> Iterator[tuple[str, Any]]:
    """Arguments in the words of Keras."""
    for old, text in entry.items():
        new = _ARGUMENTS.get(old, old if old in _VECTORS else None)
        if old == "padding":
            yield "padding", literal(text) if kind.startswith("Zero") else _padding(text)
        elif new is not None:
            yield new, literal(text)
    if "nodes" in entry and not kind.startswith("Depthwise"):
        recurrent = kind in ("LSTM", "GRU", "SimpleRNN")
        yield "units" if recurrent or kind == "Dense" else "filters", int(entry["nodes"])
    if kind.startswith("Depthwise") and "kernel" in weights:
        yield "depth_multiplier", weights["kernel"][-1]
    if kind in MERGES:
        yield "strict", True


def _padding(text: str) -> str:
    return "same" if text == "true" else "valid"


def weight_names(kind: str) -> Mapping[str, str]:
    """Names of weights in ExAIS, to those of Keras."""
    return _OF_KIND.get(kind, _WEIGHTS)


def _weights(kind: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    for old, new in weight_names(kind).items():
        if entry.get(old):
            yield new, tensor_shape(literal(entry[old]))


def literal(text: str) -> Any:
    """The number, tuple or tensor that a text stands for; raises ArchitectureError."""
    words = {"true": "True", "false": "False"}
    try:
        return ast.literal_eval(words.get(text, text))
    except (ValueError, SyntaxError) as error:
        raise ArchitectureError(f"{text[:60]!r} is no number, tuple or tensor") from error


def tensor_shape(tensor: Any) -> Shape:
    """The shape of nested lists."""
    shape = []
    while isinstance(tensor, list):
        shape.append(len(tensor))
        tensor = tensor[0] if tensor else None
    return tuple(shape)
