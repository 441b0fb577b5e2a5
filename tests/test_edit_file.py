"""Changes as files: exact, small, refused where they do not fit, and applied on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.choosing import chosen_entries, chosen_neurons
from repairsolver.cli.main import app
from repairsolver.errors import EditError
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.candidate import edit_of
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.edit_file import load_edit
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.result import Delta

NETWORKS = {"dense": dense_network(0, (3, 5, 4, 2)), "convolution": conv_network(1)}


def some_edit(network: rs.Network) -> Delta:
    """A few changes in every layer."""
    layer = find_layers(network, Choice("all"))
    rng = np.random.default_rng(3)
    return edit_of(network, layer, rng.normal(size=layer.size) * (rng.random(layer.size) < 0.3))


@pytest.mark.parametrize("kind", ["json", "npz"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_gives_the_same_bytes(tmp_path: Path, name: str, kind: str) -> None:
    network, path = NETWORKS[name], tmp_path / f"change.{kind}"
    edit = some_edit(network)
    edit.save(path)
    assert len(edit.changes) > 1
    assert rs.apply_edit(network, path).model == edit.apply(network).model
    assert load_edit(path, network).to_json() == edit.to_json()
    assert rs.apply_edit(network, edit).model == edit.apply(network).model


def test_other_names_networks_and_contents_are_refused(tmp_path: Path) -> None:
    network = NETWORKS["dense"]
    edit = some_edit(network)
    with pytest.raises(EditError, match=r"ends in \.json or \.npz"):
        edit.save(tmp_path / "change.txt")
    other = dense_network(5, (3, 5, 4, 2))
    for kind in ("json", "npz"):
        path = tmp_path / f"change.{kind}"
        edit.save(path)
        with pytest.raises(EditError, match="another network"):
            rs.apply_edit(other, path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(EditError, match="not a change"):
            rs.apply_edit(network, path)
        with pytest.raises(FileNotFoundError):
            rs.apply_edit(network, tmp_path / f"nowhere.{kind}")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(EditError, match="not a change in a"):
        rs.apply_edit(network, tmp_path / "other.npz")


@pytest.mark.parametrize("index", [[-1, 0], [0], [0, 0, 0], [99, 0]])
def test_entries_outside_their_tensor_are_refused(index: list[int]) -> None:
    network = NETWORKS["dense"]
    content = json.loads(some_edit(network).to_json())
    content["tensors"][0]["entries"][0]["index"] = index
    with pytest.raises(EditError):
        Delta.from_json(json.dumps(content), network)


def test_an_entry_that_stands_twice_is_refused(tmp_path: Path) -> None:
    network = NETWORKS["dense"]
    text = some_edit(network).to_json()
    twice = text.replace('"new": ', '"new": 0.0, "new": ', 1)
    assert twice != text
    with pytest.raises(EditError, match="entry 'new' more than once"):
        Delta.from_json(twice, network)
    (tmp_path / "change.json").write_text(twice)
    with pytest.raises(EditError, match="entry 'new' more than once"):
        rs.apply_edit(network, tmp_path / "change.json")
    with pytest.raises(EditError, match="entry 'gates' more than once"):
        Gates.from_json('{"format": "repairsolver-gates", "version": 1, "gates": [], "gates": []}')


def test_apply_on_the_command_line(tmp_path: Path) -> None:
    network = NETWORKS["dense"]
    edit = some_edit(network)
    rs.save_network(network, tmp_path / "net.onnx")
    original = rs.load_network(tmp_path / "net.onnx")
    edit = Delta(edit.changes, original.sha256)
    edit.save(tmp_path / "change.npz")
    files = [str(tmp_path / name) for name in ("net.onnx", "change.npz")]
    done = CliRunner().invoke(app, ["apply", *files, "-o", str(tmp_path / "out.onnx")])
    lines = done.stdout.splitlines()
    assert (done.exit_code, lines[0]) == (0, "applied")
    assert "-> " in lines[1]
    assert len(lines) <= 13
    assert rs.load_network(tmp_path / "out.onnx").sha256 == edit.apply(original).sha256
    wrong = CliRunner().invoke(app, ["apply", *files, "-o", files[0]])
    assert wrong.exit_code == 1
    assert "would overwrite" in wrong.stderr


def test_choices_as_text() -> None:
    assert chosen_neurons("3, 7") == [3, 7]
    assert chosen_entries("W2[3,7],b2[0], W2[0,1]") == {"W2": [(3, 7), (0, 1)], "b2": [(0,)]}
    for text in ("", "W2", "W2[3", "W2[3]b2[0]", "W2[a]", "W2[,]"):
        with pytest.raises(EditError, match="such as W2"):
            chosen_entries(text)
    with pytest.raises(EditError, match="such as 3,7"):
        chosen_neurons("3;7")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"a": 1}', "no entry 'format'"),
        ("b.json", "[1, 2", "Expecting ',' delimiter: line 1 column 6"),
        ("c.npz", "no archive", "File is not a zip file"),
    ],
)
def test_other_files_are_named_with_the_next_step(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    message = f"{name}: not a change in .*: {reason}.*; give a file that a repair has written"
    with pytest.raises(EditError, match=message):
        rs.apply_edit(NETWORKS["dense"], tmp_path / name)


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_a_change_of_another_network_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"change.{kind}"
    some_edit(NETWORKS["dense"]).save(path)
    with pytest.raises(EditError, match=rf"change\.{kind}: .* another network, give that one"):
        rs.apply_edit(NETWORKS["convolution"], path)
