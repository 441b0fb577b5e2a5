"""Changes as files: JSON to be read, NPZ to be small; and applied to the network that they belong to."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from repairsolver.errors import EditError
from repairsolver.exact_json import loads
from repairsolver.network.graph import Network
from repairsolver.repairing.gate.edit import FORMAT, Gates
from repairsolver.repairing.result import Delta
from repairsolver.signatures import typed
from repairsolver.targets import replacing

KINDS = (".json", ".npz")
HEAD = 200
"""Characters at the beginning of a file, which say what it is."""


def save_edit(edit: Delta | Gates, path: str | Path) -> None:
    """Write a change; the file appears complete or not at all.

    A name that ends in .json gets one object per changed entry, with its meaning, old and new value; .npz
    the same numbers as arrays. Both hold every number exactly. Gates are written as JSON.

    Raises:
        EditError: the name ends otherwise.
        OSError: the path is a folder or a device, or cannot be written to.
    """
    check_kind(path)
    if isinstance(edit, Gates) and Path(path).suffix.lower() != ".json":
        raise EditError(f"{path}: gates are a file that ends in .json; choose such a name")
    with replacing(path) as stream:
        if isinstance(edit, Gates) or Path(path).suffix.lower() == ".json":
            stream.write(edit.to_json().encode() + b"\n")
        else:
            np.savez_compressed(stream, **_arrays(edit))  # type: ignore[arg-type] # keys are not allow_pickle


def load_edit(path: str | Path, network: Network) -> Delta | Gates:
    """Read a change back, for the network that it belongs to.

    Raises:
        EditError: the file is no change, or not one of this network.
        OSError: it cannot be read.
    """
    check_kind(path)
    source = Path(path)
    if source.suffix.lower() == ".json":
        try:
            text = source.read_text(encoding="utf-8")
            if f'"{FORMAT}"' in text[:HEAD]:
                return Gates.from_json(text)
            return Delta.from_json(text, network)
        except (UnicodeDecodeError, EditError) as error:
            hint = "" if isinstance(error, EditError) else "; give a file that a repair has written"
            raise EditError(f"{path}: {error}{hint}") from error
    try:
        # numpy takes what is no archive for a pickle, and says how to load that unsafely.
        with zipfile.ZipFile(source), np.load(source, allow_pickle=False) as arrays:
            content = _content({name: arrays[name] for name in arrays.files})
    # RuntimeError is what zipfile raises for entries that are encrypted.
    except (ValueError, KeyError, TypeError, IndexError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise EditError(
            f"{path}: not a change in a .npz file: {reason}; give a file that a repair has written"
        ) from error
    try:
        return Delta.from_json(json.dumps(content), network)
    except EditError as error:
        raise EditError(f"{path}: {error}") from error


@typed
def apply_edit(network: Network, edit: Delta | Gates | str | Path) -> Network:
    """The network after a change, given or in a file: bit for bit the network that was repaired.

    Raises:
        EditError: the change is malformed, or belongs to another network.
        OSError: the file cannot be read.
    """
    change = edit if isinstance(edit, Delta | Gates) else load_edit(edit, network)
    return change.apply(network)


def check_kind(path: str | Path) -> None:
    """Refuse a name that says of neither format.

    Raises:
        EditError: the name ends neither in .json nor in .npz.
    """
    if Path(path).suffix.lower() not in KINDS:
        raise EditError(f"{path}: a change is a file that ends in {' or '.join(KINDS)}; choose such a name")


def _arrays(edit: Delta) -> dict[str, np.ndarray[Any, Any]]:
    """The head as text, and index, old and new values of every tensor."""
    content = json.loads(edit.to_json())
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for i, (item, change) in enumerate(zip(content["tensors"], edit.changes, strict=True)):
        del item["entries"]
        index = np.argwhere(change.difference != 0)
        place = tuple(index.T)
        arrays |= {f"index{i}": index, f"old{i}": change.old[place], f"new{i}": change.new[place]}
    arrays["head"] = np.array(json.dumps(content))
    return arrays


def _content(arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """The content of the JSON format."""
    content: dict[str, Any] = loads(str(arrays["head"]))
    for i, item in enumerate(content["tensors"]):
        parts = (arrays[f"index{i}"].tolist(), arrays[f"old{i}"].tolist(), arrays[f"new{i}"].tolist())
        item["entries"] = [
            {"index": index, "old": old, "new": new} for index, old, new in zip(*parts, strict=True)
        ]
    return content
