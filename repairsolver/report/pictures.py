"""The pictures that belong to a result: each is made where what it needs is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from repairsolver.decision import Side
from repairsolver.report.curves import bound_figure, convergence_figure, volume_figure
from repairsolver.report.figure import Picture, picture
from repairsolver.report.heatmap import heat_figure
from repairsolver.report.outputs import outputs_figure
from repairsolver.report.plane import chosen_plane
from repairsolver.report.slice import slices_figure
from repairsolver.report.subject import Subject

MOST_MARKED = 20


def pictures(subject: Subject) -> list[Picture]:
    """All pictures of a result, in the order of a page; see `PICTURES`."""
    return [drawn for draw in PICTURES for drawn in draw(subject)]


def decision_of(subject: Subject) -> Side:
    """Whether the largest or the smallest output is the chosen one, as far as the result tells."""
    record = subject.record
    told = (record.get("fidelity") or {}).get("decision") or (record.get("asked") or {}).get("decision")
    return "min" if told == "min" else "max"


def slices(subject: Subject) -> Iterator[Picture]:
    """Decision regions through the worst counterexample."""
    network, found = subject.network, subject.counterexamples[:MOST_MARKED]
    if network is None or not subject.properties or network.output_size < 2:
        return
    prop = subject.properties[0]
    plane = chosen_plane(network, prop, found[0].input if found else None)
    if plane is None:
        return
    drawn = slices_figure(
        network, subject.repaired, plane, decision=decision_of(subject), prop=prop, counterexamples=found
    )
    others = "the worst counterexample" if found else "the middle of the property's region"
    text = (
        f"Which output is chosen ({decision_of(subject)}imum) on the plane of inputs {plane.x.index} and "
        f"{plane.y.index}, with the other inputs as in {others}. Dashed: the property's box, as it projects "
        "on the plane. Marked: counterexamples, projected."
    )
    yield picture(drawn, "Decisions on a slice of the input space", text, "png")


def output_sets(subject: Subject) -> Iterator[Picture]:
    """Samples of the outputs, and the unsafe half-space."""
    if subject.network is None or not subject.properties or not subject.properties[0].regions:
        return
    prop, found = subject.properties[0], subject.counterexamples[:MOST_MARKED]
    drawn = outputs_figure(subject.network, subject.repaired, prop, found)
    if drawn is not None:
        text = (
            "Outputs of random inputs of the region and of its counterexamples, projected on the outputs "
            "that the tightest half-space compares. Hatched: its unsafe side; crosses: samples that violate "
            "the property (of several half-spaces all must be)."
        )
        yield picture(drawn, "Where the outputs lie", text, "png")


def heat_map(subject: Subject) -> Iterator[Picture]:
    """The change of the weights."""
    edit = subject.record.get("edit")
    drawn = heat_figure(edit) if edit and "tensors" in edit else None
    if drawn is not None:
        text = "The change of each number; white is unchanged. A block of a large tensor has its largest."
        yield picture(drawn, "The change, weight by weight", text)


def convergence(subject: Subject) -> Iterator[Picture]:
    """Cost and lower bound over time."""
    drawn = convergence_figure(subject.record)
    if drawn is not None:
        text = "The norm of every candidate, of the best proved one, and the proved lower bound, over time."
        yield picture(drawn, "Cost and lower bound", text)


def volume(subject: Subject) -> Iterator[Picture]:
    """The proved share of the inputs, and the bound, over time."""
    text = "The share of the property's input volume that is proved, over time."
    if subject.record.get("kind") == "repair":
        text += " Every candidate's proof begins anew."
    drawn = volume_figure(subject.record)
    if drawn is not None:
        yield picture(drawn, "Verified volume", text)
    drawn = bound_figure(subject.record)
    if drawn is not None and subject.record.get("kind") == "verify":
        yield picture(
            drawn, "Best proved bound", "The least bound over all open boxes; positive means proved."
        )


PICTURES: tuple[Callable[[Subject], Iterator[Picture]], ...] = (
    slices, output_sets, heat_map, convergence, volume,
)  # fmt: skip
