"""Responsible neurons in words, as JSON, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repairsolver.errors import EditError
from repairsolver.report.records import plain
from repairsolver.targets import file_target

if TYPE_CHECKING:
    from repairsolver.network.graph import Network
    from repairsolver.property.specification import Property
    from repairsolver.repairing.imitation.responsibility import Localisation

KINDS = (".svg", ".png", ".pdf")
WIDEST = 200
"""Neurons of a layer that are drawn one by one; of wider layers the largest of each group is drawn."""


def explain(found: Localisation, count: int) -> str:
    """Layers, then the most responsible neurons, one a line."""
    lines = [
        f"Measure {found.measure}, on {found.negatives} negatives and {found.positives} positives.",
        "Layers, by the mean over their neurons:",
        *(f"  {name}: {value:.4g}" for name, value in found.ranked_layers()),
        "Neurons:",
        *(f"  {n.layer}[{n.index}]: {n.responsibility:.4g}" for n in found.ranked(count)),
    ]
    return "\n".join(lines)


def localisation_record(found: Localisation, network: Network, prop: Property) -> dict[str, Any]:
    """The ranking with the hashes of what it is about."""
    return {
        "result": "localised",
        "network_sha256": network.sha256,
        "property_sha256": prop.sha256,
        "measure": found.measure,
        "negatives": found.negatives,
        "positives": found.positives,
        "layers": [
            {"layer": layer.name, "responsibility": plain(layer.responsibility)} for layer in found.layers
        ],
        "ranking": [plain([n.layer, n.index, n.responsibility]) for n in found.ranked()],
    }


def check_picture(path: Path) -> None:
    """Refuse, before the work, a name that says of no format, or a place that cannot be written to.

    Raises:
        EditError: the name ends in none of .svg, .png and .pdf.
        OSError: the path is a folder or a device.
    """
    if path.suffix.lower() not in KINDS:
        raise EditError(f"{path}: a picture is a file that ends in {', '.join(KINDS)}; choose such a name")
    file_target(path)


def draw(found: Localisation, path: Path) -> None:
    """A heat map: one row for each layer, one cell for each neuron, darker the more responsible.

    Raises:
        EditError, OSError: as `check_picture`.
    """
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [_narrowed(layer.responsibility) for layer in found.layers]
    cells = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in enumerate(rows):
        cells[place, : len(row)] = row
    figure = Figure(figsize=(9, 1.2 + 0.35 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    # Cividis looks the same with and without colour vision.
    shown = axes.imshow(cells, aspect="auto", cmap="cividis_r", interpolation="nearest", vmin=0.0)
    axes.set_yticks(range(len(rows)), [layer.name for layer in found.layers])
    axes.set_xlabel("neuron (filter)")
    axes.set_title(f"Responsibility for violations, by {found.measure}")
    figure.colorbar(shown, ax=axes, label="responsibility")
    figure.savefig(file_target(path), format=path.suffix.lower()[1:])


def _narrowed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest value of each of at most `WIDEST` groups of neighbours."""
    if len(values) <= WIDEST:
        return values
    return np.array([part.max() for part in np.array_split(values, WIDEST)])
