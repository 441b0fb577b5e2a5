"""`verify` and `falsify`; each loads its engine at its first call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from repairsolver.executors import make_executor
from repairsolver.network import Network
from repairsolver.property import Property
from repairsolver.results import Arithmetic, Limits, OnEvent, Verdict
from repairsolver.signatures import typed
from repairsolver.verbs.arguments import (
    as_network,
    as_property,
    check_device,
    check_options,
)

if TYPE_CHECKING:
    from repairsolver.verification.falsification import Falsification
    from repairsolver.verification.kept import Kept


@typed
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
    kept: Kept | None = None,
    arithmetic: Arithmetic = "real",
    jobs: int | None = None,
    executor: str = "local",
    address: str = "",
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
        kept: the proof tree of the call before with the same `Kept()`: what an edit of the network, or
            another threshold, leaves valid is not computed again. Not with `tree`.
        arithmetic: what a proof speaks of: "real", the exact network on the weights as stored; or "float32",
            every float32 execution of the ONNX file, whatever the order of its sums. The latter takes
            linear bounds on boxes alone, so that more may stay unknown.
        jobs: so many worker processes share a search that splits inputs; each may hold `limits.memory_gb`.
            The proof does not depend on their number. None searches in this process, with threads.
        executor, address: whose workers: "local", processes of this machine; or "ray", those of a Ray
            cluster at the address ("" starts one here).

    Raises:
        ExperimentError: there are no such workers.
        WorkerError: workers were lost, or failed, too often.
        NetworkError, PropertyError: a file is malformed, or property and network do not fit; or the network's
            numbers may overflow; or, for float32, it has nodes whose rounding is not known.
        DeviceError: torch cannot use the device.
        TreeError: the tree is damaged, or of another network, property or version.
        SoundnessError: a check contradicts a result.
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is the verdict so far.
    """
    check_options(seed, limits)
    if arithmetic not in get_args(Arithmetic):
        raise ValueError(f"arithmetic must be 'real' or 'float32', got {arithmetic!r}")
    if kept is not None and tree is not None:
        raise ValueError("kept and tree exclude each other: one is for the next question, one for the same")
    if jobs is None and (executor != "local" or address):
        raise ValueError(f"executor {executor!r} needs a number of jobs: say jobs=N")
    if jobs is not None and (kept is not None or device != "cpu"):
        raise ValueError(
            "workers (jobs) keep no tree for the next question, and bound on the cpu: leave them out"
        )
    net = as_network(network)
    prop = as_property(property, net)
    check_device(device)
    workers = None if jobs is None else make_executor(executor, jobs, address)
    from repairsolver.verification.engine import verify_property

    try:
        return verify_property(
            net,
            prop,
            limits=limits or Limits(),
            seed=seed,
            on_event=on_event,
            device=device,
            record=certificate,
            tree=tree,
            kept=kept,
            arithmetic=arithmetic,
            executor=workers,
        )
    finally:
        if workers is not None:
            workers.close()


@typed
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
        Interrupted: on Ctrl-C, a KeyboardInterrupt whose `result` is what was found so far, if anything.
    """
    check_options(seed, limits)
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count must be a whole number from 1, got {count!r}")
    net = as_network(network)
    prop = as_property(property, net)
    check_device(device)
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
