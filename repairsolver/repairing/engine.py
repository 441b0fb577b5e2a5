"""The entry: which method repairs, with which norm, under which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from repairsolver.errors import EditError
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.files import check_fits
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.method import repair_delta
from repairsolver.repairing.delta.objective import Aim, PerEntry
from repairsolver.repairing.gate.method import repair_gate
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.repairing.result import Repair
from repairsolver.results import Limits, OnEvent


class Method(Protocol):
    """A repair method; the arguments are those of `repair_property`."""

    def __call__(
        self,
        network: Network,
        prop: Property,
        *,
        choice: Choice,
        aim: Aim,
        gating: Gating,
        gap: float,
        solver: str,
        points: PointSet | None,
        keep: PointSet | None,
        decision: str,
        limits: Limits,
        seed: int,
        on_event: OnEvent | None,
    ) -> Repair: ...


METHODS: dict[str, Method] = {"delta": repair_delta, "gate": repair_gate}
"""Every repair method by name: a new one is one function and one line here."""

DECISIONS = ("max", "min")


def repair_property(
    network: Network,
    prop: Property,
    *,
    method: str = "delta",
    layers: str | Sequence[str] = "last",
    parameters: str = "both",
    neurons: ArrayLike | None = None,
    mask: Mapping[str, Any] | None = None,
    norm: str = "l1",
    weights: PerEntry | None = None,
    max_change: PerEntry | str | None = None,
    keep_soft: float | None = None,
    minimise: str = "weights",
    gap: float = 0.01,
    solver: str = "highs",
    points: PointSet | None = None,
    keep: PointSet | None = None,
    decision: str = "max",
    place: str = "auto",
    max_gates: int | None = None,
    monitor: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Repair:
    r"""The least change of layers with which a network has a property, proved.

    Minimises the norm of the change of the stored weights and biases. The result is `repaired` only if
    the verifier proved the network read back from the changed ONNX file; its `lower_bound` holds for
    every correct repair of the same numbers (that also treats the given points as asked).

    Args:
        layers, parameters, neurons, mask: what may change, see `addressing.Choice`.
        norm: l0, l1, l2, linf, relative-l1, relative-l2 or relative-linf.
        weights: of the entries in the norm; see `Aim`.
        max_change: the largest change of every entry; see `Aim`.
        keep_soft: what it costs to lose a point of `keep` by one unit of output; None: none may be lost.
        minimise: "weights" for the norm; "behaviour" for the mean change of the margins to the decision,
            on the points to keep, or else on samples of the regions. Cost and lower bound are of this.
        solver: by name; for l2, "highs" stands for "projection", which is what the result then says.
        gap: relative gap between cost and lower bound at which to stop looking for a smaller change.
        points: inputs that the repaired network must decide by their labels; without labels, at which
            the property must not be violated.
        keep: inputs whose decision must stay as it is (or as labelled); without margin.
        decision: whether the largest or the smallest output is the decision.
        place, max_gates, monitor: of method "gate", see `gate.wishes.Gating`.
        limits: seconds for everything. Without a limit of time one margin gets 20 s, the next twice as
            long until one is proved; three failures after that end the search for a smaller change.

    Raises:
        EditError: unknown method, norm, layer or decision; or the layer cannot be edited.
        PropertyError: the property does not fit the network.
        PointSetError: points do not fit the network, or contradict each other.
        SolverUnavailableError, SolverCapabilityError, LicenseError: the solver cannot do this.
        SoundnessError: a replay contradicts a result.
    """
    check_fits(prop, network)
    aim = Aim(norm, weights, max_change, np.inf if keep_soft is None else keep_soft, minimise)
    choices = (("method", method, METHODS), ("decision", decision, DECISIONS))
    for what, got, known in choices:
        if got not in known:
            raise EditError(f"unknown {what} {got!r}: choose one of {', '.join(known)}")
    gating = Gating(place, max_gates, monitor)
    choice = Choice(layers, parameters, neurons, mask)
    _check_wishes(method, choice, aim, gating)
    if method == "delta" and gates_of(network):
        raise EditError(
            f"{network.name}: it has gates, and method 'delta' changes weights of networks without: use "
            "method 'gate', or take them out first (`repairsolver gates --remove`)"
        )
    if not 0 <= gap < 1:
        raise EditError(f"gap must lie in [0, 1), got {gap}")
    return METHODS[method](
        network,
        prop,
        choice=choice,
        aim=aim,
        gating=gating,
        gap=gap,
        solver=solver,
        points=points,
        keep=keep,
        decision=decision,
        limits=limits,
        seed=seed,
        on_event=on_event,
    )


def _check_wishes(method: str, choice: Choice, aim: Aim, gating: Gating) -> None:
    """Refuse wishes that a method would not look at.

    Raises:
        EditError: lists them.
    """
    given: tuple[tuple[str, object, object], ...]
    if method == "gate":
        given = (
            ("layers", choice.layers, "last"),
            ("parameters", choice.parameters, "both"),
            ("neurons", choice.neurons, None),
            ("mask", choice.mask, None),
            ("norm", aim.norm, "l1"),
            ("weights", aim.weights, None),
            ("max_change", aim.max_change, None),
            ("keep_soft", aim.keep_penalty, np.inf),
            ("minimise", aim.minimise, "weights"),
        )
    else:
        given = (
            ("place", gating.place, "auto"),
            ("max_gates", gating.most, None),
            ("monitor", gating.monitor, False),
        )
    useless = [name for name, value, usual in given if not (value is usual or _same(value, usual))]
    if useless:
        raise EditError(f"method {method!r} does not use {', '.join(useless)}: leave it out")


def _same(value: object, usual: object) -> bool:
    """Equality of plain values; arrays equal none of them."""
    return isinstance(value, str | float | bool) and value == usual
