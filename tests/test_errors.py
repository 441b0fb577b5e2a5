"""Errors are caught by this package's base, or by the built-in kind that fits, as the documentation says."""

import builtins
import inspect

import pytest

from repairsolver import errors

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
]
BUILT_IN = {kind for kind in vars(builtins).values() if inspect.isclass(kind)} - {
    Exception,
    BaseException,
    object,
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.RepairSolverError])
def test_every_error_is_ours_and_of_a_built_in_kind(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.RepairSolverError)
    assert BUILT_IN & set(kind.__mro__)


@pytest.mark.parametrize("kind", [errors.UnsupportedOperatorError, errors.SolverCapabilityError])
def test_what_cannot_be_done_is_not_implemented(kind: type[Exception]) -> None:
    """Callers go on with another tool or solver; where nothing is wrong with what they gave."""
    assert issubclass(kind, NotImplementedError)


def test_files_are_told_of_without_the_number_of_the_system() -> None:
    missing = FileNotFoundError(2, "No such file or directory", "net.onnx")
    assert errors.told(missing) == "no such file or directory; check the path and its rights"
    assert errors.told(FileExistsError(17, "File exists", "out")).startswith("is there already and no folder")
    assert errors.told(ValueError("bad header")) == "bad header; copy it again if it is damaged"
