"""Violated instances of ACAS Xu and of the VNN-COMP families, and how long an attack takes on one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import repairsolver as rs
from benchmarks.acasxu_verify.instances import Instance
from benchmarks.acasxu_verify.instances import load_instances as load_acasxu
from benchmarks.falsify import plain
from benchmarks.record import data_folder
from benchmarks.vnncomp.instances import FAMILIES
from benchmarks.vnncomp.instances import load_instances as load_vnncomp
from repairsolver.property import Property
from repairsolver.results import Counterexample
from repairsolver.verification.attack import attack
from repairsolver.verification.engine import FIRST_EFFORT, single_threaded
from repairsolver.verification.falsify import falsify_property

ACASXU = "acasxu"
SEARCHED = (ACASXU, *(family for family in FAMILIES if family != "mnist_conv_verivital"))
Attack = Callable[[rs.Network, Property, int, float], tuple[Counterexample, ...]]


def _plain(network: rs.Network, prop: Property, seed: int, seconds: float) -> tuple[Counterexample, ...]:
    effort = plain.Effort(samples=4096, restarts=16, steps=12)
    return plain.attack(network, prop, seed=seed, seconds=seconds, effort=effort)


def _first(network: rs.Network, prop: Property, seed: int, seconds: float) -> tuple[Counterexample, ...]:
    return attack(network, prop, seed=seed, seconds=seconds, effort=FIRST_EFFORT)


def _falsify(network: rs.Network, prop: Property, seed: int, seconds: float) -> tuple[Counterexample, ...]:
    return falsify_property(network, prop, limits=rs.Limits(seconds=seconds), seed=seed).counterexamples


ATTACKS: dict[str, Attack] = {"plain": _plain, "first effort": _first, "falsify": _falsify}
"""The samples and gradients of old; the attack of `verify` before it proves; `falsify`. Each is repeated."""


@dataclass(frozen=True, slots=True)
class Violated:
    """A network and a property that it is known to violate."""

    family: str
    network: str
    prop: str
    load: Callable[[], tuple[rs.Network, Property]]


def violated(families: list[str]) -> Iterator[Violated]:
    """All instances of the families that are known to be violated."""
    for family in families:
        folder = data_folder(family)
        if family == ACASXU:
            for item in load_acasxu(folder):
                if item.expected == "violated":
                    yield Violated(family, item.network, item.prop, partial(_acasxu, folder, item))
            continue
        for other in load_vnncomp(family, folder):
            if other.expected == "violated":
                yield Violated(family, other.network, other.prop, partial(other.load, folder))


def _acasxu(folder: Path, item: Instance) -> tuple[rs.Network, Property]:
    network = rs.load_network(folder / "onnx" / item.network)
    return network, rs.load_property(folder / "vnnlib" / item.prop, network=network)


def hunt(run: Attack, network: rs.Network, prop: Property, seconds: float, seed: int) -> dict[str, object]:
    """Repeat an attack with one seed after another until it finds a violation or time is up."""
    started, tries = time.perf_counter(), 0
    found: tuple[Counterexample, ...] = ()
    with single_threaded():
        while not found and (left := started + seconds - time.perf_counter()) > 0:
            found = run(network, prop, seed + tries, left)
            tries += 1
    return {
        "found": bool(found),
        "seconds": round(time.perf_counter() - started, 4),
        "tries": tries,
        "violation": max((c.violation for c in found), default=""),
    }
