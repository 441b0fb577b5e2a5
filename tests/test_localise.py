"""Responsible neurons: a planted one is found by every measure; pictures and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from random_networks import dense_network
from test_imitation_points import SMALL, half_wrong
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.baselines.care import care_repaired, causal_effects
from repairsolver.cli.main import app
from repairsolver.errors import EditError, PointSetError
from repairsolver.network import Network
from repairsolver.network.forward import activations
from repairsolver.property import save_property
from repairsolver.repairing.imitation import method
from repairsolver.repairing.imitation.behaviour import collect
from repairsolver.repairing.imitation.options import MEASURES
from repairsolver.repairing.imitation.writing import with_layers
from repairsolver.report.localisation import draw


def planted() -> Network:
    """Output 0 is 1 minus neuron 4 of the hidden layer; the others hardly matter."""
    network = dense_network(3, (2, 6, 2))
    first, last = network.affine_layers
    weight = 0.01 * np.ones((2, 6))
    weight[0, 4] = -1.0
    hidden = 0.05 * np.ones((6, 2))
    hidden[4] = 2.0, 1.0
    return with_layers(
        network,
        {first.name: (hidden, np.full(6, 0.1)), last.name: (weight, np.array([1.0, 0.0]))},
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_a_planted_neuron_is_found(measure: str) -> None:
    network = planted()
    found = rs.localise(network, half_wrong(network, 0.3), measure=measure, samples=500)
    hidden = [n for n in found.ranked() if n.layer == network.affine_layers[0].layer]
    assert hidden[0].index == 4
    assert len(found.ranked()) == 8
    assert sum(len(index) for index in found.chosen(3).values()) == 3


def test_the_difference_is_that_of_the_means() -> None:
    network = dense_network(3, (2, 6, 2), "Tanh")
    prop = half_wrong(network)
    points = collect(network, prop, None, None, SMALL, decision="max", seed=0)
    found = rs.localise(
        network, prop, measure="difference",
        negatives=rs.PointSet(points.negatives), positives=rs.PointSet(points.positives),
    )  # fmt: skip
    good, bad = activations(network, points.positives), activations(network, points.negatives)
    for layer in found.layers:
        expected = np.abs(good[layer.tensor].mean(axis=0) - bad[layer.tensor].mean(axis=0))
        assert layer.responsibility == pytest.approx(expected)


def test_pictures(tmp_path: Path) -> None:
    network = planted()
    found = rs.localise(network, half_wrong(network, 0.3), samples=200)
    for name in ("map.svg", "map.png"):
        draw(found, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(EditError, match=r"ends in \.svg"):
        draw(found, tmp_path / "map.txt")


def test_the_command(tmp_path: Path) -> None:
    network = planted()
    rs.save_network(network, tmp_path / "net.onnx")
    save_property(half_wrong(network, 0.3), tmp_path / "prop.vnnlib")
    arguments = ["localise", str(tmp_path / "net.onnx"), str(tmp_path / "prop.vnnlib")]
    shown = CliRunner().invoke(app, [*arguments, "-k", "3", "--picture", str(tmp_path / "map.svg")])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[0] == "localised"
    assert (tmp_path / "map.svg").exists()
    record = json.loads(CliRunner().invoke(app, [*arguments, "--json", "-q"]).stdout)
    assert record["result"] == "localised"
    assert record["network_sha256"] == network.sha256
    assert len(record["ranking"]) == 8


def test_nothing_is_responsible_without_a_violation() -> None:
    network = planted()
    with pytest.raises(PointSetError, match="falsify"):
        rs.localise(network, _safe(network), samples=100)


def _safe(network: Network) -> rs.Property:
    from dataclasses import replace

    prop = half_wrong(network)
    never = replace(prop.regions[0].unsafe[0], bound=np.array([-1e6]))
    return replace(prop, regions=(replace(prop.regions[0], unsafe=(never,)),))


def test_the_repair_command_says_that_nothing_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = rs.Verdict(rs.VerifyStatus.TIMEOUT, methods=("attack",))
    monkeypatch.setattr(method, "verify_property", lambda *given, **options: late)
    demo = Path(rs.__file__).parent / "demo"
    out = tmp_path / "out.onnx"
    net, prop = str(demo / "controller.onnx"), str(demo / "head_on.vnnlib")
    command = ["repair", net, prop, "-o", str(out), "--method", "imitation", "--decision", "min", "-q"]
    done = CliRunner().invoke(
        app, [*command, "--variant", "tune", "--optimiser", "gradient", "--timeout", "4"]
    )
    assert done.exit_code == 124, done.output
    assert done.stdout.splitlines()[0] == "timeout"
    assert "NOT proved" in done.stdout
    assert out.exists()
    wrong = CliRunner().invoke(app, ["repair", net, prop, "-o", str(out), "--prove"])
    assert wrong.exit_code == 1
    assert "only for --method imitation" in " ".join(wrong.stderr.split())


def test_causal_effects_by_hand() -> None:
    """Holding neuron v at b moves the violation by w (b - h): its effect is |w| times a mean deviation."""
    network = planted()
    prop = half_wrong(network, 0.3)
    points = collect(network, prop, None, None, SMALL, decision="max", seed=0)
    affine, tensor = network.affine_layers[0], [n.name for n in network.nodes][1]
    found = causal_effects(network, points, tensor)
    hidden = activations(network, points.negatives[:1000])[tensor]
    weight = np.abs(network.affine_layers[1].operator.weight[0])
    grid = np.linspace(hidden.min(axis=0), hidden.max(axis=0), 16)
    expected = weight * np.abs(grid - grid.mean(axis=0)).mean(axis=0)
    assert affine.size == 6
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_care_mends_the_planted_neuron() -> None:
    network = planted()
    prop = half_wrong(network, 0.3)
    points = collect(network, prop, None, None, SMALL, decision="max", seed=0)
    changed = care_repaired(network, points, neurons=2, seed=1)
    assert (prop.violation(points.negatives, rs.replay(changed, points.negatives)) < 0).mean() > 0.9
    again = care_repaired(network, points, neurons=2, seed=1)
    assert again.sha256 == changed.sha256
