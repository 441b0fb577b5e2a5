"""What reads files of others: the readers, the packages that they live in, and whole files to start from."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import repairsolver as rs

DEMO = Path(rs.__file__).parent / "demo"
NNET = "// a comment\n1,2,2,2,\n2,2,\n0,\n-1,-1,\n1,1,\n0,0,0,\n1,1,1,\n1,2,\n3,4,\n0.5,\n0.25,\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A reader.

    Args:
        read: `module:function` of a path.
        instrumented: packages whose branches guide the search.
        ending: of the file that it gets.
        seeds: makes whole files.
    """

    read: str
    instrumented: Sequence[str]
    ending: str
    seeds: Callable[[], Sequence[bytes]]

    def reader(self) -> Callable[[Path], object]:
        """The function."""
        module, _, name = self.read.partition(":")
        found: Callable[[Path], object] = getattr(importlib.import_module(module), name)
        return found


def _certificate() -> bytes:
    """A proof about the demo network."""
    net = rs.load_network(DEMO / "controller.onnx")
    box = rs.load_property(DEMO / "head_on.vnnlib").regions[0]
    prop = rs.output_range(box.lower, box.upper, 0, 5, at_most=1.0)
    proof = rs.verify(net, prop, certificate=True).certificate
    assert proof is not None
    with tempfile.TemporaryDirectory() as folder:
        rs.write_certificate(proof, Path(folder) / "c")
        return (Path(folder) / "c").read_bytes()


TARGETS: dict[str, Target] = {
    "vnnlib": Target(
        "repairsolver.property.files:load_property", ("repairsolver.property",), ".vnnlib",
        lambda: [(DEMO / "head_on.vnnlib").read_bytes()],
    ),
    "onnx": Target(
        "repairsolver.network.load:load_network", ("repairsolver.network",), ".onnx",
        lambda: [(DEMO / "controller.onnx").read_bytes()],
    ),
    "nnet": Target(
        "repairsolver.network.load:load_network", ("repairsolver.network",), ".nnet", lambda: [NNET.encode()]
    ),
    "certificate": Target(
        "repairsolver.certificate.format:read_certificate", ("repairsolver.certificate",), ".cert",
        lambda: [_certificate()],
    ),
    "points": Target(
        "repairsolver.property.points:load_points", ("repairsolver.property",), ".csv",
        lambda: [b"x0,x1,label\n0.5,1,0\n1,2,1\n", b"0.5,1,0\n"],
    ),
    "results": Target(
        "repairsolver.report.sweep:read_sweep", ("repairsolver.report",), ".csv",
        lambda: [b"network,property,result,seconds\na,b,unsat,1\n", b"c,n,p,0.1,unsat,1\n"],
    ),
}  # fmt: skip
"""A new reader is one line."""
