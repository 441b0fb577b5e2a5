"""A search under way as a file: what is open, what is closed, and which network and property it is about.

The file is a numpy archive (`.npz`) without pickled objects: one entry `head`, JSON, and the arrays of
the search. The head holds the SHA-256 of everything else, which tells damage; it cannot tell malice, so
that whoever goes on from a file must prove what it claims, or say that the answer rests on it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repairsolver import __version__
from repairsolver.errors import TreeError
from repairsolver.exact_json import loads
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Arithmetic
from repairsolver.targets import file_target, replacing
from repairsolver.verification.record import property_sha256

Arrays = Mapping[str, NDArray[Any]]

FORMAT, SCHEMA = "repairsolver tree", 1
# Seconds between two savings, unless the variable says others; more when writing takes long.
EVERY, SHARE = 60.0, 0.02
VARIABLE = "REPAIRSOLVER_TREE_SECONDS"


def seconds_between() -> float:
    """Seconds between two savings of a search.

    Raises:
        TreeError: the variable is not a number above 0.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return EVERY
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise TreeError(
            f"the variable {VARIABLE} is {asked!r}, expected seconds above 0: correct it, or unset it for "
            f"{EVERY:g} s"
        )
    return seconds


class Tree:
    """The file of one search.

    Args:
        path: the file; it need not exist yet. Messages name it as it is given here.
        network, prop, arithmetic: what the search is about.

    Raises:
        OSError: the file cannot be read, or not be written there.
        TreeError: there is a file, and it is damaged, or of another network, property or version.
    """

    def __init__(
        self, path: str | Path, network: Network, prop: Property, arithmetic: Arithmetic = "real"
    ) -> None:
        self.name, self.path = str(path), file_target(path)
        self._about = {"network": network.sha256, "property": property_sha256(prop), "arithmetic": arithmetic}
        self._names = {"network": network.name, "property": prop.name}
        self._every = seconds_between()
        self._next = time.monotonic() + self._every
        self._found = self._read() if self.path.exists() else None

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._next

    def write(self, kind: str, arrays: Arrays) -> None:
        """Replace the file as a whole; the old one stays if anything fails."""
        started = time.monotonic()
        head = {"format": FORMAT, "schema": SCHEMA, "tool": __version__, "kind": kind} | self._about
        head |= {"names": self._names, "sha256": digest(arrays)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as stream:
            np.savez(
                stream, allow_pickle=False, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays
            )
        now = time.monotonic()
        self._next = now + max(self._every, (now - started) / SHARE)

    def take(self, kind: str) -> dict[str, NDArray[Any]] | None:
        """The arrays that the file held at first, once; None if there was no file.

        Raises:
            TreeError: they are of another kind of search.
        """
        found, self._found = self._found, None
        if found is not None and found[0] != kind:
            raise _wrong(self.name, f"it is of a search by {found[0]}, expected {kind}")
        return None if found is None else found[1]

    def _read(self) -> tuple[str, dict[str, NDArray[Any]]]:
        head, arrays = _content(self.path, self.name)
        if (head.get("format"), head.get("schema")) != (FORMAT, SCHEMA):
            raise _wrong(self.name, f"it is no tree of schema {SCHEMA}")
        if head.get("tool") != __version__:
            reason = f"repairsolver {head.get('tool')} wrote it, this is {__version__}"
            raise _wrong(self.name, f"{reason}: only the version that wrote a tree goes on from it")
        for what, actual in self._about.items():
            if head.get(what) != actual:
                reason = f"it has {head.get(what)}, {self._names.get(what, 'asked for')} is {actual}"
                raise _wrong(self.name, f"it is about another {what}: {reason}")
        if head.get("sha256") != digest(arrays):
            raise _wrong(self.name, "it is damaged: its SHA-256 is not the one that it states")
        return str(head.get("kind")), arrays


def _content(path: Path, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # Nothing is compressed, so that a small file cannot fill the memory.
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > m.compress_size for m in members):
                raise _wrong(name, "it is damaged: a tree's entries are not compressed")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        head = loads(arrays.pop("head").astype(np.uint8).tobytes())
    # zipfile raises a RuntimeError, or a kind of it, for encrypted entries and flags it does not know.
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, MemoryError, RuntimeError) as error:
        if isinstance(error, TreeError):
            raise
        raise _wrong(name, f"it is no tree, or damaged ({error})") from error
    if not isinstance(head, dict):
        raise _wrong(name, "it is no tree: its head is not an object")
    return head, arrays


def digest(arrays: Arrays) -> str:
    """SHA-256 of names, types, shapes and contents."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.data.cast("B") if array.size else b"")
    return found.hexdigest()


def _wrong(name: str, reason: str) -> TreeError:
    return TreeError(f"{name}: cannot go on from this file: {reason}; name another file to start anew")


def require(fits: bool, name: str, what: str) -> None:
    """Refuse arrays that no search has left.

    Raises:
        TreeError: naming `what` is wrong with them.
    """
    if not fits:
        raise _wrong(name, f"its arrays contradict each other ({what})")
