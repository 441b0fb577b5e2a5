r"""What is least: a weighted norm of the change of the stored parameters, each within its reach.

$$ \min \lVert w \odot \delta \rVert \quad\text{s.t.}\quad |\delta_u| \le R_u. $$

A relative norm has \(w_u = 1 / \max(|\theta_u|, \phi)\) with the stored value \(\theta_u\) and the floor
\(\phi\), a hundredth of the mean size of the entries of the same tensor (of the whole layer, if all
entries of the tensor are zero), so that the change of a zero does not count infinitely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise.norm import NORMS
from repairsolver.errors import EditError, SolverCapabilityError
from repairsolver.property import PointSet
from repairsolver.repairing.delta.layer import Layer
from repairsolver.repairing.delta.unknowns import Parameter
from repairsolver.results import Array
from repairsolver.solvers import Feature, get_solver
from repairsolver.solvers.registry import capable_solvers

PROJECTION = "projection"
"""The solver for sums of squares and nothing else."""

FLOOR = 0.01
"""Of the mean size of a tensor's entries: smaller entries count as that large in a relative norm."""

RELATIVE = "relative-"
AIM_NORMS = ("l0", "l1", "l2", "linf", "relative-l1", "relative-l2", "relative-linf")
"""The norms by name; a relative L0 would be the L0 itself."""

MINIMISE = ("weights", "behaviour")

PerEntry = float | ArrayLike | Mapping[str, ArrayLike]
"""A number for all entries, one for each of them [unknowns], or arrays by tensor name."""


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """What the caller wants to be least, before it is known how many unknowns there are.

    Args:
        norm: one of `AIM_NORMS`.
        weights: of the entries in the norm, positive.
        max_change: the largest change of an entry, in its own units; a text such as "10%" means
            this share of the entry's size as stored. None: any.
        keep_penalty: what it costs, in units of the norm, to lose a point to keep by one unit of
            output; infinite: none may be lost. With an L2 norm squares are added up.
        minimise: "weights", or "behaviour" instead of the norm of the change.
        margin: what points to repair, and counterexamples, must exceed the border by, in units of the
            outputs; None: a small one for points, for regions the smallest that is proved.
        give_up: how many regions may be given up for the points to keep; see `giving_up`.
        prefer: points that should get their label, with the margin, where that is worth its price.
        prefer_penalty: of them, like `keep_penalty`.
    """

    norm: str = "l1"
    weights: PerEntry | None = None
    max_change: PerEntry | str | None = None
    keep_penalty: float = np.inf
    minimise: str = "weights"
    margin: float | None = None
    give_up: int = 0
    prefer: PointSet | None = None
    prefer_penalty: float = 0.1

    def __post_init__(self) -> None:
        if self.minimise not in MINIMISE:
            raise EditError(f"unknown minimise {self.minimise!r}: choose one of {', '.join(MINIMISE)}")
        if self.minimise == "behaviour" and (self.norm not in ("l1", "l2") or self.weights is not None):
            raise EditError(
                "minimise='behaviour' measures outputs: leave norm at 'l1', or take 'l2', and give no "
                "weights (bound single entries by max_change)"
            )
        if self.margin is not None and not 0 < self.margin < np.inf:
            raise EditError(f"the margin must be positive and finite, got {self.margin}")
        if not self.keep_penalty > 0:
            raise EditError(f"keep_soft must be positive, got {self.keep_penalty}")
        if not 0 < self.prefer_penalty < np.inf:
            raise EditError(f"prefer_soft must be positive and finite, got {self.prefer_penalty}")
        if self.norm not in AIM_NORMS:
            raise EditError(f"unknown norm {self.norm!r}: choose one of {', '.join(AIM_NORMS)}")


class Measure(Protocol):
    """The change of behaviour as a function of the change; see `squared_moves`."""

    @property
    def margin(self) -> float:
        """What points to repair should exceed a border by, unless the caller says otherwise."""
        ...

    def value(self, delta: Array) -> float:
        """The root of the mean square."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A weighted norm over the unknowns of one layer.

    Args:
        norm: a name of `layerwise.norm.NORMS`.
        weights: w, a number or [unknowns].
        reach: R, a number or [unknowns]; infinite where any change is allowed.
        name: what people call it, such as "relative-l1".
        rounding: by how much writing an unknown into the file may move it, a number or [unknowns].
        moves: A, [k, unknowns], where the L1 norm of A delta is to be least instead; see `behaviour`.
        squares: what is to be least instead, in squares.
    """

    norm: str = "l1"
    weights: Array | float = 1.0
    reach: Array | float = np.inf
    name: str = "l1"
    rounding: Array | float = 0.0
    moves: sparse.csr_array | None = None
    squares: Measure | None = None

    @property
    def roundable(self) -> Array:
        """The reach less what rounding may add, [unknowns]: what is written stays within the reach."""
        return np.asarray(np.maximum(np.asarray(self.reach) - self.rounding, 0.0))

    def value(self, delta: Array, ties: Array | float = 1.0) -> float:
        """The norm of a change [unknowns], with further weights on top."""
        if self.squares is not None:
            return self.squares.value(delta)
        if self.moves is not None:
            return float(np.abs(self.moves @ delta).sum())
        return NORMS[self.norm].value(delta, self.weights * ties)

    @property
    def degree(self) -> int:
        """Of homogeneity: the L0 norm does not scale with the change."""
        return 0 if self.norm == "l0" else 1

    @property
    def bounds_entries(self) -> bool:
        """Whether w |delta_u| is at most the objective, for every unknown."""
        return self.norm != "l0" and self.moves is None and self.squares is None


def objective_for(layer: Layer, aim: Aim) -> Objective:
    """The objective over a layer's unknowns.

    The L0 norm needs a reach for its binaries, and the change of behaviour one against overfitting;
    without `max_change` it is the largest stored size of the layer (1 if all are zero).

    Raises:
        EditError: weights or bounds of another shape, not positive (weights), negative or NaN (bounds).
    """
    norm = aim.norm.removeprefix(RELATIVE)
    weights = np.ones(layer.size)
    if aim.weights is not None:
        weights = _per_entry(layer, aim.weights, "weights")
        if not (np.isfinite(weights) & (weights > 0)).all():
            bad = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))[:10]
            raise EditError(f"weights of the norm must be positive and finite, not so at {bad.tolist()}")
    if aim.norm.startswith(RELATIVE):
        weights = weights / _sizes(layer)
    reach = _reach(layer, aim.max_change)
    if aim.max_change is None and (norm == "l0" or (aim.minimise == "behaviour" and norm == "l1")):
        reach = np.full(layer.size, float(np.abs(_stored(layer)).max(initial=0.0)) or 1.0)
    if norm == "l0" and not np.isfinite(reach).all():
        raise EditError("norm 'l0' needs a finite max_change for every entry: its binaries rest on it")
    eps = float(np.finfo(layer.parameters[0].stored.dtype).eps)
    rounding = eps * (np.abs(_stored(layer)) + np.where(np.isfinite(reach), reach, 0.0))
    return Objective(norm, weights, reach, aim.norm, rounding)


def check_solver(solver: str, objective: Objective) -> None:
    """Refuse a solver that cannot minimise the norm, before any work.

    Raises:
        SolverUnavailableError, SolverCapabilityError: naming the solvers that can.
    """
    norm, chosen = NORMS[objective.norm], get_solver(solver)
    needs = {Feature.INTEGERS: norm.integers, Feature.QUADRATIC: norm.quadratic}
    needed = {feature for feature, wanted in needs.items() if wanted}
    only_squares = solver == PROJECTION and not norm.quadratic
    if only_squares or not chosen.features >= needed:
        able = [name for name in capable_solvers(needed) if norm.quadratic or name != PROJECTION]
        raise SolverCapabilityError(
            f"solver {solver!r} cannot minimise the norm {objective.name!r}; solvers that can: "
            + ", ".join(able)
        )


def _reach(layer: Layer, given: PerEntry | str | None) -> Array:
    if given is None:
        return np.full(layer.size, np.inf)
    if isinstance(given, str):
        reach = _share(given) * np.abs(_stored(layer))
    else:
        reach = _per_entry(layer, given, "max_change")
    bad = np.flatnonzero(~(reach >= 0))
    if bad.size:
        raise EditError(
            f"max_change must be at least 0 for every entry, got {reach[bad[0]]} at entry {bad[0]}"
        )
    return reach


def _share(text: str) -> float:
    """A share such as "10%" as a number."""
    try:
        if not text.endswith("%"):
            raise ValueError
        return float(text[:-1]) / 100.0
    except ValueError:
        raise EditError(
            f"max_change {text!r} is neither a number nor a share of every entry's size such as '10%'"
        ) from None


def _per_entry(layer: Layer, given: PerEntry, what: str) -> Array:
    """Numbers for all unknowns, [unknowns]."""
    if isinstance(given, Mapping):
        parameters = layer.parameters
        unknown = sorted(set(given) - {p.source.tensor for p in parameters})
        missing = [p.source.tensor for p in parameters if p.source.tensor not in given]
        if unknown or missing:
            raise EditError(
                f"{what} by tensor: layer {layer.name!r} has {_tensors(layer)}; unknown: {unknown}, "
                f"missing: {missing}"
            )
        return layer.gathered({p.source.tensor: _shaped(p, given[p.source.tensor], what) for p in parameters})
    array = np.asarray(given, dtype=np.float64)
    if array.ndim and array.shape != (layer.size,):
        raise EditError(
            f"{what} has shape {list(array.shape)}, expected one number, {layer.size} numbers, or arrays by "
            f"tensor name: {_tensors(layer)}"
        )
    return np.array(np.broadcast_to(array, (layer.size,)))


def _shaped(parameter: Parameter, given: ArrayLike, what: str) -> Array:
    array = np.asarray(given, dtype=np.float64)
    if array.ndim and array.shape != parameter.stored.shape:
        raise EditError(
            f"{what}[{parameter.source.tensor!r}] has shape {list(array.shape)}, expected one number or "
            f"{list(parameter.stored.shape)}"
        )
    return np.array(np.broadcast_to(array, parameter.stored.shape))


def _tensors(layer: Layer) -> str:
    return ", ".join(f"{p.source.tensor} {list(p.stored.shape)}" for p in layer.parameters)


def _stored(layer: Layer) -> NDArray[np.float64]:
    """The stored values, [unknowns]."""
    return layer.gathered({p.source.tensor: p.stored for p in layer.parameters})


def _sizes(layer: Layer) -> Array:
    """max(|theta|, floor), [unknowns]."""
    mean = float(np.abs(_stored(layer)).mean()) or 1.0
    sizes = {}
    for parameter in layer.parameters:
        size = np.abs(parameter.stored.astype(np.float64))
        sizes[parameter.source.tensor] = np.maximum(size, FLOOR * (float(size.mean()) or mean))
    return layer.gathered(sizes)
