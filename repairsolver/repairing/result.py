"""What a repair returns: the change of the stored parameters, and what is guaranteed about it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from layerwise.norm import NORMS
from repairsolver.certificate import write_certificate
from repairsolver.display import result_html
from repairsolver.errors import CertificateError, EditError
from repairsolver.exact_json import loads
from repairsolver.network import replace_parameters, save_network
from repairsolver.network.graph import Network
from repairsolver.results import (
    Array,
    Certificate,
    Counterexample,
    RepairStatus,
    Verdict,
    VerifyStatus,
    counted,
)

if TYPE_CHECKING:
    from repairsolver.metrics import Fidelity
    from repairsolver.repairing.explanation import Core, Demand
    from repairsolver.repairing.gate.edit import Gates
    from repairsolver.sampling.statement import Statement

FORMAT = "repairsolver-delta"
VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class TensorChange:
    """One tensor of the ONNX file before and after, in the file's layout and element type.

    Args:
        tensor: its name in the file.
        layer: the layer's name.
        role: "weight" or "bias".
        transposed: the file holds weights as [input, output] instead of [output, input].
    """

    tensor: str
    layer: str
    role: str
    old: NDArray[np.floating]
    new: NDArray[np.floating]
    transposed: bool = False

    @property
    def difference(self) -> Array:
        """new - old in float64."""
        return np.asarray(self.new.astype(np.float64) - self.old.astype(np.float64))

    def neuron(self, index: tuple[int, ...]) -> str:
        """The name of one entry, as people know it."""
        if self.role == "bias":
            return f"{self.layer}: bias of neuron {index[-1]}"
        target, *source = (*index[:-2], index[-1], index[-2]) if self.transposed else index
        origin = ", ".join(map(str, source))
        return f"{self.layer}: weight of neuron {target} from {origin}"


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """A change of stored parameters.

    Args:
        changes: tensors with at least one changed entry.
        sha256: of the network that the change belongs to.
    """

    changes: tuple[TensorChange, ...]
    sha256: str = ""

    @property
    def vector(self) -> Array:
        """All differences, flat."""
        parts = [change.difference.ravel() for change in self.changes]
        return np.concatenate(parts) if parts else np.zeros(0)

    @property
    def count(self) -> int:
        """How many entries changed."""
        return int(np.count_nonzero(self.vector))

    def norm(self, name: str) -> float:
        """The l0, l1, l2 or linf norm of the difference."""
        if name not in NORMS:
            raise EditError(f"unknown norm {name!r}: known are {', '.join(NORMS)}")
        return NORMS[name].value(self.vector)

    def __repr__(self) -> str:
        tensors = ", ".join(change.tensor for change in self.changes) or "nothing"
        return f"<Delta of {tensors}: {counted(self.count, 'entry', 'entries')} changed>"

    def apply(self, network: Network) -> Network:
        """The network with the new values.

        Raises:
            EditError: the network's tensors are missing or are not the old ones.
        """
        if self.sha256 and network.sha256 != self.sha256:
            raise EditError(
                f"{network.name}: this change belongs to the network with SHA-256 {self.sha256[:16]}..., "
                f"got {network.sha256[:16]}...: apply it to the file that was repaired"
            )
        return (
            replace_parameters(network, {c.tensor: c.new for c in self.changes}) if self.changes else network
        )

    def describe(self, entries: int = 10) -> str:
        """The largest changes, one a line, largest first."""
        rows = [
            (abs(float(change.difference[index])), change, index)
            for change in self.changes
            for index in map(tuple, np.argwhere(change.difference != 0))
        ]
        rows.sort(key=lambda row: -row[0])
        lines = [
            f"{change.neuron(index)}: {change.old[index]:.6g} -> {change.new[index]:.6g} "
            f"({change.difference[index]:+.3g})"
            for _, change, index in rows[:entries]
        ]
        if len(rows) > entries:
            lines.append(f"and {len(rows) - entries} more")
        return "\n".join(lines) if lines else "no change"

    def to_json(self) -> str:
        """The changed entries as JSON; every float survives exactly."""
        tensors = [_tensor_json(change) for change in self.changes]
        content = {"format": FORMAT, "version": VERSION, "network_sha256": self.sha256, "tensors": tensors}
        return json.dumps(content, indent=1)

    def save(self, path: str | Path) -> None:
        """Write the change as JSON or NPZ, by the name's ending; see `edit_file.save_edit`.

        Raises:
            EditError: the name ends neither in .json nor in .npz.
            OSError: the path is a folder or a device, or cannot be written to.
        """
        from repairsolver.repairing.edit_file import save_edit

        save_edit(self, path)

    @staticmethod
    def from_json(text: str, network: Network) -> Delta:
        """Read a change back, for the network that it belongs to.

        Raises:
            EditError: the text is no change, or not one of this network.
        """
        from repairsolver.repairing.stored import stored_tensors

        try:
            content = loads(text)
            if content["format"] != FORMAT or content["version"] != VERSION:
                raise EditError(
                    f"not a change that this version reads: format {content['format']!r}, version "
                    f"{content['version']!r}; expected {FORMAT!r}, version {VERSION}"
                )
            tensors = stored_tensors(network)
            missing = [t["name"] for t in content["tensors"] if t["name"] not in tensors]
            if missing:
                raise EditError(
                    f"{network.name} has no tensors {', '.join(missing)}: this change belongs to another "
                    "network, give that one"
                )
            changes = tuple(_tensor_change(item, tensors[item["name"]]) for item in content["tensors"])
            return Delta(changes, content["network_sha256"])
        except EditError:
            raise
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
            raise EditError(
                f"not a change in the format {FORMAT!r}: {reason}; give a file that a repair has written"
            ) from error


def _tensor_json(change: TensorChange) -> dict[str, Any]:
    entries = [
        {
            "index": [int(i) for i in index],
            "entry": change.neuron(tuple(index)),
            "old": float(change.old[tuple(index)]),
            "new": float(change.new[tuple(index)]),
        }
        for index in np.argwhere(change.difference != 0)
    ]
    return {
        "name": change.tensor,
        "layer": change.layer,
        "role": change.role,
        "transposed": change.transposed,
        "shape": list(change.old.shape),
        "element": str(change.old.dtype),
        "entries": entries,
    }


def _tensor_change(item: dict[str, Any], stored: NDArray[np.floating]) -> TensorChange:
    if list(stored.shape) != item["shape"]:
        raise EditError(f"tensor {item['name']} has shape {list(stored.shape)}, expected {item['shape']}")
    new = stored.copy()
    for entry in item["entries"]:
        index = tuple(entry["index"])
        if len(index) != stored.ndim or min(index, default=0) < 0:
            raise EditError(f"tensor {item['name']} has shape {item['shape']}, but an entry {list(index)}")
        if float(stored[index]) != entry["old"]:
            raise EditError(
                f"tensor {item['name']}{list(index)} is {float(stored[index])!r}, expected {entry['old']!r}: "
                "this change belongs to another network, give that one"
            )
        new[index] = entry["new"]
    return TensorChange(item["name"], item["layer"], item["role"], stored, new, item["transposed"])


@dataclass(frozen=True, slots=True, eq=False)
class Repair:
    """The answer of a repair.

    Args:
        status: repaired (proved), repaired-pac (by samples), infeasible, unknown or timeout.
        network: the repaired network, or the best candidate (then `verdict` is not `holds`), or None.
        edit: the change that makes it; None without a network, or where nodes of the graph were added.
        norm: what was minimised.
        cost: the norm of the change as stored, with factors of entries and prices of lost points, see `size`.
        lower_bound: no correct repair of the same numbers has a smaller cost (prices of lost points are part
            of it, so that it may exceed `size`); 0 if none was proved.
        gap: (cost - lower_bound) / cost; 0 for no change.
        fidelity: agreement with the original over the property's boxes, where it was measured.
        verdict: the verification of `network`.
        rounds: how many candidates were made.
        seconds: what all of it took, by the clock.
        seed: of every random choice.
        solver: what solved the programs; empty where the method solves none.
        message: one sentence for people.
        verdicts: with certificates asked for, of every property given, in order.
        counterexamples: of the original network, replayed by onnxruntime, the worst first; not all there are.
        minimal: whether cost and lower bound are as close as was asked for.
        statement: what samples that no repair has seen show about `network`, where that was asked for.
        empirical: the method repairs from examples, so that its network is handed over proved or not.
        core: for `infeasible`, demands that contradict each other, none of them superfluous.
        remarks: what the caller should know besides, such as points outside of every region.
        dropped: demands of points that were left out, as they contradict others; see `contradictory`.
        given_up: the regions that nothing was asked of, from 0 (messages count from 1); see `give_up`.
        unbroken: of a repair, the cost of a cheaper change of which no counterexample is known, where one was
            looked for: nobody has proved it, so it is not the answer.
        decision: "max", "min" or "both": which output was taken for the decision.
    """

    status: RepairStatus
    network: Network | None
    edit: Delta | Gates | None
    norm: str
    cost: float | None
    lower_bound: float
    gap: float | None
    fidelity: Fidelity | None
    verdict: Verdict | None
    rounds: int
    seconds: float
    seed: int
    solver: str
    message: str
    verdicts: tuple[Verdict, ...] = ()
    core: Core | None = None
    counterexamples: tuple[Counterexample, ...] = ()
    minimal: bool = False
    statement: Statement | None = None
    empirical: bool = False
    remarks: tuple[str, ...] = ()
    dropped: tuple[Demand, ...] = ()
    given_up: tuple[int, ...] = ()
    unbroken: float | None = None
    decision: str = ""

    @property
    def proved(self) -> bool:
        """Whether `network` is proved to have the property."""
        return self.verdict is not None and self.verdict.status is VerifyStatus.HOLDS

    @property
    def certificate(self) -> Certificate | None:
        """The proof about the repaired network, where it was asked for and can be checked."""
        return None if self.verdict is None else self.verdict.certificate

    @property
    def size(self) -> float | None:
        """The norm of the change alone: the cost adds prices of lost points, and factors of entries.

        None without a change of weights, and where no L0, L1, L2 or Linf norm was minimised.
        """
        return self.edit.norm(self.norm) if isinstance(self.edit, Delta) and self.norm in NORMS else None

    @property
    def _measured(self) -> str:
        """What the cost is: the norm, or more than that."""
        whole = self.size is None or math.isclose(self.size, self.cost or 0.0, rel_tol=1e-6)
        return "norm" if whole else "cost"

    def save(self, path: str | Path, *, certificate: str | Path | None = None) -> None:
        """Write the network as ONNX, and its certificate where a path is given.

        Raises:
            EditError: there is no network.
            CertificateError: there is no certificate.
        """
        if self.network is None:
            raise EditError(f"there is no network to save: {self.status} ({self.message})")
        if certificate is not None:
            if self.certificate is None:
                raise CertificateError(
                    "there is no certificate: ask for it with repair(..., certificate=True)"
                )
            write_certificate(self.certificate, certificate)
        save_network(self.network, path)

    def __repr__(self) -> str:
        guarantee = "proved for every input of the property" if self.proved else "NOT proved"
        if not self.proved and self.statement is not None:
            guarantee = f"by samples {self.statement.where}: {self.statement.claim}"
        if self.network is None or self.edit is None:
            return f"<Repair {self.status}: {self.message}>"
        if self.norm == "gates":
            spent = f"{counted(self.rounds, 'round')}, {self.seconds:.1f} s"
            return f"<Repair {self.status}: {guarantee}; {self.edit!r}; {spent}>"
        least = f"at least {self.lower_bound:.6g} for any repair of this layer; " if self.lower_bound else ""
        return (
            f"<Repair {self.status}: {guarantee}; {counted(self.edit.count, 'entry', 'entries')} changed, "
            f"{self.norm} {self._measured} {self.cost:.6g}; {least}{counted(self.rounds, 'round')}, "
            f"{self.seconds:.1f} s>"
        )

    @property
    def guarantee(self) -> str:
        """What the answer means, in one or two sentences."""
        if self.proved and self.verdict is not None:
            return f"the repaired network has the property, {self.verdict.guarantee}"
        if self.statement is not None:
            return f"not proved; by samples: {self.statement.claim}."
        nothing = "" if self.network is None else "the network is a candidate, NOT a proved repair; "
        return f"not proved: {nothing}{self.message}"

    def _repr_html_(self) -> str:
        kind = {RepairStatus.REPAIRED: "good", RepairStatus.INFEASIBLE: "bad"}.get(self.status, "open")
        kept, bound = self.fidelity, self.lower_bound
        rows: dict[str, object] = {
            "gates" if self.norm == "gates" else f"{self.norm} {self._measured}": self.cost,
            "no repair of this layer has less than": bound if bound > 0 else None,
            "entries changed": None if self.edit is None else self.edit.count,
        }
        names = ("agreement", "region_agreement", "drawdown", "efficacy", "generalisation")
        for name in names if kept is not None else ():
            share = getattr(kept, name)
            if share is not None:
                low, high = share.interval
                rows[name.replace("_", " ")] = f"{share.value:.3%} (95 %: {low:.3%} to {high:.3%})"
        rows |= {
            "certificate": None if self.certificate is None else "kept",
            "rounds": self.rounds,
            "seconds": round(self.seconds, 2),
            "remarks": " ".join(self.remarks) or None,
        }
        return result_html(kind, str(self.status), self.guarantee, rows)
