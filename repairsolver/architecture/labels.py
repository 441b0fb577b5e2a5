"""What a loss asks of the output: its shape beside that of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.model import Model, Shape
from repairsolver.errors import ArchitectureError

_EQUAL = (
    *("mse", "mean_squared_error", "mae", "mean_absolute_error", "mape", "msle", "huber", "log_cosh"),
    *("binary_crossentropy", "categorical_crossentropy", "kl_divergence", "poisson", "hinge"),
    *("squared_hinge", "categorical_hinge", "binary_focal_crossentropy", "categorical_focal_crossentropy"),
    *("mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
    *("cosine_similarity", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss"),
    *("BCEWithLogitsLoss", "KLDivLoss", "PoissonNLLLoss"),
)
_CLASSES_LAST = ("sparse_categorical_crossentropy",)
_CLASSES_FIRST = ("CrossEntropyLoss", "NLLLoss")
LOSSES = (*_EQUAL, *_CLASSES_LAST, *_CLASSES_FIRST)
"""Losses of Keras and torch: equal shapes, or labels without the axis of the classes (last in Keras, first in
torch)."""
_WIDTHS = ("units", "filters", "out_features", "out_channels")


def with_labels(model: Model, labels: Shape, loss: str | None = None) -> Model:
    """The model with the demand that its one output goes with labels of this shape (without the batch).

    Without `loss` it is that with which the model was compiled, and else the squared error. Where labels are
    class numbers, the number of classes is what the last layer with a width states.

    Raises:
        ArchitectureError: an unknown loss, several outputs, no number of classes.
    """
    loss = loss or model.loss or "mse"
    if loss not in LOSSES:
        raise ArchitectureError(
            f"loss {loss!r} is unknown: one of {', '.join(LOSSES)}, or state output_shape"
        )
    if len(model.outputs) != 1:
        raise ArchitectureError(f"labels_shape needs one output, the model has {', '.join(model.outputs)}")
    wanted = _wanted(model, labels, loss)
    demand = f"{loss} with labels of shape {labels}"
    return replace(model, outputs=dict.fromkeys(model.outputs, wanted), redeclare=False, demand=demand)


def compiled_loss(config: Any) -> str:
    """The loss in the `compile_config` of Keras's JSON; "" without one, or with several for several outputs.

    It is a name, a serialised loss, or one of these in a list or under the name of the one output.
    """
    loss = config.get("loss") if isinstance(config, Mapping) else None
    if isinstance(loss, Mapping) and "class_name" in loss:
        inner = loss.get("config")
        loss = (inner.get("name") if isinstance(inner, Mapping) else inner) or loss["class_name"]
    elif isinstance(loss, Mapping | list) and len(loss) == 1:
        (only,) = loss.values() if isinstance(loss, Mapping) else loss
        return compiled_loss({"loss": only})
    return loss if isinstance(loss, str) else ""


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
