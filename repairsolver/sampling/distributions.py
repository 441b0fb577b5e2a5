"""Distributions of inputs: all of them stay in the property's regions, or fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from repairsolver.errors import SamplingError
from repairsolver.property import PointSet
from repairsolver.results import Array, counted
from repairsolver.sampling.domain import Domain
from repairsolver.signatures import refuse_misfit

NAMES = ("uniform", "truncated-normal", "points")
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Points [b, n] of the network's element type, held as float64, and the groups they belong to.

    Args:
        members: which points count as wrong by which of the domain's groups, [groups, b].
    """

    points: Array
    members: NDArray[np.bool_]

    def __getitem__(self, index: slice) -> Draw:
        return Draw(self.points[index], self.members[:, index])

    def __len__(self) -> int:
        return len(self.points)


class Distribution(Protocol):
    """A distribution over the domain of a property."""

    def facts(self, domain: Domain) -> Facts:
        """What reproduces it, as JSON; `name` and `text`, for people, are among it."""
        ...

    def draw(self, domain: Domain, generator: np.random.Generator, count: int) -> Draw:
        """Independent points.

        Raises:
            SamplingError: a point lies outside the domain.
        """
        ...


class Transformed(Protocol):
    """A distribution that is a function of independent uniform numbers, region by region."""

    def weights_in(self, domain: Domain) -> Array:
        """The probability of each region, [k]."""
        ...

    def transform(self, domain: Domain, uniform: Array, region: NDArray[np.int64]) -> Array:
        """Points [b, n] for uniform numbers [b, n] in (0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on the property's regions, then rounded to the network's element type within the region.

    Args:
        weights: the probability of each region, in any unit; without them in proportion to the volumes.
            Where regions overlap their densities add.
    """

    weights: tuple[float, ...] | None = None

    def facts(self, domain: Domain) -> Facts:
        place = "the property's region" if len(domain) == 1 else _chosen(domain, self.weights)
        return {"name": "uniform", "weights": _listed(self.weights), "text": f"uniform on {place}"}

    def weights_in(self, domain: Domain) -> Array:
        return _weights(domain, self.weights)

    def transform(self, domain: Domain, uniform: Array, region: NDArray[np.int64]) -> Array:
        low, width = _intervals(domain, region)
        return np.asarray(low + uniform * width)

    def draw(self, domain: Domain, generator: np.random.Generator, count: int) -> Draw:
        return _by_region(self, domain, generator, count)


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Independent normal inputs around the middle of a region, given that they lie in it.

    Args:
        scale: the standard deviation of each input, as a share of the width of its interval.
        weights: the probability of each region; see `Uniform`.

    Raises:
        SamplingError: the scale is no positive number.
    """

    scale: float = 0.25
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        refuse_misfit("TruncatedNormal", "scale", "float", self.scale)
        if not (self.scale > 0 and np.isfinite(self.scale)):
            raise SamplingError(f"scale: expected a positive number, got {self.scale}")

    def facts(self, domain: Domain) -> Facts:
        place = "the property's region" if len(domain) == 1 else _chosen(domain, self.weights)
        text = (
            f"normal around the middle of {place}, with {self.scale:g} of each input's width as standard "
            "deviation, truncated to it"
        )
        return {
            "name": "truncated-normal",
            "scale": self.scale,
            "weights": _listed(self.weights),
            "text": text,
        }

    def weights_in(self, domain: Domain) -> Array:
        return _weights(domain, self.weights)

    def transform(self, domain: Domain, uniform: Array, region: NDArray[np.int64]) -> Array:
        low, width = _intervals(domain, region)
        below = ndtr(-0.5 / self.scale)
        standard = ndtri(below + uniform * (1 - 2 * below))
        return np.asarray(low + (0.5 + self.scale * standard) * width)

    def draw(self, domain: Domain, generator: np.random.Generator, count: int) -> Draw:
        return _by_region(self, domain, generator, count)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """One of given points, each equally likely, with uniform noise on every input, kept inside the regions.

    A noisy point is clipped into each region that its point lies in; of several, one is chosen at random.

    Args:
        points: all of them must lie in the property's regions.
        noise: the largest change of an input.

    Raises:
        SamplingError: the noise is no number from 0.
    """

    points: PointSet
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and np.isfinite(self.noise)):
            raise SamplingError(f"noise: expected a number from 0, got {self.noise}")

    def facts(self, domain: Domain) -> Facts:
        digest = hashlib.sha256(np.ascontiguousarray(self.points.inputs).tobytes()).hexdigest()
        noisy = f", each input moved by up to {self.noise:g}" if self.noise else ""
        text = f"{counted(len(self.points), 'point')} of {self.points.name}, each equally likely{noisy}"
        return {"name": "points", "sha256": digest, "noise": self.noise, "text": text}

    def draw(self, domain: Domain, generator: np.random.Generator, count: int) -> Draw:
        given = self.points.inputs
        if given.shape[1] != domain.lower.shape[1]:
            raise SamplingError(
                f"{self.points.name}: its points have {given.shape[1]} numbers, the property has "
                f"{domain.lower.shape[1]} inputs"
            )
        exact = _placed(given, domain, self.points.name)
        index = generator.integers(len(given), size=count)
        chosen = exact.points[index]
        if not self.noise:
            return Draw(chosen, exact.members[:, index])
        moved = chosen + self.noise * (2 * generator.random(chosen.shape) - 1)
        region = _home(chosen, domain, generator)
        return _placed(domain.clipped(moved, region), domain, self.points.name)


@dataclass(frozen=True, slots=True)
class Sampler:
    """A function of the user's: `function(count, seed)` gives that many independent points [count, n].

    It may use numpy, torch or anything else, but only randomness that comes from its seed, a whole number
    below 2^63 that is another one for every call; a torch tensor (on any device) or an array, rounded to the
    network's type.

    Args:
        function: called once for each block of samples.
        name: what statements call it.
    """

    function: Callable[[int, int], ArrayLike]
    name: str = ""

    def facts(self, domain: Domain) -> Facts:
        called = self.name or getattr(self.function, "__name__", "a function")
        return {"name": "sampler", "function": called, "text": f"the user's sampler {called}"}

    def draw(self, domain: Domain, generator: np.random.Generator, count: int) -> Draw:
        name = self.name or getattr(self.function, "__name__", "the sampler")
        made: Any = self.function(count, int(generator.integers(2**63)))
        got = np.asarray(made.detach().cpu() if hasattr(made, "detach") else made)
        inputs = domain.lower.shape[1]
        if got.dtype.kind not in "fiu" or got.shape != (count, inputs):
            raise SamplingError(
                f"{name}: expected real numbers of shape [{count}, {inputs}], got {got.dtype} of shape "
                f"{list(got.shape)}"
            )
        return _placed(got.astype(np.float64), domain, name)


def _by_region(
    made: Uniform | TruncatedNormal, domain: Domain, generator: np.random.Generator, count: int
) -> Draw:
    region = np.zeros(count, dtype=np.int64)
    if len(domain) > 1:
        region = generator.choice(len(domain), size=count, p=made.weights_in(domain))
    uniform = generator.random((count, domain.lower.shape[1]))
    points = domain.clipped(made.transform(domain, uniform, region), region)
    if len(domain.unsafe) == 1:
        return Draw(points, np.ones((1, count), dtype=np.bool_))
    return Draw(points, domain.members(points))


def _intervals(domain: Domain, region: NDArray[np.int64]) -> tuple[Array, Array]:
    """Lower ends and widths of the regions as the property has them, [b, n] or [1, n]."""
    if len(domain) == 1:
        only = domain.regions[0]
        return only.lower[None], (only.upper - only.lower)[None]
    low, high = domain.corners
    return low[region], high[region] - low[region]


def _home(points: Array, domain: Domain, generator: np.random.Generator) -> NDArray[np.int64]:
    """A region of each point, one of those that it lies in."""
    best = np.full(len(points), -1.0)
    home = np.zeros(len(points), dtype=np.int64)
    for number, (low, high) in enumerate(zip(domain.lower, domain.upper, strict=True)):
        inside = ((points >= low) & (points <= high)).all(axis=1)
        lot = np.where(inside, generator.random(len(points)), -1.0)
        home = np.where(lot > best, number, home)
        best = np.maximum(best, lot)
    return home


def _placed(raw: Array, domain: Domain, name: str) -> Draw:
    """Points rounded to the element type, with the groups that they belong to; all must belong to one."""
    with np.errstate(over="ignore"):
        points = raw.astype(domain.element).astype(np.float64)
    members = domain.members(points)
    outside = np.flatnonzero(~members.any(axis=0))
    if outside.size:  # perhaps only by the rounding
        for number, region in enumerate(domain.regions):
            inside = outside[region.contains(raw[outside])]
            points[inside] = np.clip(points[inside], domain.lower[number], domain.upper[number])
        members = domain.members(points)
        outside = np.flatnonzero(~members.any(axis=0))
    if outside.size:
        first = int(outside[0])
        shown = np.array2string(raw[first], precision=9, threshold=20)
        raise SamplingError(
            f"{name}: {outside.size} of {counted(len(points), 'point')} lie outside the property's regions, "
            f"the first of them {name}[{first}]: {shown}{_which(raw[first], domain)}"
        )
    return Draw(points, members)


def _which(point: Array, domain: Domain) -> str:
    """Where a point leaves the only region."""
    if len(domain) > 1:
        return f", in none of {len(domain)} regions"
    wrong = int(np.flatnonzero(~((point >= domain.lower[0]) & (point <= domain.upper[0])))[0])
    ends = f"[{domain.lower[0][wrong]:.9g}, {domain.upper[0][wrong]:.9g}]"
    return f"; its X_{wrong} is {point[wrong]:.9g}, expected {ends}"


def _weights(domain: Domain, weights: tuple[float, ...] | None) -> Array:
    if weights is None:
        return domain.volumes
    given = np.asarray(weights, dtype=np.float64)
    fits = given.shape == (len(domain),) and np.isfinite(given).all() and (given >= 0).all()
    if not fits or not given.sum() > 0:
        raise SamplingError(
            f"weights: expected {counted(len(domain), 'number')} from 0, one for each region, and not all 0; "
            f"got {list(weights)}"
        )
    return np.asarray(given / given.sum())


def _chosen(domain: Domain, weights: tuple[float, ...] | None) -> str:
    by = "volume" if weights is None else "the given weights"
    return f"one of {len(domain)} regions, chosen by {by}"


def _listed(weights: tuple[float, ...] | None) -> list[float] | None:
    return None if weights is None else [float(weight) for weight in weights]


def chosen_distribution(given: Distribution | str | Callable[[int, int], ArrayLike]) -> Distribution:
    """A distribution by name, as it is, or from a function.

    Raises:
        SamplingError: no distribution has this name.
    """
    match given:
        case "uniform":
            return Uniform()
        case "truncated-normal":
            return TruncatedNormal()
        case str():
            raise SamplingError(
                f"distribution {given!r}: choose uniform or truncated-normal, or give Points(...) or a "
                f"function"
            )
    return given if not callable(given) else Sampler(given)
