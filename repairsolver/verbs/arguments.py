"""What callers may pass: files or objects, seeds, limits and devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repairsolver.errors import DeviceError
from repairsolver.network import Network, load_network
from repairsolver.property import PointSet, Property, load_points, load_property
from repairsolver.property.files import check_fits
from repairsolver.results import Limits

LARGEST_SEED = 2**63
"""Of the generators of numpy and torch together, with room for one seed per round."""


def check_options(seed: int, limits: Limits | None) -> None:
    """Refuse limits and seeds that are none."""
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits must be Limits(...), such as Limits(seconds=60), got {limits!r}")
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise TypeError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed < LARGEST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED - 1}, got {seed}")


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use.

    Raises:
        DeviceError: names those that there are.
    """
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device, dtype=torch.float64).item()
        torch.Generator(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        others = ", ".join(_accelerators()) or "no other: torch has none here, or is a build for the CPU"
        raise DeviceError(
            f"device {device!r} cannot be used here: {reason}; use 'cpu' (besides it there is {others})"
        ) from error


def _accelerators() -> list[str]:
    """The devices that torch has besides the CPU."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    count = 0 if found is None else torch.accelerator.device_count()
    return [] if found is None else [f"{found.type}:{number}" for number in range(count)]


def as_network(source: Network | str | Path) -> Network:
    """The network, read if it is a file."""
    return source if isinstance(source, Network) else load_network(source)


def as_property(source: Property | str | Path, network: Network) -> Property:
    """The property, read if it is a file, if it fits the network."""
    if isinstance(source, Property):
        check_fits(source, network)
        return source
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        raise TypeError(f"property must be a Property or the path of a VNN-LIB file, got {kind}")
    return load_property(source, network=network)


def as_properties(
    source: Property | str | Path | Sequence[Property | str | Path], network: Network
) -> list[Property]:
    """One or several."""
    several = source if isinstance(source, Sequence) and not isinstance(source, str) else [source]
    return [as_property(item, network) for item in several]


def as_points(source: PointSet | str | Path | None, network: Network) -> PointSet | None:
    """The points, read if they are a file; None where none are given."""
    if source is None or isinstance(source, PointSet):
        return source
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        raise TypeError(f"points to repair or to keep must be PointSet(inputs, labels) or a file, got {kind}")
    return load_points(source, network)
