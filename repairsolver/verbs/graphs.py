"""The verbs about layer graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repairsolver.signatures import typed

if TYPE_CHECKING:
    from repairsolver.architecture.contradiction import Contradiction
    from repairsolver.architecture.costs import Costs
    from repairsolver.architecture.diagnosis import Diagnosis
    from repairsolver.architecture.model import Model
    from repairsolver.architecture.opaque import Opaque
    from repairsolver.architecture.repair import ArchitectureRepair


@typed
def diagnose(
    model: object,
    *,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    labels_shape: Sequence[int] | None = None,
    loss: str | None = None,
    opaque: Opaque | None = None,
) -> Diagnosis:
    """Find all independent faults of a layer graph.

    Args:
        model: a layer graph; an ONNX or JSON file (Keras's own, a layer list, or ExAIS); parsed JSON; a
            `torch.nn.Module`.
        input_shape: shape of its one input instead of the stated one, without the batch axis; a torch module
            needs it.
        output_shape: shape that its one output must have.
        labels_shape: or the shape of the labels, without the batch axis, with which the loss must go.
        loss: a loss of Keras or torch by its name; most want equal shapes. None: that with which a
            Keras model was compiled, else "mse".
        opaque: layers or layer types without a rule, with their output shape; None: that of their input.

    Raises:
        ArchitectureError: malformed JSON, with its position; layer types without a rule, all listed; sizes
            that are not known.
    """
    from repairsolver.architecture.diagnosis import diagnose_model

    return diagnose_model(_architecture(model, input_shape, output_shape, labels_shape, loss, opaque))


@typed
def contradiction(
    model: object,
    *,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    labels_shape: Sequence[int] | None = None,
    loss: str | None = None,
    opaque: Opaque | None = None,
    seconds: float = 10.0,
) -> Contradiction | None:
    """An irreducible set of statements of a layer graph that contradict each other; None where it is valid.

    Args:
        model, input_shape, output_shape, labels_shape, loss, opaque: as in `diagnose`.
        seconds: time in all.

    Raises:
        ArchitectureError: as in `diagnose`.
    """
    from repairsolver.architecture.contradiction import contradiction as core

    return core(_architecture(model, input_shape, output_shape, labels_shape, loss, opaque), seconds=seconds)


@typed
def repair_architecture(
    model: object,
    *,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    labels_shape: Sequence[int] | None = None,
    loss: str | None = None,
    opaque: Opaque | None = None,
    costs: Costs | None = None,
    prove: bool = True,
    seconds: float = 10.0,
    every: int = 0,
) -> ArchitectureRepair:
    """Find the cheapest edits after which all layers of a layer graph fit together.

    The edits come from a search over shapes. With `prove`, sweeps over sets of shapes bound the price of all
    repairs from below, and z3 decides where they leave a gap: the repair is proved to be the cheapest, or
    what is cheaper is taken, or the time is up and the lower bound is reported.

    Args:
        model: a layer graph; an ONNX or JSON file (Keras's own, a layer list, or ExAIS); parsed JSON; a
            `torch.nn.Module`.
        input_shape: shape of its one input instead of the stated one, without the batch axis; a torch module
            needs it.
        output_shape: shape that its one output must have.
        labels_shape: or the shape of the labels, without the batch axis, with which the loss must go.
        loss: a loss of Keras or torch by its name; most want equal shapes. None: that with which a
            Keras model was compiled, else "mse".
        opaque: layers or layer types without a rule, with their output shape; None: that of their input.
        costs: prices of the edits.
        prove: whether to prove that nothing is cheaper.
        seconds: time for each engine that proves.
        every: list all repairs of the least price in `alternatives`, up to so many.

    Raises:
        ArchitectureError: malformed JSON, with its position; layer types without a rule, all listed; sizes
            that are not known.
        SoundnessError: the edited model still has a fault; please report it.
    """
    from repairsolver.architecture.repair import repair_model

    graph = _architecture(model, input_shape, output_shape, labels_shape, loss, opaque)
    return repair_model(graph, costs, prove=prove, seconds=seconds, every=every)


def _architecture(
    model: object,
    input_shape: Sequence[int] | None,
    output_shape: Sequence[int] | None,
    labels_shape: Sequence[int] | None,
    loss: str | None,
    opaque: Opaque | None,
) -> Model:
    from repairsolver.architecture.labels import with_labels
    from repairsolver.architecture.model import Model, with_input, with_output
    from repairsolver.architecture.reading import load_architecture
    from repairsolver.errors import ArchitectureError

    if isinstance(model, Model):
        graph = model if input_shape is None else with_input(model, tuple(input_shape))
    else:
        graph = load_architecture(model, input_shape=input_shape, opaque=opaque)
    if labels_shape is not None:
        if output_shape is not None:
            raise ArchitectureError("output_shape and labels_shape both demand an output: give one of them")
        return with_labels(graph, tuple(labels_shape), loss)
    return graph if output_shape is None else with_output(graph, tuple(output_shape))
