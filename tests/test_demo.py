"""The demo: its cost model, its files, the training that makes them, and the story end to end."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

import repairsolver as rs
from repairsolver.demo import encounter, train
from repairsolver.demo.story import tell

DEMO = Path(rs.__file__).parent / "demo"


def violations(net: rs.Network, prop: rs.Property, samples: int = 200_000) -> float:
    """Share of the property's box where the network is wrong."""
    box = prop.regions[0]
    points = np.random.default_rng(5).uniform(box.lower, box.upper, (samples, 4))
    return float((prop.violation(points, rs.replay(net, points)) >= 0).mean())


def simulated(state: np.ndarray, rate: float) -> float:
    """The closest approach by small Euler steps."""
    distance, bearing, heading, speed = state[0], *np.deg2rad(state[1:3]), state[3]
    steps, course, own = 40_000, 0.0, np.zeros(2)
    other = distance * np.array([np.cos(bearing), np.sin(bearing)])
    step, least = encounter.HORIZON / steps, np.inf
    for number in range(steps + 1):
        if number % round(encounter.STEP / step) == 0:
            least = min(least, float(np.linalg.norm(other - own)))
        own = own + step * encounter.OWN_SPEED * np.array([np.cos(course), np.sin(course)])
        other = other + step * speed * np.array([np.cos(heading), np.sin(heading)])
        course += rate * step
    return least


@pytest.mark.parametrize("advisory", [0, 2, 3])
def test_closest_approach_is_that_of_a_simulation(advisory: int) -> None:
    state = np.array([3000.0, 20.0, 200.0, 120.0])
    expected = simulated(state, float(encounter.TURN_RATES[advisory]))
    assert encounter.closest_approach(state[None])[0, advisory] == pytest.approx(expected, rel=1e-3)


def test_costs_mirror_left_and_right() -> None:
    states = np.random.default_rng(0).uniform([500, -120, 0, 50], [5500, 120, 360, 250], (50, 4))
    mirrored = states * [1, -1, -1, 1] + [0, 0, 360, 0]
    assert np.allclose(encounter.costs(mirrored), encounter.costs(states)[:, [0, 2, 1, 4, 3]])


def test_scaling_is_inverted() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (20, 4))
    assert np.allclose(encounter.normalised(encounter.physical(points)), points)


def test_the_cost_model_obeys_the_property_in_the_whole_box() -> None:
    ends = zip(train.LOWER, train.UPPER, strict=True)
    grid = np.stack(np.meshgrid(*[np.linspace(low, high, 13) for low, high in ends]), axis=-1).reshape(-1, 4)
    costs = encounter.costs(grid)
    assert (costs[:, 0] > costs[:, 1:].min(axis=1)).all()


def test_the_property_file_is_what_the_script_writes() -> None:
    assert (DEMO / "head_on.vnnlib").read_text() == train.property_text()
    box = rs.load_property(DEMO / "head_on.vnnlib").regions[0]
    assert np.allclose(encounter.physical(np.stack([box.lower, box.upper])), [train.LOWER, train.UPPER])


def test_the_bundled_network_says_what_it_is_and_violates_the_property() -> None:
    model = onnx.load(DEMO / "controller.onnx")
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["outputs"] == ", ".join(encounter.ADVISORIES)
    assert all(f"{q.name} [{q.unit}]" in notes["inputs"] for q in encounter.QUANTITIES)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    net = rs.load_network(DEMO / "controller.onnx")
    share = violations(net, rs.load_property(DEMO / "head_on.vnnlib", network=net))
    assert 0.0005 < share < 0.02


def test_the_bundled_network_follows_the_cost_model() -> None:
    net = rs.load_network(DEMO / "controller.onnx")
    points = np.random.default_rng(6).uniform(-1, 1, (20_000, 4))
    wanted = encounter.costs(encounter.physical(points)).argmin(axis=1)
    assert (net(points).argmin(axis=1) == wanted).mean() > 0.94


def test_training_again_violates_the_property_again(tmp_path: Path) -> None:
    train.main(["--out", str(tmp_path)])
    net = rs.load_network(tmp_path / "controller.onnx")
    share = violations(net, rs.load_property(tmp_path / "head_on.vnnlib", network=net))
    assert 0.0 < share < 0.05


def test_the_story(tmp_path: Path) -> None:
    page = io.StringIO()
    tell(tmp_path, console=Console(file=page, width=100, highlight=False))
    text = page.getvalue()
    assert text.index("sat") < text.index("repaired") < text.index("unsat") < text.index("Same decision")
    assert (tmp_path / "decisions.png").read_bytes().startswith(b"\x89PNG")
    net, fixed = (rs.load_network(tmp_path / name) for name in ("controller.onnx", "repaired.onnx"))
    prop = rs.load_property(tmp_path / "head_on.vnnlib")
    assert violations(net, prop) > 0
    assert violations(fixed, prop) == 0
    assert json.loads((tmp_path / "repaired.delta.json").read_text())["tensors"]
    kept = rs.fidelity(net, fixed, -np.ones(4), np.ones(4), decision="min", samples=20_000).agreement
    assert kept is not None
    assert kept.value > 0.97


def test_the_demo_runs_as_a_program_from_any_folder(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("repairsolver")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, "demo", "--quiet"], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unsat" in done.stdout
    assert (tmp_path / "repairsolver-demo" / "repaired.onnx").exists()
