"""What a repair by behaviour imitation may be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from repairsolver.errors import EditError
from repairsolver.property import PointSet
from repairsolver.results import Array

VARIANTS = ("retrain", "tune")
RELABELLINGS = ("output", "feature", "average")
OPTIMISERS = ("exact", "gradient", "swarm")
MEASURES = ("difference", "normalised", "gradient", "bounds")


@dataclass(frozen=True, slots=True)
class Retraining:
    """How weights are retrained.

    Args:
        relabel: which positive behaviour a negative is to imitate: the nearest in "output" space (as
            published), the nearest in "feature" space (the values before the last layer), or the "average"
            of the nearest ones that satisfy the property.
        neighbours: how many are averaged.
        wake: whether neurons that are never active are given something to do before training starts.
        steps: most gradient steps.
    """

    relabel: str = "output"
    neighbours: int = 50
    wake: bool = True
    steps: int = 600

    def __post_init__(self) -> None:
        _known("relabel", self.relabel, RELABELLINGS)
        _positive("neighbours", self.neighbours)
        _positive("steps", self.steps, least=0)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the neurons that are responsible are tuned.

    Args:
        neurons: how many, the most responsible first.
        measure: of responsibility, see `responsibility`.
        optimiser: "exact": the least change of their weights and biases at the points, by linear programs;
            "gradient": one factor for each neuron by gradient descent; "swarm": these factors by particle
            swarm optimisation, as published.
        alpha: of "swarm": how much keeping positives counts against repairing negatives, from 0 to 1.
    """

    neurons: int = 10
    measure: str = "difference"
    optimiser: str = "exact"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        _known("measure", self.measure, MEASURES)
        _known("optimiser", self.optimiser, OPTIMISERS)
        _positive("neurons", self.neurons)
        if not 0 <= self.alpha <= 1:
            raise EditError(f"alpha must lie in [0, 1], got {self.alpha}")
        if self.alpha != 0.5 and self.optimiser != "swarm":
            raise EditError(f"alpha is of optimiser 'swarm', got {self.optimiser!r}: leave alpha out")


@dataclass(frozen=True, slots=True, eq=False)
class Imitation:
    """A repair by behaviour imitation.

    Args:
        variant: "retrain" or "tune".
        domain: where behaviour is to stay as it is although no property speaks of it: points, or the corners
            (lower, upper) of a box that is sampled; None: boxes around the property's regions, up to 32
            times as wide.
        samples: how many points are drawn of the regions, and of the domain where no points of it are given.
        more: of "retrain": whether samples of the regions that violate the property are repaired beside
            points that are given without labels, so that the repair holds beyond them.
        seconds: most seconds for one repair from examples (of the processor, where nothing else limits it).
        fidelity: the share of decisions, on positives and domain, at which training may end.
        prove: go on, with counterexamples and then with method "delta", until the property is proved.
        retraining: how "retrain" trains.
        tuning: how "tune" tunes.
    """

    variant: str = "retrain"
    domain: PointSet | tuple[Array, Array] | None = None
    samples: int = 10_000
    more: bool = True
    seconds: float = 10.0
    fidelity: float = 0.9992
    prove: bool = False
    retraining: Retraining = field(default_factory=Retraining)
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        _known("variant", self.variant, VARIANTS)
        _positive("samples", self.samples)
        if not self.seconds > 0:
            raise EditError(f"seconds must be positive, got {self.seconds}")
        if not 0 < self.fidelity <= 1:
            raise EditError(f"fidelity must lie in (0, 1], got {self.fidelity}")
        if self.variant == "retrain" and self.tuning != Tuning():
            raise EditError(
                "tuning is of variant 'tune', got variant 'retrain': leave it out, or choose 'tune'"
            )
        if self.variant == "tune" and self.retraining != Retraining() and self.tuning.optimiser != "gradient":
            raise EditError(
                "retraining is of variant 'retrain' and of optimiser 'gradient', got variant 'tune' with "
                f"optimiser {self.tuning.optimiser!r}: leave it out"
            )


def _known(what: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise EditError(f"unknown {what} {got!r}: choose one of {', '.join(known)}")


def _positive(what: str, got: int, least: int = 1) -> None:
    if got < least:
        raise EditError(f"{what} must be at least {least}, got {got}")
