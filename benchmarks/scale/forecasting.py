"""What many workers would gain: costs from measured rows, the model's check against them, its forecast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.plots import Series, lines
from benchmarks.record import Recorder, read_rows
from benchmarks.scale.model import Costs, Forecast, Packet, Shape, grown, simulate
from repairsolver.verification.shared import driver

FIGURE = Path(__file__).parents[2] / "docs" / "figures" / "scale_forecast.svg"
Row = dict[str, str]
Way = tuple[str, ...]
WAY = ("instance", "executor", "jobs", "round")
CHECK = (*WAY, "measured_seconds", "predicted_seconds", "ratio", "stretch")
COLUMNS = (
    "search", "boxes", "most_boxes", "workers", "seconds", "speed_up", "efficiency", "driver_share",
    "packets",
)  # fmt: skip
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
BOXES = (1e5, 1e6, 1e7, 1e8)
MOST = (16384, 32768, 65536)
SHAPED = "N3,3/2"
"""The search whose packets say what boxes cost, and how unevenly a rest is shared."""


def forecast(folder: Path) -> None:
    """Write check.csv, forecast.csv and the plot from search.csv and packets.csv."""
    searches, packets = read_rows(folder / "search.csv"), read_rows(folder / "packets.csv")
    runs = {way: list(group) for way, group in groupby(packets, key=_way)}
    check(runs, {_way(row): row for row in searches}, Recorder(folder / "check.csv", CHECK))
    recorder = Recorder(folder / "forecast.csv", COLUMNS)
    ways = [way for way in runs if way[0] == SHAPED]
    costs = _costs(runs[ways[-1]], next(row for row in searches if _way(row) == ways[-1]))
    recorded = {n: simulate(_recorded(runs[ways[-1]], "cpu_seconds"), costs, n) for n in WORKERS}
    _add(recorder, SHAPED, sum(int(row["examined"]) for row in runs[ways[-1]]), driver.MOST_BOXES, recorded)
    drawn = [_series(SHAPED, recorded)]
    for most in MOST:
        shape = _shape([row for way in ways for row in runs[way]], most)
        for boxes in BOXES:
            found = {n: simulate(grown(boxes, shape, 0), costs, n) for n in WORKERS}
            _add(recorder, "grown", int(boxes), most, found)
            if most == driver.MOST_BOXES:
                drawn.append(_series(f"{boxes:.0e} boxes".replace("e+0", "e"), found))
    ideal = Series("as many as workers", [float(n) for n in WORKERS], ours=False)
    lines(FIGURE, WORKERS, [*drawn, ideal], ("workers", "expected speed-up"), log_y=True)


def check(runs: dict[Way, list[Row]], searches: dict[Way, Row], out: Recorder) -> None:
    """Every measured run, simulated with its packets and the clock's seconds of their workers."""
    for way, packets in runs.items():
        row = searches[way]
        stretch = _sum(packets, "seconds") / _sum(packets, "cpu_seconds")
        costs = _costs(packets, row, stretch)
        found = simulate(_recorded(packets, "seconds"), costs, int(row["jobs"])).seconds
        measured = float(row["wall_seconds"])
        out.add(
            dict(zip(WAY, way, strict=True))
            | {"measured_seconds": measured, "predicted_seconds": round(found, 3)}
            | {"ratio": round(found / measured, 3), "stretch": round(stretch, 3)}
        )


def _way(row: Row) -> Way:
    return tuple(row[name] for name in WAY)


def _sum(rows: Sequence[Row], name: str) -> float:
    return sum(float(row[name]) for row in rows)


def _costs(packets: Sequence[Row], row: Row, stretch: float = 1.0) -> Costs:
    """A driver's costs, times `stretch`: the median packet's, and the rest of its processor time."""
    each = median(float(packet["driver_seconds"]) for packet in packets)
    serial = float(row["driver_seconds"]) - each * len(packets)
    return Costs(serial * stretch, each * stretch)


def _recorded(packets: Sequence[Row], seconds: str) -> list[Packet]:
    """The packets of a run, each with its rest."""
    children: dict[str, list[Row]] = {}
    for packet in packets:
        children.setdefault(packet["parent"], []).append(packet)

    def made(parent: str) -> list[Packet]:
        return [packet(row) for row in reversed(children.get(parent, []))]

    def packet(row: Row) -> Packet:
        own, sent, returned = (float(row[name]) for name in (seconds, "sent", "returned"))
        return Packet(own, sent, returned, lambda: made(row["name"]))

    return made("")


def _shape(packets: Sequence[Row], most: int) -> Shape:
    """How the recorded search grew; a worker's seconds by least squares over its packets."""
    examined = np.array([float(row["examined"]) for row in packets])
    seconds = np.array([float(row["cpu_seconds"]) for row in packets])
    (box, fixed), *_ = np.linalg.lstsq(np.c_[examined, np.ones_like(examined)], seconds, rcond=None)
    whole = [row for row in packets if row["open"] == "0"]
    returned = _sum(whole, "returned") / _sum(whole, "examined")
    sent = median(float(row["sent"]) for row in packets)
    costs = float(box), max(0.0, float(fixed)), sent, returned
    return Shape(driver.BOXES, most, driver.PIECES, _evenness(packets), *costs)


def _evenness(packets: Sequence[Row]) -> float:
    """Of a symmetric Dirichlet distribution with the variance of the siblings' shares of boxes below them.

    A share of k has the variance (1/k) (1 - 1/k) / (k a + 1).
    """
    rows = [row for row in packets if _way(row) == _way(packets[-1])]
    below = {row["name"]: float(row["examined"]) for row in rows}
    for row in reversed(rows):
        if row["parent"]:
            below[row["parent"]] += below[row["name"]]
    families: dict[str, list[float]] = {}
    for row in rows:
        families.setdefault(row["parent"], []).append(below[row["name"]])
    pieces = driver.PIECES
    shares = [np.array(f) / sum(f) for f in families.values() if len(f) == pieces]
    variance = float(np.mean([((s - 1 / pieces) ** 2).mean() for s in shares]))
    return ((1 / pieces) * (1 - 1 / pieces) / variance - 1) / pieces


def _add(out: Recorder, name: str, boxes: int, most: int, found: dict[int, Forecast]) -> None:
    for workers, one in found.items():
        gain = found[1].seconds / one.seconds
        out.add(
            {"search": name, "boxes": boxes, "most_boxes": most, "workers": workers}
            | {"seconds": round(one.seconds, 3), "speed_up": round(gain, 2)}
            | {"efficiency": round(gain / workers, 4), "driver_share": round(one.driver_share, 4)}
            | {"packets": one.packets}
        )


def _series(label: str, found: dict[int, Forecast]) -> Series:
    return Series(label, [found[1].seconds / one.seconds for one in found.values()], ours=True)
