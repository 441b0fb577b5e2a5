"""The exception family: one base class, and each error also a built-in kind.

An outcome (infeasible, timeout) is a result, never an exception; an exception is misuse, unsupported
input, or a soundness alarm. A message says what happened, where, what was got and expected, and the
next step.
"""

from __future__ import annotations


class RepairSolverError(Exception):
    """Anything that repairsolver raises on purpose."""


def told(error: Exception) -> str:
    """What the system says of a file, without number and path, and what to do; else that of its content."""
    if isinstance(error, FileExistsError) and error.strerror:  # of making a folder
        return "is there already and no folder; choose another name"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror[0].lower()}{error.strerror[1:]}; check the path and its rights"
    return f"{error}; copy it again if it is damaged"


class NetworkError(RepairSolverError, ValueError):
    """A network file or graph is malformed, or does not mean what onnxruntime computes."""


class UnsupportedOperatorError(NetworkError, NotImplementedError):
    """A network uses operators outside the supported set; the message lists all of them."""


class PropertyError(RepairSolverError, ValueError):
    """A property is malformed, or does not fit its network."""


class PointSetError(RepairSolverError, ValueError):
    """A file of points cannot be read, or does not fit its network."""


class CertificateError(RepairSolverError, ValueError):
    """A certificate is malformed, or there is none to write."""


class SamplingError(RepairSolverError, ValueError):
    """A statement by sampling cannot be made: wrong arguments, a sampler or a network that misbehaves."""


class TreeError(RepairSolverError, ValueError):
    """A file of a search under way is damaged, or belongs to another network, property or version."""


class EditError(RepairSolverError, ValueError):
    """A requested edit names a layer or parameter that does not exist or cannot be edited."""


class ArchitectureError(RepairSolverError, ValueError):
    """A description of a layer graph is malformed, or uses layer types that have no rule."""


class ReportError(RepairSolverError, ValueError):
    """A file is no result that a report can be made of."""


class ExperimentError(RepairSolverError, ValueError):
    """A list of instances is malformed, or an experiment cannot be run or resumed as it was asked for."""


class WorkerError(RepairSolverError, RuntimeError):
    """Workers that share a search were lost, or failed, too often."""


class ServiceError(RepairSolverError, ValueError):
    """A server cannot be started as it was asked for."""


class DeviceError(RepairSolverError, ValueError):
    """A device that torch does not know, or cannot use here."""


class SolverUnavailableError(RepairSolverError, ImportError):
    """A solver was asked for by name but is not installed or not known."""


class SolverCapabilityError(RepairSolverError, NotImplementedError):
    """A solver cannot treat the kind of program it was given (integers, quadratic objective ...)."""


class LicenseError(RepairSolverError, RuntimeError):
    """A solver is installed, but its licence does not allow a program of this size."""


class SolverError(RepairSolverError, RuntimeError):
    """A solver failed in a way that is neither an optimum, infeasibility nor a limit."""


class SoundnessError(RepairSolverError, AssertionError):
    """A replay or re-check contradicts a result: never ignore this, please report it."""
