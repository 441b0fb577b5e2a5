"""repairsolver: minimal, proved repairs of neural networks that violate their safety properties.

The public names are loaded when they are first used, so that `import repairsolver` takes no time and
loads no solver, no torch and no runtime.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repairsolver import plot as plot
    from repairsolver.certificate import CheckResult as CheckResult
    from repairsolver.certificate import read_certificate as read_certificate
    from repairsolver.certificate import write_certificate as write_certificate
    from repairsolver.errors import ExperimentError as ExperimentError
    from repairsolver.errors import RepairSolverError as RepairSolverError
    from repairsolver.errors import SamplingError as SamplingError
    from repairsolver.errors import SoundnessError as SoundnessError
    from repairsolver.experiments.experiment import Experiment as Experiment
    from repairsolver.experiments.running import sweep as sweep
    from repairsolver.metrics import Fidelity as Fidelity
    from repairsolver.network import Network as Network
    from repairsolver.network import load_network as load_network
    from repairsolver.network import replay as replay
    from repairsolver.network import save_network as save_network
    from repairsolver.network.gated import remove_gates as remove_gates
    from repairsolver.property import Conjunction as Conjunction
    from repairsolver.property import PointSet as PointSet
    from repairsolver.property import Property as Property
    from repairsolver.property import Region as Region
    from repairsolver.property import load_points as load_points
    from repairsolver.property import load_property as load_property
    from repairsolver.property import local_robustness as local_robustness
    from repairsolver.property import not_maximal as not_maximal
    from repairsolver.property import not_minimal as not_minimal
    from repairsolver.property import output_order as output_order
    from repairsolver.property import output_range as output_range
    from repairsolver.property import parse_property as parse_property
    from repairsolver.property import save_property as save_property
    from repairsolver.repairing.edit_file import apply_edit as apply_edit
    from repairsolver.repairing.gate.edit import Gates as Gates
    from repairsolver.repairing.imitation.options import Imitation as Imitation
    from repairsolver.repairing.imitation.options import Retraining as Retraining
    from repairsolver.repairing.imitation.options import Tuning as Tuning
    from repairsolver.repairing.imitation.responsibility import Localisation as Localisation
    from repairsolver.repairing.result import Delta as Delta
    from repairsolver.repairing.result import Repair as Repair
    from repairsolver.report.comparison import compare as compare
    from repairsolver.results import Certificate as Certificate
    from repairsolver.results import Counterexample as Counterexample
    from repairsolver.results import Event as Event
    from repairsolver.results import Interrupted as Interrupted
    from repairsolver.results import Limits as Limits
    from repairsolver.results import OpenBoxes as OpenBoxes
    from repairsolver.results import RepairStatus as RepairStatus
    from repairsolver.results import Verdict as Verdict
    from repairsolver.results import VerifyStatus as VerifyStatus
    from repairsolver.sampling.characterise import Characterisation as Characterisation
    from repairsolver.sampling.distributions import Points as Points
    from repairsolver.sampling.distributions import Sampler as Sampler
    from repairsolver.sampling.distributions import TruncatedNormal as TruncatedNormal
    from repairsolver.sampling.distributions import Uniform as Uniform
    from repairsolver.sampling.splitting import RareEvent as RareEvent
    from repairsolver.sampling.statement import SampleStatus as SampleStatus
    from repairsolver.sampling.statement import Statement as Statement
    from repairsolver.solvers import available_solvers as available_solvers
    from repairsolver.verbs.comparing import fidelity as fidelity
    from repairsolver.verbs.graphs import contradiction as contradiction
    from repairsolver.verbs.graphs import diagnose as diagnose
    from repairsolver.verbs.graphs import repair_architecture as repair_architecture
    from repairsolver.verbs.repairs import localise as localise
    from repairsolver.verbs.repairs import repair as repair
    from repairsolver.verbs.samples import characterise as characterise
    from repairsolver.verbs.samples import check as check
    from repairsolver.verbs.samples import estimate_rare_event as estimate_rare_event
    from repairsolver.verbs.samples import sample as sample
    from repairsolver.verbs.verifying import falsify as falsify
    from repairsolver.verbs.verifying import verify as verify
    from repairsolver.verification.falsification import Falsification as Falsification
    from repairsolver.verification.kept import Kept as Kept

__version__ = "0.1.0"

_HOME = {
    "characterise": "repairsolver.verbs.samples",
    "check": "repairsolver.verbs.samples",
    "contradiction": "repairsolver.verbs.graphs",
    "diagnose": "repairsolver.verbs.graphs",
    "estimate_rare_event": "repairsolver.verbs.samples",
    "falsify": "repairsolver.verbs.verifying",
    "fidelity": "repairsolver.verbs.comparing",
    "localise": "repairsolver.verbs.repairs",
    "repair": "repairsolver.verbs.repairs",
    "repair_architecture": "repairsolver.verbs.graphs",
    "sample": "repairsolver.verbs.samples",
    "verify": "repairsolver.verbs.verifying",
    "CheckResult": "repairsolver.certificate",
    "read_certificate": "repairsolver.certificate",
    "write_certificate": "repairsolver.certificate",
    "ExperimentError": "repairsolver.errors",
    "RepairSolverError": "repairsolver.errors",
    "SamplingError": "repairsolver.errors",
    "SoundnessError": "repairsolver.errors",
    "Experiment": "repairsolver.experiments.experiment",
    "sweep": "repairsolver.experiments.running",
    "Fidelity": "repairsolver.metrics",
    "Network": "repairsolver.network",
    "load_network": "repairsolver.network",
    "remove_gates": "repairsolver.network.gated",
    "replay": "repairsolver.network",
    "save_network": "repairsolver.network",
    "Conjunction": "repairsolver.property",
    "PointSet": "repairsolver.property",
    "Property": "repairsolver.property",
    "Region": "repairsolver.property",
    "load_points": "repairsolver.property",
    "load_property": "repairsolver.property",
    "local_robustness": "repairsolver.property",
    "not_maximal": "repairsolver.property",
    "not_minimal": "repairsolver.property",
    "output_order": "repairsolver.property",
    "output_range": "repairsolver.property",
    "parse_property": "repairsolver.property",
    "save_property": "repairsolver.property",
    "apply_edit": "repairsolver.repairing.edit_file",
    "Imitation": "repairsolver.repairing.imitation.options",
    "Retraining": "repairsolver.repairing.imitation.options",
    "Tuning": "repairsolver.repairing.imitation.options",
    "Localisation": "repairsolver.repairing.imitation.responsibility",
    "Delta": "repairsolver.repairing.result",
    "Gates": "repairsolver.repairing.gate.edit",
    "Repair": "repairsolver.repairing.result",
    "compare": "repairsolver.report.comparison",
    "Certificate": "repairsolver.results",
    "Counterexample": "repairsolver.results",
    "Event": "repairsolver.results",
    "Interrupted": "repairsolver.results",
    "Limits": "repairsolver.results",
    "OpenBoxes": "repairsolver.results",
    "RepairStatus": "repairsolver.results",
    "Verdict": "repairsolver.results",
    "VerifyStatus": "repairsolver.results",
    "Characterisation": "repairsolver.sampling.characterise",
    "Points": "repairsolver.sampling.distributions",
    "Sampler": "repairsolver.sampling.distributions",
    "TruncatedNormal": "repairsolver.sampling.distributions",
    "Uniform": "repairsolver.sampling.distributions",
    "RareEvent": "repairsolver.sampling.splitting",
    "SampleStatus": "repairsolver.sampling.statement",
    "Statement": "repairsolver.sampling.statement",
    "available_solvers": "repairsolver.solvers",
    "Falsification": "repairsolver.verification.falsification",
    "Kept": "repairsolver.verification.kept",
}

_MODULES = ("plot",)

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"repairsolver.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
