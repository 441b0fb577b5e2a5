"""What losses ask of the output, against the losses of torch; input shapes that a file leaves open."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.architecture.reading import read_model
from repairsolver.cli.main import app
from repairsolver.errors import ArchitectureError


def classifier(shape, classes, framework="keras"):
    layer = {"name": "d", "type": "Dense", "args": {"units": classes}}
    if framework == "torch":
        args = {"in_channels": 3, "out_channels": classes, "kernel_size": 1}
        layer = {"name": "d", "type": "Conv1d", "args": args}
    return read_model({"framework": framework, "input_shape": list(shape), "layers": [layer]})


def torch_takes(loss, output, labels):
    """Whether the loss runs; torch warns where it broadcasts, which counts as no."""
    function = getattr(torch.nn, loss)()
    out = torch.rand(2, *output)
    target = torch.zeros((2, *labels), dtype=torch.long) if loss in ("CrossEntropyLoss", "NLLLoss") else None
    try:
        function(out, torch.rand(2, *labels) if target is None else target)
    except (RuntimeError, ValueError, UserWarning):
        return False
    return True


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "BCELoss", "HuberLoss"])
def test_demands_agree_with_the_losses_of_torch(loss):
    for size, labels in itertools.product((4, 5), ((), (4,), (5,), (6, 4), (6, 5), (1,))):
        model = classifier((3, size), 6, "torch")
        valid = rs.diagnose(model, labels_shape=labels, loss=loss).valid
        if loss == "CrossEntropyLoss" and labels == (6, size):
            continue  # floating-point labels of equal shape are probabilities, and class numbers are refused
        assert valid == torch_takes(loss, (6, size), labels), (size, labels)


def test_a_loss_that_would_broadcast_is_a_fault_of_its_own():
    model = classifier((9, 3), 1)
    found = rs.diagnose(model, labels_shape=(1,), loss="mse")
    assert [fault.rule for fault in found.faults] == ["labels"]
    assert "demanded is (1,) by mse with labels of shape (1,)" in str(found)
    fix = rs.repair_architecture(model, labels_shape=(1,), loss="mse")
    assert (fix.status, fix.proved) == ("repaired", True)
    assert rs.diagnose(fix.model, labels_shape=(1,), loss="mse").valid


@pytest.mark.parametrize(
    ("shape", "labels", "valid"),
    [((3,), (), True), ((3,), (1,), True), ((9, 3), (9,), True), ((9, 3), (), False), ((9, 3), (9, 1), True)],
)
def test_sparse_labels_lack_the_axis_of_the_classes(shape, labels, valid):
    model = classifier(shape, 4)
    loss = "sparse_categorical_crossentropy"
    assert rs.diagnose(model, labels_shape=labels, loss=loss).valid is valid
    if not valid:
        fix = rs.repair_architecture(model, labels_shape=labels, loss=loss)
        assert rs.diagnose(fix.model).shapes[next(iter(fix.model.outputs))] == (*labels, 4)


def test_what_cannot_be_asked_for_is_said():
    model = classifier((3,), 4)
    with pytest.raises(ArchitectureError, match="loss 'made_up' is unknown: one of mse"):
        rs.diagnose(model, labels_shape=(4,), loss="made_up")
    with pytest.raises(ArchitectureError, match="give one of them"):
        rs.diagnose(model, labels_shape=(4,), output_shape=(4,))
    plain = read_model({"input_shape": [4], "layers": [{"name": "r", "type": "ReLU"}]})
    with pytest.raises(ArchitectureError, match="no layer states the number of classes"):
        rs.diagnose(plain, labels_shape=(), loss="sparse_categorical_crossentropy")


def test_labels_in_the_file_and_on_the_command_line(tmp_path):
    layers = [{"name": "d", "type": "Dense", "args": {"units": 3}}]
    record = {"input_shape": [7, 2], "layers": layers}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(record))
    told = CliRunner().invoke(app, ["architecture", str(path), "--labels-shape", "3", "--loss", "mae"])
    assert "labels: output is (7, 3), demanded is (3,) by mae" in told.stdout
    path.write_text(json.dumps({**record, "labels_shape": [3], "loss": "mae"}))
    assert CliRunner().invoke(app, ["architecture", str(path)]).stdout == told.stdout


def test_sizes_that_a_file_leaves_open(tmp_path):
    """Symbolic sizes are named, and can be stated; the batch may stay open."""
    first = {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, None, None, 3]}}
    conv = {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": 3}}
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": {"layers": [first, conv]}}))
    with pytest.raises(ArchitectureError, match=r"input i has shape \(None, None, 3\).*input_shape"):
        rs.diagnose(path)
    assert rs.diagnose(path, input_shape=(8, 8, 3)).shapes["c"] == (6, 6, 2)
    told = CliRunner().invoke(app, ["architecture", str(path), "--input-shape", "2,8,3"])
    assert told.stdout.splitlines()[0] == "repaired"


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ("mse", "mse"),
        ({"class_name": "MeanSquaredError", "config": {"name": "mean_squared_error"}}, "mean_squared_error"),
        ({"module": "builtins", "class_name": "function", "config": "poisson"}, "poisson"),
        ({"d": "mae"}, "mae"),
        (["sparse_categorical_crossentropy"], "sparse_categorical_crossentropy"),
        ({"d": "mae", "e": "mse"}, ""),
        (None, ""),
    ],
)
def test_the_loss_of_a_compiled_model_is_read(loss, name):
    layers = [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 9, 3]}},
        {"class_name": "Dense", "config": {"name": "d", "units": 4}},
    ]
    model = {"class_name": "Sequential", "config": {"layers": layers}, "compile_config": {"loss": loss}}
    assert read_model(model).loss == name
    found = rs.diagnose(model, labels_shape=(9,))
    assert found.valid == (name == "sparse_categorical_crossentropy")
    if not found.valid:
        assert f"by {name or 'mse'} with labels" in str(found.faults[0])
    assert rs.diagnose(model, labels_shape=(9,), loss="sparse_categorical_crossentropy").valid


def test_a_sequential_model_tells_what_it_was_built_for():
    layers = [{"class_name": "Dense", "config": {"name": "d", "units": 4}}]
    model = {"class_name": "Sequential", "config": {"layers": layers}}
    with pytest.raises(ArchitectureError, match="states no input shape"):
        rs.diagnose(model)
    assert read_model({**model, "build_config": {"input_shape": [None, 5]}}).inputs == {"input": (5,)}
