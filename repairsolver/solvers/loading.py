"""Importing a solver's package only when that solver is used."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from repairsolver.errors import SolverUnavailableError
from repairsolver.solvers.protocol import Availability


def load_package(module: str, distribution: str) -> Any:
    """Import a solver's package.

    Raises:
        SolverUnavailableError: it is not installed, or does not import; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SolverUnavailableError(
            f"the Python package {module!r} cannot be imported ({error}): install it with "
            f"`pip install {distribution}`, or choose another solver (see `repairsolver solvers`)"
        ) from error


def installed(module: str, distribution: str) -> Availability:
    """Whether a package is there, by its metadata alone: nothing is imported."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ValueError:  # a module set to None in sys.modules has no spec
        found = False
    if not found:
        return Availability(False, "", f"not installed: pip install {distribution}")
    try:
        return Availability(True, importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Availability(True, "unknown")
