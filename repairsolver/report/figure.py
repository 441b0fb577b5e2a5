"""Figures as parts of a page: images that hold themselves, with a text for people who do not see them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with the common colour blindnesses tell apart, on a light grey.
PALETTE = ("#d9d9d9", "#56b4e9", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#f0e442", "#cc79a7")
BLUE, ORANGE, VERMILION, GREEN, PURPLE, GREY = (
    "#0072b2",
    "#e69f00",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#6b6b6b",
)
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Kind = Literal["svg", "png"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page.

    Args:
        title: its heading.
        text: what it shows, for people who do not see it, and as its caption.
        source: a data URI.
    """

    title: str
    text: str
    source: str


def picture(figure: Figure, title: str, text: str, kind: Kind = "svg") -> Picture:
    """A figure as a picture; the same figure gives the same bytes."""
    return Picture(title, text, data_uri(image(figure, kind), kind))


def image(figure: Figure, kind: Kind) -> bytes:
    """The bytes of a figure, without the date."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "repairsolver", "svg.fonttype": "none"}):
        figure.savefig(stream, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def data_uri(content: bytes, kind: Kind) -> str:
    media = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def figure(width: float = 6.4, height: float = 3.4) -> Figure:
    """An empty figure of that many inches, which looks after its own layout and shows itself in notebooks."""
    from repairsolver.report.shown import Shown

    return Shown(figsize=(width, height), layout="constrained")


@contextmanager
def panel(width: float = 6.4, height: float = 3.4) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one panel in the look that all have."""
    blank = figure(width, height)
    axes = blank.subplots()
    yield blank, axes
    dressed(axes)


def dressed(axes: Axes) -> None:
    """The look of all panels with axes: a quiet grid, no box."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
