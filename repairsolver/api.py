"""The verbs of the library, `verify`, `falsify` and `repair`; each loads its engine at its first call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from repairsolver.errors import DeviceError, SoundnessError
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet, Property, load_points, load_property
from repairsolver.property.files import check_fits
from repairsolver.results import Arithmetic, Interrupted, Limits, OnEvent, Verdict, VerifyStatus

if TYPE_CHECKING:
    from repairsolver.architecture.costs import Costs
    from repairsolver.architecture.diagnosis import Diagnosis
    from repairsolver.architecture.model import Model
    from repairsolver.architecture.repair import ArchitectureRepair
    from repairsolver.repairing.delta.objective import PerEntry
    from repairsolver.repairing.result import Repair
    from repairsolver.verification.falsification import Falsification

LARGEST_SEED = 2**63
"""Of the generators of numpy and torch together, with room for one seed per round."""


def verify(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - the word that callers expect
    *,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
    certificate: bool = False,
    tree: str | Path | None = None,
    arithmetic: Arithmetic = "real",
) -> Verdict:
    """Decide whether a network has the property on all inputs of its regions.

    Attack first, then linear bounds with splitting, then exact programs for what remains. `holds` is
    proved in real arithmetic on the weights as stored; `violated` comes with inputs that onnxruntime
    replayed on the network's own file.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation.
        limits: what the call may spend; no limit of time without it.
        seed: the same seed gives the same answer, time limits aside.
        on_event: called with progress reports.
        device: where bounds are computed: "cpu" or a torch device such as "cuda".
        certificate: keep the proof, as `verdict.certificate`; None where it rests on exact programs.
        tree: a file of the search. If it exists, the search goes on from it; it is written every minute,
            when the time is up, and on Ctrl-C.
        arithmetic: what a proof speaks of: "real", the exact network on the weights as stored; or "float32",
            every float32 execution of the ONNX file, whatever the order of its sums. The latter takes
            linear bounds on boxes alone, so that more may stay unknown.

    Raises:
        NetworkError, PropertyError: a file is malformed, or property and network do not fit; or, for float32,
            the network has nodes whose rounding is not known, or numbers that are too large.
        DeviceError: torch cannot use the device.
        TreeError: the tree is damaged, or of another network, property or version.
        SoundnessError: a check contradicts a result.
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is the verdict so far.
    """
    _check_options(seed, limits)
    if arithmetic not in get_args(Arithmetic):
        raise ValueError(f"arithmetic must be 'real' or 'float32', got {arithmetic!r}")
    net = _network(network)
    prop = _property(property, net)
    _check_device(device)
    from repairsolver.verification.engine import verify_property

    return verify_property(
        net,
        prop,
        limits=limits or Limits(),
        seed=seed,
        on_event=on_event,
        device=device,
        record=certificate,
        tree=tree,
        arithmetic=arithmetic,
    )


def falsify(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - the word that callers expect
    *,
    worst: bool = False,
    count: int = 1,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
) -> Falsification:
    """Search for inputs that violate a property: one, the worst, or many different ones.

    Samples, output-diverse starts, corners and projected gradients, ever harder; every input that is returned
    violates on onnxruntime. That nothing is found proves nothing: `verify` proves.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation.
        worst: search for the largest violation, and prove an upper bound on it: no input violates by more.
            It is the worst only where `proved_worst` says so: where the bound meets the violation found.
        count: so many different inputs, spread over all that is violated (regions and conjunctions), over the
            box, and over activation patterns; fewer if no more are found.
        limits: what the call may spend. Without a limit of time a few attacks are made, and proofs of a bound
            are tried until several in succession have failed.
        seed: the same seed gives the same answer, time limits aside.
        on_event: called with progress reports.
        device: where gradients and bounds are computed: "cpu" or a torch device such as "cuda".

    Raises:
        NetworkError, PropertyError: a file is malformed, or property and network do not fit.
        DeviceError: torch cannot use the device.
        SoundnessError: a proved bound contradicts a replay.
    """
    _check_options(seed, limits)
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count must be a whole number from 1, got {count!r}")
    net = _network(network)
    prop = _property(property, net)
    _check_device(device)
    from repairsolver.verification.falsify import falsify_property

    return falsify_property(
        net,
        prop,
        worst=worst,
        count=int(count),
        limits=limits or Limits(),
        seed=seed,
        on_event=on_event,
        device=device,
    )


def repair(
    network: Network | str | Path,
    property: Property | str | Path | Sequence[Property | str | Path],  # noqa: A002 - as in verify
    *,
    method: Literal["delta"] = "delta",
    layers: str | Sequence[str] = "last",
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
    decision: Literal["max", "min"] = "max",
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    certificate: bool = False,
) -> Repair:
    """Change a network as little as possible so that it has the property, proved.

    The change solves min ||delta|| over all counterexamples so far; the verifier proves the result or
    returns the worst counterexample left, until it is proved. The network given is never changed.

    Args:
        network: a network or an ONNX or NNet file.
        property: a property or a VNN-LIB file; it describes the violation. Several in a list must all hold
            in the end.
        method: how to repair; "delta" changes weights and biases.
        layers: the layers that may change: "last", "all", or names of layers (of the ONNX node, its output
            or its weights), several as a list or with commas; "auto" tries every layer for a moment and
            takes the one whose repair changes other decisions least. Lower bounds are of a single layer.
        parameters: which of their numbers: "weights", "biases" or "both".
        neurons: of one layer only these output neurons (filters of a convolution): indices or a mask.
        mask: only these entries, by the name of the stored tensor: a boolean array, or index tuples.
        norm: what is least: the number of changed entries (L0), or the L1, L2 or Linf norm of the change;
            a relative norm divides every change by the entry's size, at least a hundredth of the mean size
            in its tensor.
        weights: further factors of the entries in the norm: one number for each entry (as a vector, or as
            arrays by tensor name).
        max_change: by how much an entry may change: a number, one for each entry, or "10%" of its size.
            L0 and `minimise="behaviour"` need a limit, without one it is the largest weight of the layer.
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
        decision: whether the largest or the smallest output is the chosen one; for points, fidelity, and
            which of equally small changes is preferred.
        limits: what the call may spend. Without a limit of time the search for a smaller change ends when
            three margins in all have failed after the first proof, or none is left to try.
        seed: the same seed gives the same answer, time limits aside.
        on_event: called with progress reports.
        certificate: see to it that `verdict.certificate` is kept, by one more proof where the first has none.

    Raises:
        NetworkError, PropertyError, PointSetError: a file is malformed, or things do not fit.
        EditError: no such layer, or it cannot be changed.
        SolverUnavailableError, LicenseError, SolverError: of the solver.
        SoundnessError: a check contradicts a result.
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is the best proved repair so far, if any.
    """
    _check_options(seed, limits)
    net = _network(network)
    props = _properties(property, net)
    from repairsolver.repairing.engine import repair_property
    from repairsolver.repairing.several import united

    fix = repair_property(
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
        points=_points(points, net),
        keep=_points(keep, net),
        keep_soft=keep_soft,
        decision=decision,
        limits=limits or Limits(),
        seed=seed,
        on_event=on_event,
    )
    return _certified(fix, props, limits, on_event) if certificate else fix


def diagnose(
    model: Model | str | Path | Mapping[str, object],
    *,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
) -> Diagnosis:
    """Find all independent faults of a layer graph.

    Args:
        model: a layer graph, a JSON file (Keras's own, a layer list, or ExAIS), or parsed JSON.
        input_shape: shape of its one input instead of the stated one, without the batch axis.
        output_shape: shape that its one output must have.

    Raises:
        ArchitectureError: malformed JSON, with its position; layer types without a rule, all listed.
    """
    from repairsolver.architecture.diagnosis import diagnose_model

    return diagnose_model(_architecture(model, input_shape, output_shape))


def repair_architecture(
    model: Model | str | Path | Mapping[str, object],
    *,
    input_shape: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    costs: Costs | None = None,
    prove: bool = True,
    seconds: float = 10.0,
) -> ArchitectureRepair:
    """Find the cheapest edits after which all layers of a layer graph fit together.

    The edits come from a search over shapes. With `prove`, z3 decides whether cheaper ones exist: it refuses,
    and the repair is proved to be the cheapest; or it finds them, and they are taken; or its time is up.

    Args:
        model: a layer graph, a JSON file (Keras's own, a layer list, or ExAIS), or parsed JSON.
        input_shape: shape of its one input instead of the stated one, without the batch axis.
        output_shape: shape that its one output must have.
        costs: prices of the edits.
        prove: whether to ask z3.
        seconds: time for each of z3's decisions.

    Raises:
        ArchitectureError: malformed JSON, with its position; layer types without a rule, all listed.
        SoundnessError: the edited model still has a fault; please report it.
    """
    from repairsolver.architecture.repair import repair_model

    graph = _architecture(model, input_shape, output_shape)
    return repair_model(graph, costs, prove=prove, seconds=seconds)


def _architecture(
    model: Model | str | Path | Mapping[str, object],
    input_shape: Sequence[int] | None,
    output_shape: Sequence[int] | None,
) -> Model:
    from repairsolver.architecture.model import Model, with_input, with_output
    from repairsolver.architecture.reading import load_architecture

    graph = model if isinstance(model, Model) else load_architecture(model)
    if input_shape is not None:
        graph = with_input(graph, tuple(input_shape))
    return graph if output_shape is None else with_output(graph, tuple(output_shape))


def _certified(
    fix: Repair, props: Sequence[Property], limits: Limits | None, on_event: OnEvent | None
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
    proved = len(props) == 1 and verdicts[0].status is VerifyStatus.HOLDS
    return replace(fix, verdict=verdicts[0]) if proved else fix


def _check_options(seed: int, limits: Limits | None) -> None:
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits must be Limits(...), such as Limits(seconds=60), got {limits!r}")
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed < LARGEST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED - 1}, got {seed}")


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device, dtype=torch.float64).item()
        torch.Generator(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {device!r} cannot be used here: {reason}; use 'cpu'") from error


def _network(source: Network | str | Path) -> Network:
    return source if isinstance(source, Network) else load_network(source)


def _property(source: Property | str | Path, network: Network) -> Property:
    if isinstance(source, Property):
        check_fits(source, network)
        return source
    return load_property(source, network=network)


def _properties(
    source: Property | str | Path | Sequence[Property | str | Path], network: Network
) -> list[Property]:
    several = [source] if isinstance(source, Property | str | Path) else list(source)
    return [_property(item, network) for item in several]


def _points(source: PointSet | str | Path | None, network: Network) -> PointSet | None:
    if source is None or isinstance(source, PointSet):
        return source
    if not isinstance(source, str | Path):
        raise TypeError(f"points must be PointSet(inputs, labels) or a file, got {type(source).__name__}")
    return load_points(source, network)
