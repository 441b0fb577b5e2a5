"""Verdicts, statuses, limits and progress events: what every engine returns and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from repairsolver.display import result_html
from repairsolver.signatures import refuse_misfit

Array = NDArray[np.float64]
# What a proof speaks of: the exact network, or every float32 execution of its ONNX file.
Arithmetic = Literal["real", "float32"]
COVERED: Mapping[str, str] = {
    "real": "in real arithmetic on the weights as stored. Rounding inside a runtime is not covered.",
    "float32": "for every float32 execution of the ONNX file's nodes: sums in any order, fused or not, "
    "sigmoid and tanh within 2^-20. Lower precision and other algorithms (TF32, Winograd) are not covered.",
}


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: `1 box`, `2 boxes`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


class VerifyStatus(StrEnum):
    """The four answers of a verification."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"

    @property
    def word(self) -> str:
        """The VNN-COMP word; the query describes the violation, so `holds` is `unsat`."""
        return {"holds": "unsat", "violated": "sat"}.get(self.value, self.value)


class RepairStatus(StrEnum):
    """The answers of a repair; `repaired-pac`: not proved, but shown by samples (see `Repair.statement`)."""

    REPAIRED = "repaired"
    PAC = "repaired-pac"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may spend.

    Args:
        seconds: wall-clock seconds of the call, or None for no limit.
        rounds: candidates of a repair.
        memory_gb: gigabytes that batched bound propagation may hold at once.

    Raises:
        TypeError: an argument is no number.
        ValueError: one is not positive.
    """

    seconds: float | None = None
    rounds: int = 200
    memory_gb: float = 4.0

    def __post_init__(self) -> None:
        for name, annotation in (("seconds", "float | None"), ("rounds", "int"), ("memory_gb", "float")):
            refuse_misfit("Limits", name, annotation, getattr(self, name))
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"Limits.seconds must be positive or None, got {self.seconds}")
        if self.rounds < 1:
            raise ValueError(f"Limits.rounds must be at least 1, got {self.rounds}")
        if not self.memory_gb > 0:
            raise ValueError(f"Limits.memory_gb must be positive, got {self.memory_gb}")


@dataclass(frozen=True, slots=True)
class Event:
    """One progress report.

    Args:
        stage: what is done: `attack`, `split`, `solve` ...
        message: a sentence.
        seconds: since the call began.
        numbers: what the sentence tells, by name.
    """

    stage: str
    message: str
    seconds: float
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"[{self.seconds:8.2f} s] {self.stage}: {self.message}"


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """An input that violates the property, replayed by onnxruntime from the network's own file.

    Args:
        input: [n] values of the network's element type, held as float64.
        output: [m] what onnxruntime returned for it.
        violation: by how much the weakest violated half-space is violated, at least 0:
            max over conjunctions of min over rows of (d - C y - D x).
    """

    input: Array
    output: Array
    violation: float


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A proof that no input violates a property, which the checker of `repairsolver.certificate` replays.

    The proof is a forest of boxes, one tree for each query (a region with one of its conjunctions, in the
    order of the property). Its nodes stand level by level: first the roots, then the two children of every
    split node of the level above, in order; the children halve their parent's box at axis and value.

    Args:
        network, property: SHA-256 of the network's file and of the property's text.
        axis: the input that a node's box is split at, -1 for a leaf: int16 [nodes].
        value: where it is split, for the split nodes in order: float64 [splits].
        weights: with what weights the rows of the conjunction are combined: uint8 [nodes, rows].
        arithmetic: what is claimed; `real`: the exact network on the weights as stored; `float32`: every
            float32 execution of the ONNX file.
        names: how network and property are called, for people.
    """

    network: str
    property: str
    axis: NDArray[np.int16]
    value: Array
    weights: NDArray[np.uint8]
    arithmetic: str = "real"
    names: tuple[str, str] = ("network", "property")

    def __repr__(self) -> str:
        network, prop = self.names
        return f"<Certificate: {network} has {prop}; {counted(len(self.axis), 'box', 'boxes')}>"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a checker found: of a proof that was replayed, or of samples that were drawn anew.

    Args:
        valid: the certificate proves what it claims.
        reason: what is proved, or why nothing is.
        boxes: number of boxes whose bounds were computed.
        seconds: what the check took, by the clock.
        arithmetic: what the claim is about.
    """

    valid: bool
    reason: str
    boxes: int = 0
    seconds: float = 0.0
    arithmetic: str = "real"

    def __bool__(self) -> bool:
        raise TypeError("a CheckResult has no truth value: use result.valid")


@dataclass(frozen=True, slots=True, eq=False)
class OpenBoxes:
    """The boxes of inputs on which nothing is decided yet; everywhere else the property is proved.

    Args:
        lower, upper: corners, [k, n].
        query: of which pair (region, conjunction) of the property, counted in its order, [k].
        bound: proved lower bound of max over rows of C y + D x - d on each box, at most 0, [k].
    """

    lower: Array
    upper: Array
    query: NDArray[np.int64]
    bound: Array

    def __len__(self) -> int:
        return len(self.bound)

    def __repr__(self) -> str:
        return f"<OpenBoxes: {len(self)}, least bound {self.bound.min(initial=np.inf):.4g}>"


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The answer of a verification, with what it rests on.

    Args:
        status: holds, violated, unknown or timeout.
        counterexample: for `violated`, the worst one found.
        counterexamples: all that were found and replayed, worst first.
        best_bound: the largest proved lower bound b such that no input violates by more than -b;
            positive means proved. None where nothing was bounded.
        proved_volume: share of the input volume on which the property is proved, 0 to 1. Where phases
            are split, every split halves its part.
        methods: what was tried, in order, e.g. ("attack", "input splitting", "milp").
        boxes: number of sub-boxes whose bounds were computed.
        seconds: wall-clock time spent.
        seed: the seed that reproduces the run.
        arithmetic: of the proof.
        certificate: for `holds`, the proof, where it was asked for and rests on linear bounds alone.
        open_boxes: for `unknown` and `timeout`, where the property is not proved; None where nothing was
            bounded.
        interrupted: the run was stopped from outside (Ctrl-C).
        notes: sentences about what the answer rests on beyond that, or what became of a tree.
        proved_regions: where regions were verified one by one, those proved, from 0; else None.
    """

    status: VerifyStatus
    counterexample: Counterexample | None = None
    counterexamples: tuple[Counterexample, ...] = ()
    best_bound: float | None = None
    proved_volume: float = 0.0
    methods: tuple[str, ...] = ()
    boxes: int = 0
    seconds: float = 0.0
    seed: int = 0
    arithmetic: str = "real"
    certificate: Certificate | None = None
    open_boxes: OpenBoxes | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    proved_regions: tuple[int, ...] | None = None

    def __bool__(self) -> bool:
        raise TypeError("a Verdict has no truth value: compare verdict.status with VerifyStatus.HOLDS")

    def __repr__(self) -> str:
        tried = ", ".join(self.methods) or "nothing"
        spent = f"tried {tried}; {counted(self.boxes, 'box', 'boxes')}, {self.seconds:.1f} s"
        if self.counterexample is not None:
            return (
                f"<Verdict {self.status}: by {self.counterexample.violation:.4g} in the weakest constraint; "
                f"{counted(len(self.counterexamples), 'counterexample')}; {spent}>"
            )
        if self.status is VerifyStatus.HOLDS:
            return f"<Verdict {self.status}: proved for every input of the property; {spent}>"
        return f"<Verdict {self.status}: proved on {self.proved_volume:.2%} of the input volume; {spent}>"

    @property
    def guarantee(self) -> str:
        """What the answer means, in one or two sentences."""
        match self.status:
            case VerifyStatus.HOLDS:
                return f"proved for every input of the property's regions, {COVERED[self.arithmetic]}"
            case VerifyStatus.VIOLATED:
                return "an input of the property's regions violates it; onnxruntime replayed it on the file."
            case _:
                return (
                    f"neither proved nor refuted; proved on {self.proved_volume:.2%} of the input volume, "
                    "and nothing is said of the rest."
                )

    def _repr_html_(self) -> str:
        kind = {VerifyStatus.HOLDS: "good", VerifyStatus.VIOLATED: "bad"}.get(self.status, "open")
        found = self.counterexample
        rows = {
            "input": None if found is None else found.input.tolist(),
            "output": None if found is None else found.output.tolist(),
            "violated by": None if found is None else found.violation,
            "counterexamples": len(self.counterexamples) or None,
            "best proved bound": None if found is not None else self.best_bound,
            "open boxes": None if self.open_boxes is None else len(self.open_boxes),
            "methods": " + ".join(self.methods) or None,
            "boxes": self.boxes or None,
            "certificate": None if self.certificate is None else "kept",
            "seconds": round(self.seconds, 2),
            "notes": " ".join(self.notes) or None,
        }
        return result_html(kind, str(self.status), self.guarantee, rows)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a call; `result` is what it had reached, of the kind that the call returns.

    Like every KeyboardInterrupt it ends a loop or a notebook cell unless it is caught.
    """

    def __init__(self, result: object) -> None:
        super().__init__("interrupted")
        self.result = result
