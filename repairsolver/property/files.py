"""Reading property files of either version, and fitting them to networks."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np

from repairsolver.errors import NetworkError, PropertyError, told
from repairsolver.network.graph import Network
from repairsolver.network.nnet import LIMITS
from repairsolver.property.reader import Form, Source, head, read_forms, show
from repairsolver.property.specification import Property, place_name
from repairsolver.property.vnnlib1 import read_version1
from repairsolver.property.vnnlib2 import read_version2
from repairsolver.results import Array, counted
from repairsolver.signatures import typed

MAX_BYTES = 256 * 1024 * 1024
"""Longest text that is read, after decompression: a small `.gz` file can unpack to anything."""

_GZIP_MAGIC = b"\x1f\x8b"


@typed
def load_property(path: str | Path, *, network: Network | None = None) -> Property:
    """Read a VNN-LIB file, version 1.0 or 2.0, plain or compressed with gzip.

    Args:
        path: compression is recognised by content, the version by the first command.
        network: where given, the sizes of the property must fit it.

    Raises:
        PropertyError: the file cannot be read, is malformed (with line and column), or does not fit.
    """
    file = Path(path)
    prop = parse_property(_read_text(file), name=file.name)
    if network is not None:
        check_fits(prop, network)
    return prop


@typed
def parse_property(text: str, *, name: str = "property") -> Property:
    """Read a property from VNN-LIB text; the name is what messages call it.

    Numbers are read as the nearest float64, so the corners of the box are float64 values: `0.1` means
    0.1000000000000000055..., and not the float32 next to it.

    Raises:
        PropertyError: the text is malformed; with line and column.
    """
    source = Source(text, name)
    forms = read_forms(source)
    if not forms:
        raise source.error(0, "no commands: expected declarations and assertions in VNN-LIB")
    if _version(forms, source) == 2:
        return read_version2(forms, source)
    return read_version1(forms, source)


def _version(forms: tuple[Form, ...], source: Source) -> int:
    """1 or 2; only VNN-LIB 2.0 says which it is."""
    if head(forms[0]) != "vnnlib-version":
        wants_two = [form for form in forms if head(form) == "declare-network"]
        if wants_two:
            raise source.error(wants_two[0], "expected `(vnnlib-version <2.0>)` before any other command")
        return 1
    if show(forms[0]) != "(vnnlib-version <2.0>)":
        raise source.error(forms[0], "expected `(vnnlib-version <2.0>)`, or no such line for VNN-LIB 1.0")
    return 2


def check_fits(prop: Property, network: Network) -> None:
    """Refuse a property of other sizes than the network, or with bounds beyond the range of its numbers.

    Raises:
        PropertyError: naming both sizes of both; or the inputs whose bounds the network's element type
            cannot hold, so that no network of this type could be run there.
    """
    expected = (network.input_size, network.output_size)
    if (prop.input_size, prop.output_size) != expected:
        raise PropertyError(
            f"{prop.name} is about {counted(prop.input_size, 'input')} and "
            f"{counted(prop.output_size, 'output')}, but network {network.name} has "
            f"{counted(expected[0], 'input')} and {counted(expected[1], 'output')}: choose the property of "
            "this network"
        )
    largest = float(np.finfo(network.element).max)
    corners = [corner for region in prop.regions for corner in (region.lower, region.upper)]
    beyond = np.flatnonzero(np.any([np.abs(corner) > largest for corner in corners], axis=0))
    if beyond.size:
        names = ", ".join(f"X_{index}" for index in beyond[:20])
        raise PropertyError(
            f"{prop.name}: {beyond.size} inputs have bounds beyond {largest:.4g}, the largest "
            f"{network.element} number, where network {network.name} cannot be run: {names}; choose "
            "bounds within it"
        )
    _check_units(prop, network)


def _check_units(prop: Property, network: Network) -> None:
    """Refuse regions wholly outside the limits of an NNet file: most likely they are in other units."""
    if not all(key in network.metadata for key in LIMITS):
        return
    least, largest = (_limit(network, key) for key in LIMITS)
    for index, region in enumerate(prop.regions):
        for i in np.flatnonzero((region.upper < least) | (region.lower > largest)):
            raise PropertyError(
                f"{prop.name}: {place_name(index)} has X_{i} in "
                f"[{region.lower[i]:.6g}, {region.upper[i]:.6g}], but the NNet file {network.name} is for "
                f"[{least[i]:.6g}, {largest[i]:.6g}]: state the property in the units of "
                "the file, or, if it is in normalised units, leave the file's normalisation out "
                "(normalise=False, --no-normalise)"
            )


def _limit(network: Network, key: str) -> Array:
    """One number for each input, from the metadata of a file."""
    try:
        found = np.array(json.loads(network.metadata[key]), dtype=np.float64)
    except (ValueError, TypeError, RecursionError) as error:
        raise NetworkError(f"{network.name}: its metadata {key!r} are no numbers: {error}") from error
    if found.shape != (network.input_size,):
        raise NetworkError(
            f"{network.name}: its metadata {key!r} hold an array of shape {found.shape}, expected one number "
            f"for each of {network.input_size} inputs: convert the NNet file again"
        )
    return found


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            compressed = stream.read(2) == _GZIP_MAGIC
        with gzip.open(file, "rb") if compressed else file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PropertyError(f"{file}: cannot read the property: {told(error)}") from error
    if len(data) > MAX_BYTES:
        raise PropertyError(f"{file}: the text is longer than {MAX_BYTES} bytes, the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PropertyError(f"{file}:{line}: not UTF-8 text: expected VNN-LIB") from error
