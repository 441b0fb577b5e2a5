"""What a kind of job is: its files, its options, and the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from repairsolver.report.history import History

if TYPE_CHECKING:
    from repairsolver.report.subject import Subject

NETWORKS = (".onnx", ".onnx.gz", ".nnet")
PROPERTIES = (".vnnlib", ".vnnlib.gz")
POINTS = (".npz", ".csv")
LONGEST = 7 * 24 * 3600.0


class Options(BaseModel):
    """Options that every kind has; the page makes its form from the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(60.0, gt=0, le=LONGEST, title="Time limit", description="Seconds of the work.")


class Seeded(Options):
    """Options of the kinds that draw random numbers."""

    seed: int = Field(
        0, ge=0, le=2**53, title="Seed", description="Same seed, same answer, time limits aside."
    )


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for uploaded files.

    Args:
        name: of the form's field.
        title: for people.
        endings: what file names may end in; a file is stored under the slot's name and its ending.
        required: whether it must be there.
        most: how many files it takes.
    """

    name: str
    title: str
    endings: tuple[str, ...]
    required: bool = True
    most: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One job, as its process sees it.

    Args:
        files: where the uploaded files are, by slot.
        names: what they were called, by slot; for people only.
        options: of the kind's class.
        results: the folder for what the work makes.
        tree: a file that outlives the process, for searches that go on where they stopped.
        history: wants the progress events.
    """

    files: Mapping[str, tuple[Path, ...]]
    names: Mapping[str, tuple[str, ...]]
    options: Any
    results: Path
    tree: Path
    history: History

    def file(self, slot: str) -> Path | None:
        """The file of a slot, if there is one."""
        return self.files[slot][0] if self.files.get(slot) else None

    def need(self, slot: str) -> Path:
        """The file of a slot that must have one."""
        return self.files[slot][0]

    def title(self, slot: str) -> str:
        """What the file of a slot is called in messages."""
        return self.names[slot][0]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a job's work ends with.

    Args:
        subject: the result, with what its report needs.
        interrupted: the result is what was reached when the work was stopped.
    """

    subject: Subject
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Args:
        name: in addresses.
        title, about: for people.
        options: its options, with their defaults and limits.
        run: does the work; writes further files into `task.results`.
        example: options for the documentation of the interface.
    """

    name: str
    title: str
    about: str
    slots: tuple[Slot, ...]
    options: type[Options]
    run: Callable[[Task], Made]
    example: Mapping[str, Any] = field(default_factory=dict)
