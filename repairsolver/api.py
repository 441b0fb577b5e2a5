"""The two verbs of the library, `verify` and `repair`; each loads its engine when it is first called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from repairsolver.errors import DeviceError, SoundnessError
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet, Property, load_points, load_property
from repairsolver.property.files import check_fits
from repairsolver.results import Limits, OnEvent, Verdict, VerifyStatus

if TYPE_CHECKING:
    from repairsolver.repairing.result import Repair

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

    Raises:
        NetworkError, PropertyError: a file is malformed, or property and network do not fit.
        DeviceError: torch cannot use the device.
        SoundnessError: a check contradicts a result.
    """
    _check_options(seed, limits)
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
    )


def repair(
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - the word that callers expect
    *,
    method: Literal["delta"] = "delta",
    layers: str = "last",
    norm: Literal["l1", "l2", "linf"] = "l1",
    gap: float = 0.01,
    solver: str = "highs",
    points: PointSet | str | Path | None = None,
    keep: PointSet | str | Path | None = None,
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
        property: a property or a VNN-LIB file; it describes the violation.
        method: how to repair; "delta" changes weights and biases.
        layers: the layers that may change: "last", or a layer's name.
        norm: what is least: the L1, L2 or Linf norm of the change of the weights.
        gap: stop when cost - proved lower bound <= gap * cost.
        solver: name of the solver, see `available_solvers`.
        points: points that must get their label (or satisfy the property) after the repair.
        keep: points whose decision must stay.
        decision: whether the largest or the smallest output is the chosen one; for points, fidelity, and
            which of equally small changes is preferred.
        limits: what the call may spend. Without a limit of time the search for a smaller change ends when
            three margins in all have failed after the first proof, or none is left to try.
        seed: the same seed gives the same answer, time limits aside.
        on_event: called with progress reports.
        certificate: prove the repaired network once more and keep that proof, as `verdict.certificate`.

    Raises:
        NetworkError, PropertyError, PointSetError: a file is malformed, or things do not fit.
        EditError: no such layer, or it cannot be changed.
        SolverUnavailableError, LicenseError, SolverError: of the solver.
        SoundnessError: a check contradicts a result.
    """
    _check_options(seed, limits)
    net = _network(network)
    prop = _property(property, net)
    from repairsolver.repairing.engine import repair_property

    fix = repair_property(
        net,
        prop,
        method=method,
        layers=layers,
        norm=norm,
        gap=gap,
        solver=solver,
        points=_points(points, net),
        keep=_points(keep, net),
        decision=decision,
        limits=limits or Limits(),
        seed=seed,
        on_event=on_event,
    )
    return _certified(fix, prop, limits, on_event) if certificate else fix


def _certified(fix: Repair, prop: Property, limits: Limits | None, on_event: OnEvent | None) -> Repair:
    """A proved repair with a proof that is kept, if there is one that can be and time is left for it."""
    if not fix.proved or fix.network is None:
        return fix
    left = limits or Limits()
    if left.seconds is not None:
        left = replace(left, seconds=max(left.seconds - fix.seconds, 1.0))
    verdict = verify(fix.network, prop, limits=left, seed=fix.seed, on_event=on_event, certificate=True)
    if verdict.status is VerifyStatus.VIOLATED:
        raise SoundnessError("the repaired network was proved, but a counterexample was found: report this")
    return replace(fix, verdict=verdict) if verdict.status is VerifyStatus.HOLDS else fix


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


def _points(source: PointSet | str | Path | None, network: Network) -> PointSet | None:
    if source is None or isinstance(source, PointSet):
        return source
    if not isinstance(source, str | Path):
        raise TypeError(f"points must be PointSet(inputs, labels) or a file, got {type(source).__name__}")
    return load_points(source, network)
