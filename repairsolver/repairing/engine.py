"""The entry: which method repairs, with which norm, under which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from repairsolver.decision import Asked, Decision
from repairsolver.errors import EditError
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.files import check_fits
from repairsolver.property.specification import Property
from repairsolver.repairing.deciding import settle
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.method import repair_delta
from repairsolver.repairing.delta.objective import Aim, PerEntry
from repairsolver.repairing.dropping import CONTRADICTORY, repair_dropping
from repairsolver.repairing.gate.method import repair_gate
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.repairing.imitation.method import repair_imitation
from repairsolver.repairing.imitation.options import Imitation
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
        gap: float,
        solver: str,
        points: PointSet | None,
        keep: PointSet | None,
        decision: Decision,
        limits: Limits,
        seed: int,
        on_event: OnEvent | None,
    ) -> Repair: ...


METHODS: dict[str, Method] = {
    "delta": repair_delta,
    "gate": partial(repair_gate, gating=Gating()),
    "imitation": partial(repair_imitation, how=Imitation()),
}
"""Every repair method by name: a new one is one function and one line here."""

DEFAULT_LAYERS = {"imitation": "all"}
"""What may change where the caller names no layers; "last" for methods that are not listed."""


def repair_property(
    network: Network,
    prop: Property,
    *,
    method: str = "delta",
    layers: str | Sequence[str] | None = None,
    parameters: str = "both",
    neurons: ArrayLike | None = None,
    mask: Mapping[str, Any] | None = None,
    norm: str = "l1",
    weights: PerEntry | None = None,
    max_change: PerEntry | str | None = None,
    keep_soft: float | None = None,
    minimise: str = "weights",
    margin: float | None = None,
    gap: float = 0.01,
    solver: str = "highs",
    points: PointSet | None = None,
    keep: PointSet | None = None,
    decision: Asked = "auto",
    gating: Gating = Gating(),  # noqa: B008 - frozen
    imitation: Imitation | None = None,
    contradictory: str = "refuse",
    give_up: int = 0,
    prefer: PointSet | None = None,
    prefer_soft: float = 0.1,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Repair:
    r"""The least change of layers with which a network has a property, proved.

    Minimises the norm of the change of the stored weights and biases. The result is `repaired` only if
    the verifier proved the network read back from the changed ONNX file; its `lower_bound` holds for
    every correct repair of the same numbers (that also treats the given points as asked).

    Args:
        layers, parameters, neurons, mask: what may change, see `addressing.Choice`; layers None: the last
            one, of imitation all.
        norm: l0, l1, l2, linf, relative-l1, relative-l2 or relative-linf.
        weights: of the entries in the norm; see `Aim`.
        max_change: the largest change of every entry; see `Aim`.
        keep_soft: what it costs to lose a point of `keep` by one unit of output; None: none may be lost.
        minimise: "weights" for the norm; "behaviour" for the mean change of the margins to the decision,
            on the points to keep, or else on samples of the regions. Cost and lower bound are of this.
            With norm l2 its root mean square, which takes any layer.
        margin: what points to repair must exceed the border by; None: chosen by the search.
        solver: by name; for l2, "highs" stands for "projection", which is what the result then says.
        gap: relative gap between cost and lower bound at which to stop looking for a smaller change.
        points: inputs that the repaired network must decide by their labels; without labels, at which
            the property must not be violated.
        keep: inputs whose decision must stay as it is (or as labelled); without margin.
        prefer: inputs that should get their labels with the margin, at the price `prefer_soft` for each unit
            of output that they lack: others of the kind of `points`, so that unseen ones gain, too.
        decision: whether the largest ("max") or the smallest ("min") output is the decision, or "both"
            are; "auto": see `deciding.settle`.
        gating: the options of method "gate", and of it alone.
        imitation: the options of method "imitation", and of it alone.
        contradictory: "drop": points that contradict others are left out, see `dropping`; "refuse": none.
        give_up: at most so many regions may be given up for the points to keep: those that cost most of
            them. The answer is then at most `unknown`, with `verdict.proved_regions` and `given_up`.
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
    penalty = np.inf if keep_soft is None else keep_soft
    aim = Aim(norm, weights, max_change, penalty, minimise, margin, give_up, prefer, prefer_soft)
    choices = (
        ("method", method, METHODS),
        ("contradictory", contradictory, CONTRADICTORY),
    )
    for what, got, known in choices:
        if got not in known:
            raise EditError(f"unknown {what} {got!r}: choose one of {', '.join(known)}")
    editable = DEFAULT_LAYERS.get(method, "last") if layers is None else layers
    choice = Choice(editable, parameters, neurons, mask)
    _check_wishes(method, layers, choice, aim, gating, imitation)
    if method != "gate" and gates_of(network):
        raise EditError(
            f"{network.name}: it has gates, and method {method!r} changes weights of networks without: use "
            "method 'gate', or take them out first (`repairsolver gates --remove`)"
        )
    if not 0 <= gap < 1:
        raise EditError(f"gap must lie in [0, 1), got {gap}")
    settled = settle(decision, network, prop, (points, prefer), keep)
    run = partial(
        _chosen(method, gating, imitation), network, prop, choice=choice, aim=aim, gap=gap, solver=solver,
        decision=settled.decision, seed=seed, on_event=on_event,
    )  # fmt: skip
    if contradictory == "refuse":
        return settled.told(run(points=points, keep=keep, limits=limits), prop)
    if method != "delta":
        raise EditError(f"method {method!r} looks for no contradictions: leave out contradictory='drop'")

    def attempt(points: PointSet | None, keep: PointSet | None, limits: Limits) -> Repair:
        return run(points=points, keep=keep, limits=limits)

    return settled.told(repair_dropping(attempt, points, keep, limits), prop)


def _chosen(method: str, gating: Gating, imitation: Imitation | None) -> Method:
    """The method with its own options."""
    if method == "gate":
        return partial(repair_gate, gating=gating)
    return METHODS[method] if imitation is None else partial(repair_imitation, how=imitation)


def _check_wishes(
    method: str,
    layers: str | Sequence[str] | None,
    choice: Choice,
    aim: Aim,
    gating: Gating,
    imitation: Imitation | None,
) -> None:
    """Refuse wishes that a method would not look at.

    Raises:
        EditError: lists them.
    """
    given: dict[str, tuple[tuple[str, object, object], ...]] = {
        "delta": (
            ("layers", layers, None),
            ("parameters", choice.parameters, "both"),
            ("neurons", choice.neurons, None),
            ("mask", choice.mask, None),
            ("norm", aim.norm, "l1"),
            ("weights", aim.weights, None),
            ("max_change", aim.max_change, None),
            ("keep_soft", aim.keep_penalty, np.inf),
            ("minimise", aim.minimise, "weights"),
            ("margin", aim.margin, None),
            ("give_up", aim.give_up, 0),
            ("prefer", aim.prefer, None),
        ),
        "gate": (
            ("place", gating.place, "auto"),
            ("max_gates", gating.most, None),
            ("monitor", gating.monitor, False),
        ),
        "imitation": (("imitation", imitation, None),),
    }
    # Imitation may hand over to the delta engine, with the same wishes.
    own = {"imitation": ("imitation", "delta")}.get(method, (method,))
    others = [wish for name, wishes in given.items() if name not in own for wish in wishes]
    useless = [name for name, value, usual in others if not (value is usual or _same(value, usual))]
    if useless:
        raise EditError(f"method {method!r} does not use {', '.join(useless)}: leave it out")


def _same(value: object, usual: object) -> bool:
    """Equality of plain values; arrays equal none of them."""
    return isinstance(value, str | float | bool) and value == usual
