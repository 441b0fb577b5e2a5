"""Wrong kinds of arguments: which call, which argument, what was got and what is expected."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import repairsolver as rs

DEMO = files("repairsolver.demo")
NET, PROP = Path(str(DEMO / "controller.onnx")), Path(str(DEMO / "head_on.vnnlib"))
BOTH: dict[str, Any] = {"network": NET, "property": PROP}
TWICE: dict[str, Any] = {"original": NET, "repaired": NET}
PAC: dict[str, Any] = {**BOTH, "epsilon": 0.1, "eta": 0.1}


@pytest.mark.parametrize(
    ("call", "wrong", "expected"),
    [
        (rs.check, {**BOTH, "certificate": None}, "certificate must be a Certificate or a str or a path"),
        (rs.check, {**BOTH, "certificate": b"abc"}, "certificate must be a Certificate or a str or a path"),
        (rs.check, {**BOTH, "certificate": "c", "seconds": "3"}, "seconds must be a number or None, got '3'"),
        (rs.Limits, {"seconds": "3"}, "seconds must be a number or None, got '3' of type str"),
        (rs.Limits, {"seconds": True}, "seconds must be a number or None, got True of type bool"),
        (rs.Limits, {"rounds": 2.5}, "rounds must be a whole number, got 2.5 of type float"),
        (rs.Limits, {"memory_gb": None}, "memory_gb must be a number"),
        (rs.verify, {**BOTH, "on_event": 3}, r"on_event must be a function of one Event or None, got 3"),
        (rs.verify, {**BOTH, "certificate": "out.cert"}, "certificate must be True or False, got 'out.cert'"),
        (rs.verify, {**BOTH, "kept": 3}, r"kept must be a Kept\(\) or None"),
        (rs.verify, {**BOTH, "jobs": "2"}, "jobs must be a whole number or None, got '2'"),
        (rs.verify, {**BOTH, "tree": 3}, "tree must be a str or a path or None, got 3"),
        (rs.falsify, {**BOTH, "worst": "yes"}, "worst must be True or False, got 'yes'"),
        (rs.falsify, {**BOTH, "count": True}, "count must be a whole number, got True"),
        (rs.repair, {**BOTH, "gap": "0.1"}, "gap must be a number, got '0.1'"),
        (rs.repair, {**BOTH, "layers": 3}, "layers must be a str or a list of str or None, got 3"),
        (rs.repair, {**BOTH, "layers": [3]}, "or None, got one of type list"),
        (rs.repair, {**BOTH, "solver": 3}, "solver must be a str, got 3"),
        (rs.repair, {**BOTH, "mask": 3}, "mask must be a dict or None, got 3"),
        (rs.repair, {**BOTH, "imitation": 3}, r"imitation must be an Imitation\(...\) or None, got 3"),
        (rs.repair, {**BOTH, "neurons": [[1], [2, 3]]}, "neurons must be an array of real numbers or None"),
        (rs.repair, {"network": NET, "property": 3}, "property must be a Property or the path"),
        (rs.localise, {**BOTH, "samples": "many"}, "samples must be a whole number, got 'many'"),
        (rs.sample, {**PAC, "prove": "3"}, "prove must be a number or None, got '3'"),
        (rs.estimate_rare_event, {**BOTH, "particles": "3"}, "particles must be a whole number, got '3'"),
        (rs.characterise, {**PAC, "leaves": 2.0}, "leaves must be a whole number, got 2.0 of type float"),
        (rs.fidelity, {**TWICE, "lower": "a", "upper": 1}, "lower must be an array of real"),
        (rs.fidelity, {**TWICE, "lower": 0, "upper": np.ones(4, complex)}, "upper must be"),
        (rs.diagnose, {"model": NET, "input_shape": 3}, "input_shape must be a list of whole"),
        (rs.local_robustness, {"center": "a", "radius": 1, "label": 0, "outputs": 2}, "center must be"),
        (rs.not_maximal, {"lower": [0], "upper": [1], "label": "0", "outputs": 2}, "label must be a whole"),
        (rs.load_property, {"path": 3}, "path must be a str or a path, got 3 of type int"),
        (rs.load_property, {"path": PROP, "network": NET}, "network must be a Network, as load_network"),
        (rs.parse_property, {"text": b"()"}, "text must be a str"),
        (rs.load_points, {"path": None}, "path must be a str or a path, got None"),
        (rs.save_network, {"network": NET, "path": "x.onnx"}, "network must be a Network"),
        (rs.save_property, {"prop": "x", "path": "y"}, "prop must be a Property, got 'x'"),
        (rs.remove_gates, {"network": 3}, "network must be a Network"),
        (rs.replay, {"network": 3, "points": [[1]]}, "network must be a Network"),
        (rs.apply_edit, {"network": 3, "edit": "x"}, "network must be a Network"),
        (rs.compare, {"paths": 3}, "paths must be a list of paths, got 3"),
        (rs.compare, {"paths": "runs"}, "paths must be a list of paths, got 'runs'"),
        (rs.sweep, {"instances": 3, "out": "x"}, "instances must be a str or a path or a list of dicts"),
        (rs.sweep, {"instances": "a.csv", "out": 3}, "out must be a str or a path, got 3"),
        (rs.Region, {"lower": "a", "upper": [1], "unsafe": ()}, "lower must be an array of real numbers"),
        (rs.Region, {"lower": [0], "upper": [1], "unsafe": 3}, "unsafe must be a tuple of Conjunctions"),
        (rs.Conjunction, {"output": None, "input": [[0]], "bound": [0]}, "output must be an array"),
        (rs.Property, {"regions": 3, "input_size": 1, "output_size": 1}, "regions must be a tuple of R"),
        (rs.PointSet, {"inputs": "abc"}, "inputs must be an array of real numbers"),
        (rs.TruncatedNormal, {"scale": None}, "scale must be a number"),
        (rs.write_certificate, {"certificate": 3, "path": "x"}, "certificate must be a Certificate, got 3"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(call: Callable[..., Any], wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(TypeError, match=expected) as error:
        call(**wrong)
    assert "expected str, bytes or os.PathLike" not in str(error.value)


def test_what_numpy_holds_is_welcome() -> None:
    limits = rs.Limits(seconds=np.float32(20), rounds=np.int64(3))  # type: ignore[arg-type]
    found = rs.falsify(NET, PROP, count=np.int64(1), worst=np.bool_(False), limits=limits)  # type: ignore[arg-type]
    assert found.counterexamples


def test_missing_arguments_are_still_named_by_python() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'property'"):
        rs.verify(NET)  # type: ignore[call-arg]
    assert rs.verify.__name__ == "verify"
    assert rs.verify.__doc__ is not None
