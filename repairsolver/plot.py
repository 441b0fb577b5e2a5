"""Plots of results, as matplotlib figures: for notebooks, and for papers with `figure.savefig`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from repairsolver.decision import Side
from repairsolver.errors import ReportError
from repairsolver.network import Network
from repairsolver.property import Property
from repairsolver.property.spoken import spoken_of
from repairsolver.report import curves, plane
from repairsolver.report.history import History as History
from repairsolver.report.slice import Axis, Slice, slices_figure
from repairsolver.report.subject import read_record
from repairsolver.report.sweep import Sweep, read_sweep
from repairsolver.results import Counterexample, Verdict
from repairsolver.verbs.arguments import as_network, as_property

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from repairsolver.repairing.result import Repair


def slice(  # noqa: A001 - what is drawn
    network: Network | str | Path,
    property: Property | str | Path,  # noqa: A002 - as in verify
    repaired: Network | Repair | str | Path | None = None,
    *,
    through: ArrayLike | None = None,
    inputs: tuple[int, int] | None = None,
    counterexamples: Sequence[Counterexample] = (),
    decision: Literal["auto", "max", "min"] = "auto",
    names: Sequence[str] = (),
    axes: tuple[str, str] | None = None,
    title: str = "",
) -> Figure:
    """The decisions of a network on a plane of its inputs; of a repair also after, and where they differ.

    Args:
        network: a network or a file.
        property: its boxes are outlined.
        repaired: the repaired network, or the repair.
        through: a point of the plane, [n]; else the worst counterexample, or the middle of the first region.
        inputs: the two inputs that vary; else the two that move the outputs most.
        counterexamples: marked; those of a repair are where none are given.
        decision: whether the largest or the smallest output is chosen; "auto": what the repair was measured
            by, or the property speaks of, else the largest.
        names: of the outputs.
        axes: of the two inputs.

    Raises:
        ReportError: the plane cannot be drawn: fewer than two free inputs, or no such input.
        NetworkError, PropertyError: a file is malformed, or things do not fit.
    """
    net = as_network(network)
    prop = as_property(property, net)
    found = tuple(counterexamples) or tuple(getattr(repaired, "counterexamples", ()))
    after = _repaired(repaired)
    if net.output_size < 2:
        raise ReportError("a network with a single output decides nothing that a slice could show")
    point = np.asarray(through, dtype=np.float64) if through is not None else None
    if point is None and found:
        point = found[0].input
    drawn = _plane(net, prop, point, inputs)
    if axes is not None:
        x, y = (
            Axis(a.index, a.lower, a.upper, text) for a, text in zip((drawn.x, drawn.y), axes, strict=True)
        )
        drawn = Slice(drawn.base, x, y, drawn.resolution)
    return slices_figure(
        net, after, drawn, decision=_side(decision, prop, repaired), classes=names, prop=prop,
        counterexamples=found, title=title,
    )  # fmt: skip


def _side(decision: Literal["auto", "max", "min"], prop: Property, repaired: object) -> Side:
    if decision != "auto":
        return decision
    kept = getattr(repaired, "fidelity", None)
    return kept.decision if kept is not None else spoken_of(prop) or "max"


def history(
    events: History | Mapping[str, Any] | str | Path, result: Repair | Verdict | None = None
) -> Figure:
    """How a run came forward: cost against lower bound of a repair, the proved share of a verification.

    Args:
        events: a `History` that was given as `on_event`; or a result as JSON: the object, its file, or its
            folder, as `--json`, `bench` and the service write it.
        result: what the run returned, for the norm and the time of its end.

    Raises:
        ReportError: nothing that can be drawn happened, as when an attack decided at once.
    """
    record = dict(_record(events, result))
    drawn = curves.convergence_figure(record) or curves.volume_figure(record) or curves.bound_figure(record)
    if drawn is None:
        stages = ", ".join(dict.fromkeys(str(row["stage"]) for row in record.get("history", ()))) or "nothing"
        raise ReportError(
            f"nothing to draw: the run went through {stages}, and was decided before any search"
        )
    return drawn


class HasSweep(Protocol):
    """What has rows, such as an `Experiment`."""

    @property
    def sweep(self) -> Sweep: ...


Run = HasSweep | Sweep | Path | str


def cactus(*runs: Run) -> Figure:
    """How many instances each run solves within so many seconds: sweeps, experiments, or CSV files."""
    from repairsolver.report.plots import cactus as draw

    return draw([_sweep(run) for run in runs])


def scatter(run: Run, base: Run, timeout: float | None = None) -> Figure:
    """Seconds of a run against those of another, instance by instance, with lines for what was not solved."""
    from repairsolver.report.plots import scatter as draw

    return draw(_sweep(run), _sweep(base), timeout)


def _sweep(run: Run) -> Sweep:
    if isinstance(run, Sweep):
        return run
    if isinstance(run, str | Path):
        return read_sweep(Path(run))
    return run.sweep


def _repaired(source: Network | Repair | str | Path | None) -> Network | None:
    if source is None or isinstance(source, Network | str | Path):
        return None if source is None else as_network(source)
    if source.network is None:
        raise ReportError(f"there is no repaired network to draw: {source.status} ({source.message})")
    return source.network


def _plane(net: Network, prop: Property, point: Any, inputs: tuple[int, int] | None) -> Slice:
    if point is not None and point.shape != (net.input_size,):
        raise ReportError(f"through: expected {net.input_size} numbers, got shape {point.shape}")
    if not prop.regions:
        raise ReportError("the property has no region of inputs that a slice could show")
    if inputs is None:
        drawn = plane.chosen_plane(net, prop, point)
        if drawn is None:
            raise ReportError("fewer than two inputs are free in the property: name two with inputs=(i, j)")
        return drawn
    if len(set(inputs)) != 2 or not all(0 <= i < net.input_size for i in inputs):
        raise ReportError(f"inputs: expected two of 0 to {net.input_size - 1}, got {inputs}")
    return plane.plane_of(net, prop, point, inputs)


def _record(events: Any, result: Any) -> Mapping[str, Any]:
    if isinstance(events, History):
        told: dict[str, Any] = {"history": events.rows()}
        if isinstance(result, Verdict):
            told |= {"result": result.status.word, "seconds": result.seconds}
        elif result is not None:
            told |= {"kind": "repair", "norm": result.norm, "seconds": result.seconds}
        return told
    return read_record(Path(events)) if isinstance(events, str | Path) else events
