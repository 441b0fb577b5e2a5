"""Bad input of layer graphs: whatever a part of the JSON is replaced by, the error is one that names it."""

from __future__ import annotations

import copy
import random

import pytest

import repairsolver as rs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.reading import read_model
from repairsolver.errors import ArchitectureError

LISTED = {
    "framework": "keras",
    "input_shape": {"x": [8, 8, 1]},
    "output_shape": [3],
    "given_weights": {"c": {"kernel": [3, 3, 1, 2]}},
    "layers": [
        {"name": "c", "type": "Conv2D", "args": {"filters": 2, "kernel_size": [3, 3]}, "inputs": ["x"]},
        {"name": "t", "type": "TimeDistributed", "args": {"layer": {"type": "Dense", "args": {"units": 2}}}},
        {"name": "f", "type": "Flatten", "args": {}},
        {"name": "d", "type": "Dense", "args": {"units": 3}},
    ],
}
KERAS = {
    "class_name": "Sequential",
    "config": {
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 5, 4]}},
            {
                "class_name": "Bidirectional",
                "config": {"name": "b", "layer": {"class_name": "GRU", "config": {"units": 3}}},
            },
            {"class_name": "Dense", "config": {"name": "d", "units": 2}},
        ]
    },
}
JUNK = (None, 0, -1, 1.5, "", "junk", [], [None], ["x", 3], {}, {"a": 1}, True, 10**40, [[1, 2], [3]])


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutated(form, rng):
    """The form with one or two of its parts replaced by something else, or left out."""
    data = copy.deepcopy(form)
    for _ in range(rng.randint(1, 2)):
        path = rng.choice([p for p in places(data) if p])
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        if rng.random() < 0.2:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(JUNK))
    return data


@pytest.mark.parametrize("form", [LISTED, KERAS], ids=["listed", "keras"])
def test_no_part_of_the_json_breaks_the_reader(form):
    assert diagnose_model(read_model(form)).valid
    rng, refused = random.Random(0), 0
    for _ in range(600):
        data = mutated(form, rng)
        try:
            diagnose_model(read_model(data))
        except ArchitectureError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("layers", [], "layers is \\[\\], expected a list with one layer"),
        ("layers", [{"type": 3}], "the type of layer 1 is 3"),
        ("layers", [{"type": "ReLU", "args": [1]}], "args of relu_1 is \\[1\\]"),
        ("layers", [{"type": "ReLU", "inputs": "x"}], "inputs of relu_1 is 'x', expected a list of names"),
        ("input_shape", "abc", "input input has shape 'abc'"),
        ("input_shape", [4, None], "sizes must be known"),
        ("output_shape", ["x"], "output_shape is \\['x'\\]"),
    ],
)
def test_the_error_names_the_part(part, value, said):
    with pytest.raises(ArchitectureError, match=said):
        read_model({"input_shape": [4], "layers": [{"type": "ReLU"}], part: value})


def test_types_inside_wrappers_are_listed_too():
    inner = {"layer": {"type": "Zap", "args": {}}}
    layers = [{"type": "Magic"}, {"name": "w", "type": "TimeDistributed", "args": inner}]
    with pytest.raises(ArchitectureError, match=r"magic_1: Magic, w: TimeDistributed\(Zap\)"):
        read_model({"input_shape": [4], "layers": layers})


@pytest.mark.parametrize(("width", "features"), [(0, 8), (-2, 8), (0, -8)])
def test_an_output_without_elements_is_a_fault(width, features):
    """A width of 0 or below is changed; no such layer is called valid."""
    args = {"in_features": features, "out_features": width}
    model = {
        "framework": "torch",
        "input_shape": [8],
        "layers": [{"name": "a", "type": "Linear", "args": args}],
    }
    assert {fault.layer for fault in rs.diagnose(model).faults} == {"a"}
    fix = rs.repair_architecture(model)
    assert fix.status == "repaired"
    assert all(size >= 1 for size in diagnose_model(fix.model).shapes["a"])


def test_arguments_beside_args_are_refused(tmp_path):
    """They were left out, so that the answer was about another layer."""
    path = tmp_path / "model.json"
    path.write_text('{"input_shape": [8, 8, 3], "layers": [{"type": "Conv2D", "filters": 4, "args": {}}]}')
    with pytest.raises(
        ArchitectureError, match=r"model\.json: layer 1 \(Conv2D\) has filters beside .* into args"
    ):
        rs.diagnose(path)
