"""`repair` and `localise`; each loads its engine at its first call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from repairsolver.errors import EditError, SoundnessError
from repairsolver.network import Network
from repairsolver.property import PointSet, Property
from repairsolver.results import Interrupted, Limits, OnEvent, VerifyStatus
from repairsolver.signatures import typed
from repairsolver.verbs.arguments import (
    as_network,
    as_points,
    as_properties,
    as_property,
    check_options,
)
from repairsolver.verbs.verifying import verify

if TYPE_CHECKING:
    from repairsolver.repairing.delta.objective import PerEntry
    from repairsolver.repairing.imitation.options import Imitation
    from repairsolver.repairing.imitation.responsibility import Localisation
    from repairsolver.repairing.result import Repair

AGAIN = "What earlier gates were put in for is asked of the network again, so that it still holds."


@typed
def repair(
    network: Network | str | Path,
    property: Property | str | Path | Sequence[Property | str | Path],  # noqa: A002 - as in verify
    *,
    method: Literal["delta", "gate", "imitation"] = "delta",
    layers: str | Sequence[str] | None = None,
    parameters: Literal["both", "weights", "biases"] = "both",
    neurons: ArrayLike | None = None,
    mask: Mapping[str, Any] | None = None,
    norm: Literal["l0", "l1", "l2", "linf", "relative-l1", "relative-l2", "relative-linf"] = "l1",
    weights: PerEntry | None = None,
    max_change: PerEntry | str | None = None,
    minimise: Literal["weights", "behaviour"] = "weights",
    margin: float | None = None,
    gap: float = 0.01,
    solver: str = "highs",
    points: PointSet | str | Path | None = None,
    keep: PointSet | str | Path | None = None,
    keep_soft: float | None = None,
    prefer: PointSet | str | Path | None = None,
    prefer_soft: float = 0.1,
    decision: Literal["auto", "max", "min", "both"] = "auto",
    place: Literal["auto", "inner", "output"] = "auto",
    max_gates: int | None = None,
    monitor: bool = False,
    imitation: Imitation | None = None,
    contradictory: Literal["refuse", "drop"] = "refuse",
    give_up: int = 0,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    certificate: bool = False,
    guarantee: Literal["exact", "pac", "auto"] = "exact",
    epsilon: float = 1e-3,
    eta: float = 1e-3,
    min_agreement: float = 0.99,
) -> Repair:
    """Change a network as little as possible so that it has the property, proved.

    The change solves min ||delta|| over all counterexamples so far; the verifier proves the result or
    returns the worst counterexample left, until it is proved. The network given is never changed.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation. Of several all must hold; method
            "gate" asks for what gates that the file has were put in for, too.
        method: how to repair; "delta" changes weights and biases as little as possible; "gate" leaves them,
            and overrides the network at run time, in boxes of inputs where it is wrong; "imitation" teaches
            inputs that violate the behaviour of inputs that do not, see `Imitation`.
        layers: the layers that may change: "last" (the default; "all" for imitation), "all", or names of
            layers (of the ONNX node, its output or its weights), several as a list or with commas; "auto"
            tries every layer for a moment and takes the one that changes other decisions least. Lower
            bounds are of a single layer.
        parameters: which of their numbers: "weights", "biases" or "both".
        neurons: of one layer only these output neurons (filters of a convolution): indices or a mask.
        mask: only these entries, by the name of the stored tensor: a boolean array, or index tuples.
        norm: what is least: the number of changed entries (L0), or the L1, L2 or Linf norm of the change;
            a relative norm divides every change by the entry's size, at least a hundredth of the mean size
            in its tensor.
        weights: factors of the entries in the norm: one for each entry, a vector or arrays by tensor name.
        max_change: by how much an entry may change: a number, one for each entry, or "10%" of its size.
            L0 needs a limit, `minimise="behaviour"` with norm "l1", too: without one it is the largest
            weight of the layer.
        minimise: "behaviour" instead of the norm: the mean change of the margins to the decision at the
            points to keep, or else at samples of the property's regions; cost and lower bound are then of it.
            With norm "l2" the root mean square of the scores' changes: for any layer, and what keeps most
            decisions at points that are not given.
        margin: what points to repair must exceed the border by, in units of the outputs; None: as little as
            rounding allows, or (behaviour, "l2") a tenth of the median lead of kept decisions, or proofs.
        gap: stop when cost - proved lower bound <= gap * cost.
        solver: name of the solver, see `available_solvers`.
        points: points that must get their label (or satisfy the property) after the repair.
        keep: points whose decision must stay.
        keep_soft: they may be lost at this price, in units of the norm for each unit of output; None: never.
        prefer: further points that should get their labels, with the margin: others of the kind of `points`,
            so that unseen ones gain, too. What they lack costs `prefer_soft` for each unit of output. Hidden
            layers are trained on them where the least change of behaviour (norm "l2") leaves many wrong.
        prefer_soft: that price, in units of the norm.
        decision: which output is the decision, the largest ("max") or the smallest ("min"): for labels,
            points to keep, fidelity, and among ties. "auto" takes what labels of points to keep or the
            property tell, and remarks say which; where nothing tells, "both" are kept and measured, and the
            worse one counts.
        place: what gates change: the scores ("output"), hidden neurons ("inner"), or whichever keeps more.
        max_gates: neurons that one gate may override.
        monitor: an output of the gated file that tells which gates are on.
        imitation: the options of method "imitation": points (negatives) and keep (positives) are sampled
            where they are not given, and the result is `repaired` only if it is proved, too.
        contradictory: what to do with points that contradict others: "refuse" answers `infeasible`, with the
            contradiction; "drop" leaves out one of its members, points to keep first, until none is left, and
            `fix.dropped` and `fix.remarks` say which and why. The property is never weakened.
        give_up: at most so many regions may be given up for the points to keep, those that cost most of them
            (hidden layers, many regions in few inputs). `fix.given_up` names them; as the property does not
            hold there, the answer is at most `unknown`, with `fix.verdict.proved_regions`.
        limits: what the call may spend. Without one of time, three failures after the first proof end it.
        seed: the same seed gives the same answer, time limits aside.
        on_event: called with progress reports.
        certificate: see to it that `verdict.certificate` is kept, by one more proof where the first has none.
        guarantee: "exact": proved; "pac": shown by samples that no repair has seen (see `Repair.statement`);
            "auto": proved as far as the time allows, shown by samples on the rest.
        epsilon, eta: of that statement: P(violation) <= epsilon with confidence 1 - eta.
        min_agreement: of "auto": what the exact repair found, proved or not, gives way to a repair shown by
            samples if it keeps a smaller share of the decisions on the domain than this, and than that one;
            message and remarks say so.

    Raises:
        NetworkError, PropertyError, PointSetError: a file is malformed, or things do not fit.
        EditError: no such layer, or it cannot be changed; a wish that has no effect with the others, such as
            keep_soft without keep.
        SamplingError: epsilon or eta outside (0, 1).
        SolverUnavailableError, LicenseError, SolverError: of the solver.
        SoundnessError: a check contradicts a result.
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is the best proved repair so far, if any.
    """
    check_options(seed, limits)
    net = as_network(network)
    given = as_properties(property, net)
    from repairsolver.repairing.combined import check_combined
    from repairsolver.repairing.engine import repair_property as make
    from repairsolver.repairing.gate.wishes import Gating
    from repairsolver.repairing.several import asked_before, united
    from repairsolver.sampling.binomial import check_level

    check_level("epsilon", epsilon)
    check_level("eta", eta)
    before = asked_before(net, given) if method == "gate" else []
    props = [*given, *before]
    if guarantee != "exact":
        from repairsolver.repairing.guarantee import repair_with_guarantee

        if contradictory != "refuse":
            raise EditError("contradictory='drop' takes the exact guarantee: leave out guarantee")
        if give_up:
            raise EditError("give_up takes the exact guarantee: leave out guarantee")
        if prefer is not None:
            raise EditError("prefer takes the exact guarantee: leave out guarantee")
        make = partial(
            repair_with_guarantee,
            guarantee=guarantee,
            epsilon=epsilon,
            eta=eta,
            min_agreement=min_agreement,
        )
    else:
        make = partial(
            make,
            contradictory=contradictory,
            give_up=give_up,
            prefer=as_points(prefer, net),
            prefer_soft=prefer_soft,
        )
    check_combined({
        "method": method, "guarantee": guarantee, "imitation": imitation, "place": place, "points": points,
        "keep": keep, "keep_soft": keep_soft, "prefer": prefer, "prefer_soft": prefer_soft,
        "contradictory": contradictory, "epsilon": epsilon, "eta": eta, "min_agreement": min_agreement,
        "margin": margin, "gap": gap, "solver": solver, "max_gates": max_gates, "monitor": monitor,
    })  # fmt: skip
    fix = make(
        net,
        united(props),
        method=method,
        layers=layers,
        parameters=parameters,
        neurons=neurons,
        mask=mask,
        norm=norm,
        weights=weights,
        max_change=max_change,
        minimise=minimise,
        margin=margin,
        gap=gap,
        solver=solver,
        points=as_points(points, net),
        keep=as_points(keep, net),
        keep_soft=keep_soft,
        decision=decision,
        gating=Gating(place, max_gates, monitor),
        imitation=imitation,
        limits=limits or Limits(),
        seed=seed,
        on_event=on_event,
    )
    if before and fix.proved:
        fix = replace(fix, remarks=(*fix.remarks, AGAIN))
    return _certified(fix, props, len(given), limits, on_event) if certificate or before else fix


@typed
def localise(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - as in verify
    *,
    measure: Literal["difference", "normalised", "gradient", "bounds"] = "normalised",
    negatives: PointSet | str | Path | None = None,
    positives: PointSet | str | Path | None = None,
    decision: Literal["auto", "max", "min", "both"] = "auto",
    samples: int = 10_000,
    seed: int = 0,
) -> Localisation:
    """Rank layers and neurons by how responsible they are for violations.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation.
        measure: what counts: the "difference" of mean behaviour between positives and negatives (as
            published by BIRDNN), the same "normalised" by its spread, the "gradient" of the violation times
            the difference, or how far "bounds" let a neuron move the violation.
        negatives: inputs that violate the property (or whose decision is not their label).
        positives: inputs that behave well. Both are sampled from the regions where they are not given.
        decision: whether labels are of the largest ("max") or smallest ("min") output; "auto": what labels of
            positives or the property tell, else the largest. Without labels it is not used.
        samples: how many inputs of the regions are drawn.
        seed: the same seed gives the same answer.

    Raises:
        NetworkError, PropertyError, PointSetError: a file is malformed, or things do not fit; or no negatives
            were found: give some, or search with `falsify`.
    """
    check_options(seed, None)
    net = as_network(network)
    prop = as_property(property, net)
    from repairsolver.repairing.deciding import settle
    from repairsolver.repairing.imitation.localising import localise_neurons
    from repairsolver.repairing.imitation.options import Imitation

    wrong, right = as_points(negatives, net), as_points(positives, net)
    return localise_neurons(
        net,
        prop,
        measure,
        (wrong, right),
        Imitation(samples=samples, more=False),
        decision=settle(decision, net, prop, (wrong,), right).decision,
        seed=seed,
    )


def _certified(
    fix: Repair, props: Sequence[Property], given: int, limits: Limits | None, on_event: OnEvent | None
) -> Repair:
    """A proved repair with proofs that are kept, if there are some that can be and time is left for them."""
    if not fix.proved or fix.network is None:
        return fix
    if len(props) == 1 and fix.verdict is not None and fix.certificate is not None:
        return replace(fix, verdicts=(fix.verdict,))
    end = (
        None
        if limits is None or limits.seconds is None
        else time.perf_counter() + limits.seconds - fix.seconds
    )
    verdicts = []
    for prop in props:
        left = limits or Limits()
        if end is not None:
            left = replace(left, seconds=max(end - time.perf_counter(), 1.0))
        try:
            verdict = verify(
                fix.network, prop, limits=left, seed=fix.seed, on_event=on_event, certificate=True
            )
        except KeyboardInterrupt:
            raise Interrupted(fix) from None
        if verdict.status is VerifyStatus.VIOLATED:
            raise SoundnessError(
                "the repaired network was proved, but a counterexample was found: report this"
            )
        verdicts.append(verdict)
    fix = replace(fix, verdicts=tuple(verdicts))
    proved = given == 1 and verdicts[0].status is VerifyStatus.HOLDS
    return replace(fix, verdict=verdicts[0]) if proved else fix
