"""Certificates of small networks, and ways to damage them or to use them for statements that are false."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from random_networks import random_network, random_property, sample
from rational import dot, exact_tensors

from repairsolver.certificate.format import to_bytes
from repairsolver.network import Network, replace_parameters
from repairsolver.property import Conjunction, Property, Region, write_property
from repairsolver.results import Certificate, Limits
from repairsolver.verification.engine import verify_property


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A network, a property, and a certificate that says that no input violates it."""

    network: Network
    prop: Property
    certificate: Certificate

    def renamed(self) -> Statement:
        """The certificate with the hashes of this network and property, as a forger would write them."""
        text = self.prop.text or write_property(self.prop)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return replace(
            self, certificate=replace(self.certificate, network=self.network.sha256, property=digest)
        )


def proved(seed: int, *, smooth: bool = False) -> Statement | None:
    """A random network with a random property, if that can be proved by splitting inputs."""
    network = random_network(seed, smooth=smooth)
    prop = random_property(seed, network)
    verdict = verify_property(network, prop, limits=Limits(seconds=5), record=True)
    return None if verdict.certificate is None else Statement(network, prop, verdict.certificate)


@lru_cache(maxsize=4)
def statements(first: int, last: int) -> tuple[Statement, ...]:
    """The statements of some seeds that could be proved."""
    return tuple(s for seed in range(first, last) if (s := proved(seed)) is not None)


def violated_at(network: Network, prop: Property, point: np.ndarray) -> bool:
    """Does a point violate the property, in exact arithmetic? For piecewise-linear networks."""
    tensors = exact_tensors(network, point)
    x, y = tensors[0], tensors[-1]
    for region in prop.regions:
        if not region.contains(point[None])[0]:
            continue
        for c in region.unsafe:
            rows = zip(c.output, c.input, c.bound, strict=True)
            if all(dot(row, y) + dot(also, x) <= Fraction(float(d)) for row, also, d in rows):
                return True
    return False


def _points(rng: np.random.Generator, prop: Property, count: int) -> Iterator[tuple[Region, np.ndarray]]:
    for region in prop.regions:
        for point in sample(rng, region.lower, region.upper, count):
            yield region, point


def loosened(rng: np.random.Generator, s: Statement) -> Statement:
    """The property made false by a hair: thresholds raised just so far that one point violates it."""
    choices = [(region, point) for region, point in _points(rng, s.prop, 40) if region.unsafe]
    slack = [float(r.violation(p[None], s.network(p[None]))[0]) for r, p in choices]
    region, point = choices[int(np.argmax(slack))]
    tensors = exact_tensors(s.network, point)
    worst = max(region.unsafe, key=lambda c: float(c.violation(point[None], s.network(point[None]))[0]))
    needed = [
        _ceiling(dot(row, tensors[-1]) + dot(also, tensors[0]))
        for row, also in zip(worst.output, worst.input, strict=True)
    ]
    raised = Conjunction(worst.output, worst.input, np.maximum(worst.bound, needed))
    unsafe = tuple(raised if c is worst else c for c in region.unsafe)
    regions = tuple(Region(r.lower, r.upper, unsafe) if r is region else r for r in s.prop.regions)
    prop = replace(s.prop, regions=regions, text="")
    assert violated_at(s.network, prop, point)
    return replace(s, prop=prop).renamed()


def _ceiling(value: Fraction) -> float:
    """The smallest float64 that is at least a rational number."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else float(np.nextafter(nearest, np.inf))


def rewired(rng: np.random.Generator, s: Statement) -> Statement | None:
    """One weight or bias changed so that a sampled point violates the property; None if none was found."""
    layers = s.network.affine_layers
    for scale in (0.25, 1.0, 4.0, 16.0):
        operator = layers[rng.integers(len(layers))].operator
        source = operator.bias_source if rng.random() < 0.5 else operator.weight_source  # type: ignore[union-attr]
        source = source or operator.weight_source  # type: ignore[union-attr]
        array = operator.bias if source is operator.bias_source else operator.weight  # type: ignore[union-attr]
        stored = np.array(array.T if source.transposed else array) / source.factor
        stored.flat[rng.integers(stored.size)] += rng.choice([-1, 1]) * scale
        network = replace_parameters(s.network, {source.tensor: stored})
        candidates = [point for _, point in _points(rng, s.prop, 60)]
        values = s.prop.violation(np.array(candidates), network(np.array(candidates)))
        best = candidates[int(np.argmax(values))]
        if violated_at(network, s.prop, best):
            return replace(s, network=network).renamed()
    return None


def scrambled(rng: np.random.Generator, s: Statement) -> Statement:
    """The tree changed at random, in ways that keep its form: other axes, values, weights, order."""
    c = s.certificate
    axis, value, weights = c.axis.copy(), c.value.copy(), c.weights.copy()
    split, inputs = np.flatnonzero(axis >= 0), s.prop.input_size
    for _ in range(int(rng.integers(1, 4))):
        match rng.integers(5):
            case 0 if len(split):
                axis[rng.choice(split)] = rng.integers(inputs)
            case 1 if len(value):
                value[rng.integers(len(value))] = rng.choice([0.0, 1e300, -1e300, 5e-324, rng.normal()])
            case 2:
                weights[rng.integers(len(weights))] = rng.integers(0, 256, weights.shape[1])
            case 3:
                axis = axis[rng.permutation(len(axis))]
            case _:
                rng.shuffle(value)
    return replace(s, certificate=replace(c, axis=axis, value=value, weights=weights))


def broken(rng: np.random.Generator, certificate: Certificate) -> Certificate:
    """A tree that is none: a leaf or a split too many or too few, values or axes that do not exist."""
    c = certificate
    extra = np.append(c.axis, np.int16(-1)), np.concatenate([c.weights, c.weights[:1]])
    options: list[Callable[[], Certificate]] = [
        lambda: replace(c, axis=c.axis[:-1], weights=c.weights[:-1]),
        lambda: replace(c, axis=c.axis[1:], weights=c.weights[1:]),
        lambda: replace(c, axis=extra[0], weights=extra[1]),
        lambda: replace(c, weights=c.weights[:-1]),
        lambda: replace(c, weights=np.concatenate([c.weights, c.weights], axis=1)),
        lambda: replace(c, value=np.append(c.value, 0.0)),
        lambda: replace(c, axis=np.where(np.arange(len(c.axis)) == 0, 10_000, c.axis).astype(np.int16)),
        lambda: replace(c, axis=np.where(c.axis < 0, -2, c.axis).astype(np.int16)),
        lambda: replace(c, arithmetic="float16"),
        lambda: replace(c, network=c.network[::-1]),
        lambda: replace(c, property=c.network),
    ]
    if len(c.value):
        options += [
            lambda: replace(c, value=c.value[:-1]),
            lambda: replace(c, value=np.where(np.arange(len(c.value)) == 0, np.nan, c.value)),
            lambda: replace(c, value=np.where(np.arange(len(c.value)) == 0, np.inf, c.value)),
            lambda: replace(c, axis=np.full_like(c.axis, -1)),
        ]
    return options[rng.integers(len(options))]()


def damaged(rng: np.random.Generator, certificate: Certificate) -> bytes:
    """A file that is cut off, overwritten, extended, or not one at all."""
    data = bytearray(to_bytes(certificate))
    match rng.integers(4):
        case 0:
            return bytes(data[: rng.integers(len(data))])
        case 1:
            place = int(rng.integers(len(data)))
            data[place] ^= int(rng.integers(1, 256))
        case 2:
            data += rng.bytes(int(rng.integers(1, 20)))
        case _:
            return rng.bytes(int(rng.integers(0, 400)))
    return bytes(data)
