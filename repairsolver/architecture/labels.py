"""What a loss asks of the output: its shape beside that of the labels."""

from __future__ import annotations

from dataclasses import replace

from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.model import Model, Shape
from repairsolver.errors import ArchitectureError

_EQUAL = (
    *("mse", "mean_squared_error", "mae", "mean_absolute_error", "mape", "msle", "huber", "log_cosh"),
    *("binary_crossentropy", "categorical_crossentropy", "kl_divergence", "poisson", "hinge"),
    *("cosine_similarity", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss"),
    *("BCEWithLogitsLoss", "KLDivLoss", "PoissonNLLLoss"),
)
_CLASSES_LAST = ("sparse_categorical_crossentropy",)
_CLASSES_FIRST = ("CrossEntropyLoss", "NLLLoss")
LOSSES = (*_EQUAL, *_CLASSES_LAST, *_CLASSES_FIRST)
"""Losses of Keras and torch: equal shapes, or labels without the axis of the classes (last in Keras, first in
torch)."""
_WIDTHS = ("units", "filters", "out_features", "out_channels")


def with_labels(model: Model, labels: Shape, loss: str) -> Model:
    """The model with the demand that its one output goes with labels of this shape (without the batch).

    Where labels are class numbers, the number of classes is what the last layer with a width states.

    Raises:
        ArchitectureError: an unknown loss, several outputs, no number of classes.
    """
    if loss not in LOSSES:
        raise ArchitectureError(
            f"loss {loss!r} is unknown: one of {', '.join(LOSSES)}, or state output_shape"
        )
    if len(model.outputs) != 1:
        raise ArchitectureError(f"labels_shape needs one output, the model has {', '.join(model.outputs)}")
    wanted = _wanted(model, labels, loss)
    demand = f"{loss} with labels of shape {labels}"
    return replace(model, outputs=dict.fromkeys(model.outputs, wanted), redeclare=False, demand=demand)


def _wanted(model: Model, labels: Shape, loss: str) -> Shape:
    if loss in _EQUAL:
        return labels
    (name,) = model.outputs
    shape = diagnose_model(model).shapes.get(name)
    if loss in _CLASSES_FIRST:
        # Of the same shape they are probabilities of classes.
        return labels if shape == labels and loss == "CrossEntropyLoss" else (_classes(model, loss), *labels)
    numbers = labels[:-1] if labels[-1:] == (1,) else labels
    return (*numbers, _classes(model, loss))


def _classes(model: Model, loss: str) -> int:
    """The width of the last layer on the way to the output that has one."""
    layers = {layer.name: layer for layer in model.layers}
    name = next(iter(model.outputs))
    while name in layers:
        layer = layers[name]
        for width in _WIDTHS:
            if width in layer.args:
                return int(layer.args[width])
        name = layer.inputs[0]
    raise ArchitectureError(f"{loss}: no layer states the number of classes: state output_shape instead")
