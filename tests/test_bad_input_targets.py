"""Paths to write to that must be refused, before any work and without harm to what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_models import model
from typer.testing import CliRunner

from repairsolver import Property, load_network, output_range, save_network, save_property
from repairsolver.cli.main import app
from repairsolver.errors import EditError, PropertyError
from repairsolver.network import Network
from repairsolver.report.files import check_output
from repairsolver.targets import file_target

WEIGHT = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    node = helper.make_node("Gemm", ["x", "W", "b"], ["y"])
    return load_network(
        model([node], (1, 2), {"W": WEIGHT, "b": np.float32([0.1, -0.2])}).SerializeToString()
    )


@pytest.fixture
def prop() -> Property:
    return output_range([0, 0], [1, 1], 0, 2, at_most=1.0)


def test_a_pipe_is_never_replaced(network: Network, prop: Property, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    for write in (lambda: save_network(network, pipe), lambda: save_property(prop, pipe)):
        with pytest.raises((OSError, PropertyError), match="pipe, which is not replaced"):
            write()
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe.onnx"]


def test_the_null_device_is_refused() -> None:
    with pytest.raises(OSError, match="/dev/null: is a device"):
        file_target(os.devnull)


def test_a_link_is_followed(network: Network, tmp_path: Path) -> None:
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    save_network(network, tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "real.onnx").read_bytes() == network.model


def test_folders_and_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a folder"):
        file_target(tmp_path)
    with pytest.raises(OSError, match="is not a folder"):
        file_target(tmp_path / "file" / "net.onnx")
    assert file_target(tmp_path / "new" / "net.onnx") == (tmp_path / "new" / "net.onnx").resolve()


@pytest.mark.parametrize("name", ["r", "r.onnx.gz", "r.nnet", "r.delta.json", ""])
def test_a_repair_is_only_written_as_onnx(name: str, tmp_path: Path) -> None:
    with pytest.raises(EditError, match=r"ends in \.onnx"):
        check_output(tmp_path / name)


def test_the_change_needs_a_place_too(tmp_path: Path) -> None:
    (tmp_path / "r.delta.json").mkdir()
    with pytest.raises(OSError, match="is a folder"):
        check_output(tmp_path / "r.onnx")


def test_the_inputs_of_a_repair_are_not_overwritten(network: Network, prop: Property, tmp_path: Path) -> None:
    net, rule = tmp_path / "net.onnx", tmp_path / "prop.vnnlib"
    save_network(network, net)
    save_property(prop, rule)
    (tmp_path / "alias.onnx").symlink_to(net)
    for out in (net, tmp_path / "alias.onnx", tmp_path / "x" / ".." / "net.onnx"):
        result = CliRunner().invoke(app, ["repair", str(net), str(rule), "--out", str(out)])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "would overwrite" in result.stderr
    assert net.read_bytes() == network.model


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_certificates_are_refused_before_the_work(
    command: str, network: Network, prop: Property, tmp_path: Path
) -> None:
    net, rule = tmp_path / "net.onnx", tmp_path / "prop.vnnlib"
    save_network(network, net)
    save_property(prop, rule)
    more = ["--out", str(tmp_path / "r.onnx")] if command == "repair" else []
    result = CliRunner().invoke(app, [command, str(net), str(rule), *more, "--certificate", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is a folder" in result.stderr


@pytest.mark.parametrize(
    ("command", "option", "over"),
    [
        ("verify", "--certificate", "net.onnx"),
        ("verify", "--certificate", "prop.vnnlib"),
        ("verify", "--certificate", "alias"),
        ("repair", "--certificate", "net.onnx"),
        ("repair", "--certificate", "r.onnx"),
        ("repair", "--certificate", "r.delta.json"),
        ("sample", "--certificate", "net.onnx"),
    ],
)
def test_no_option_overwrites_another_file_of_the_call(
    command: str, option: str, over: str, prop: Property, network: Network, tmp_path: Path
) -> None:
    """The property holds, so that there would be a certificate to write."""
    net, rule, safe = tmp_path / "net.onnx", tmp_path / "prop.vnnlib", replace_bound(prop)
    save_network(network, net)
    save_property(safe, rule)
    (tmp_path / "alias").symlink_to(net)
    before = rule.read_bytes()
    statement = ["--epsilon", "0.1", "--eta", "0.1"]
    more = {"repair": ["--out", str(tmp_path / "r.onnx")], "sample": statement}.get(command, [])
    result = CliRunner().invoke(app, [command, str(net), str(rule), *more, option, str(tmp_path / over)])
    assert (result.exit_code, result.stdout) == (1, ""), result.stderr
    assert "would overwrite" in result.stderr
    assert (net.read_bytes(), rule.read_bytes()) == (network.model, before)
    assert not (tmp_path / "r.onnx").exists()


def test_a_certificate_and_a_tree_are_two_files(network: Network, prop: Property, tmp_path: Path) -> None:
    net, rule, both = tmp_path / "net.onnx", tmp_path / "prop.vnnlib", str(tmp_path / "both")
    save_network(network, net)
    save_property(prop, rule)
    result = CliRunner().invoke(app, ["verify", str(net), str(rule), "--certificate", both, "--tree", both])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "would overwrite" in result.stderr


def test_a_model_is_not_replaced_by_its_repair(network: Network, tmp_path: Path) -> None:
    net = tmp_path / "net.onnx"
    save_network(network, net)
    result = CliRunner().invoke(app, ["architecture", str(net), "-o", str(net)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "would overwrite" in result.stderr


def test_the_folder_of_a_certificate_is_made(network: Network, prop: Property, tmp_path: Path) -> None:
    net, rule, proof = tmp_path / "net.onnx", tmp_path / "prop.vnnlib", tmp_path / "new" / "proof.cert"
    save_network(network, net)
    save_property(replace_bound(prop), rule)
    result = CliRunner().invoke(app, ["verify", str(net), str(rule), "--certificate", str(proof)])
    assert result.exit_code == 0, result.stderr
    checked = ["check", str(proof), "--network", str(net), "--property", str(rule)]
    assert CliRunner().invoke(app, checked).stdout.startswith("valid")


def replace_bound(prop: Property) -> Property:
    """The same box, and a threshold that the network keeps."""
    box = prop.regions[0]
    return output_range(box.lower, box.upper, 0, 2, at_most=100.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_one_message() -> None:
    command = [sys.executable, "-m", "repairsolver.cli.main", "--version"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the answer cannot be written to stdout")
    assert result.stderr.count("\n") == 1
