"""The edit that a repair by gates makes: which gates, where, and what they do; as a file, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repairsolver.errors import EditError
from repairsolver.exact_json import loads
from repairsolver.network.gated import NewGate, add_gates
from repairsolver.network.gated.changes import gate_from_json
from repairsolver.network.graph import Network
from repairsolver.results import Array, counted

FORMAT = "repairsolver-gates"
VERSION = 1
SHOWN_INPUTS = 6
"""Inputs whose intervals are printed for a box."""


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """Gates to be put into a network.

    Args:
        gates: in the order in which they are put in.
        sha256: of the network that they belong to.
        monitor: whether an output tells which of them are on.
        asked: text of the property that they are for, which the file carries.
    """

    gates: tuple[NewGate, ...]
    sha256: str = ""
    monitor: bool = False
    asked: str = ""

    @property
    def count(self) -> int:
        """How many neurons are overridden, and half-spaces enforced, over all gates."""
        return sum(gate.change.count for gate in self.gates)

    @property
    def boxes(self) -> int:
        """How many boxes of inputs turn a gate on, over all gates."""
        return sum(len(gate.lower) for gate in self.gates)

    def __repr__(self) -> str:
        return f"<Gates: {counted(len(self.gates), 'gate')} in {counted(self.boxes, 'box', 'boxes')}>"

    def apply(self, network: Network) -> Network:
        """The network with the gates.

        Raises:
            EditError: it is not the network that they belong to.
        """
        if self.sha256 and network.sha256 != self.sha256:
            raise EditError(
                f"{network.name}: these gates belong to the network with SHA-256 {self.sha256[:16]}..., "
                f"got {network.sha256[:16]}...: apply them to the file that was repaired"
            )
        if not self.gates:
            return network
        return add_gates(network, self.gates, monitor=self.monitor, asked=self.asked)

    def fired(self, points: Array) -> Array:
        """How often each gate is on: the share of inputs [b, n], for each gate."""
        inputs = np.asarray(points, dtype=np.float64)
        return np.array([gate.fires(inputs).mean() if len(inputs) else 0.0 for gate in self.gates])

    def describe(self, entries: int = 10, points: Array | None = None) -> str:
        """Each gate: where it is on and what it does there; and how often on given inputs [b, n]."""
        lines = []
        shares = None if points is None else self.fired(points)
        for number, gate in enumerate(self.gates):
            often = (
                ""
                if shares is None
                else f"; on for {shares[number]:.3%} of {0 if points is None else len(points)} inputs"
            )
            lines += gate_lines(gate, often, entries)
        return "\n".join(lines) if lines else "no gate"

    def to_json(self) -> str:
        """Every number survives exactly."""
        content = {"format": FORMAT, "version": VERSION, "network_sha256": self.sha256}
        gates = [gate.to_json() for gate in self.gates]
        content |= {"asked": self.asked} if self.asked else {}
        return json.dumps(content | {"monitor": self.monitor, "gates": gates}, indent=1)

    def save(self, path: str | Path) -> None:
        """Write the gates as JSON.

        Raises:
            EditError: the name does not end in .json.
            OSError: the path is a folder or a device, or cannot be written to.
        """
        from repairsolver.repairing.edit_file import save_edit

        save_edit(self, path)

    @staticmethod
    def from_json(text: str) -> Gates:
        """Read gates back.

        Raises:
            EditError: the text holds no gates of this version.
        """
        try:
            content = loads(text)
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise EditError(
                    f"not gates that this version reads: format {content['format']!r}, version "
                    f"{content['version']!r}; expected {FORMAT!r}, version {VERSION}"
                )
            gates = tuple(gate_from_json(gate) for gate in content["gates"])
            asked = str(content.get("asked", ""))
            return Gates(gates, str(content["network_sha256"]), bool(content["monitor"]), asked)
        except EditError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise EditError(f"not gates in the format {FORMAT!r}: {error!r}") from error


def gate_lines(gate: NewGate, often: str = "", entries: int = 10) -> list[str]:
    """One gate in words: what it does, then its boxes."""
    changes = gate.change.sentences(gate.layer)
    more = [f"and {len(changes) - entries} more"] if len(changes) > entries else []
    boxes = [f"  in {_box(low, high)}" for low, high in zip(gate.lower, gate.upper, strict=True)][:entries]
    rest = [f"  and {len(gate.lower) - entries} more boxes"] if len(gate.lower) > entries else []
    return [*[f"{line}{often}" for line in changes[:entries]], *more, *boxes, *rest]


def _box(lower: Array, upper: Array) -> str:
    limited = np.flatnonzero(np.isfinite(lower) | np.isfinite(upper))
    shown = [f"X_{i} [{lower[i]:.6g}, {upper[i]:.6g}]" for i in limited[:SHOWN_INPUTS]]
    more = [f"{len(limited) - SHOWN_INPUTS} more inputs"] if len(limited) > SHOWN_INPUTS else []
    return ", ".join([*shown, *more]) or "all inputs"
