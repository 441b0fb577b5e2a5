"""Ctrl-C and SIGTERM on the command line: the best result so far, exit code 130, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from random_networks import dense_network, sample
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.cli.running import terminable
from repairsolver.network import Network
from repairsolver.property import Conjunction, Property, Region

COMMAND = [sys.executable, "-m", "repairsolver.cli.main"]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A network and a property that take input splitting for ever, as files."""
    folder = tmp_path_factory.mktemp("hard")
    network = dense_network(5, [6, 60, 60, 60, 60, 2])
    prop = nearly_violated(network)
    rs.save_network(network, folder / "net.onnx")
    rs.save_property(prop, folder / "prop.vnnlib")
    return str(folder / "net.onnx"), str(folder / "prop.vnnlib")


def nearly_violated(network: Network) -> Property:
    lower, upper = -np.full(6, 0.97), np.full(6, 1.01)
    least = network(sample(np.random.default_rng(0), lower, upper, 20000)).min(axis=0)
    unsafe = Conjunction(np.eye(2)[:1], np.zeros((1, 6)), least[:1] - 2.0)
    return Property((Region(lower, upper, (unsafe,)),), 6, 2)


def interrupted(arguments: list[str], kind: int, sign: str) -> tuple[int, str, str]:
    """Run the program, send a signal once stderr shows a sign of progress; exit code, stdout, stderr."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if sign in line:
            break
    process.send_signal(kind)
    out, rest = process.communicate(timeout=60)
    return process.returncode, out, seen + rest


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_result_so_far_is_printed_and_a_tree_continues(
    hard: tuple[str, str], kind: int, tmp_path: Path
) -> None:
    tree = tmp_path / "t.tree"
    command = ["verify", *hard, "--tree", str(tree)]
    code, out, err = interrupted(command, kind, "examined")
    assert code == 130
    assert out.splitlines()[0] == "timeout"
    assert "Interrupted before it was decided." in out
    assert str(tree) in out
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.part"))
    done = subprocess.run(
        [*COMMAND, *command, "--timeout", "0.5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "timeout"
    assert f"Continued from {tree}" in done.stdout


def test_an_interrupted_object_says_so(hard: tuple[str, str]) -> None:
    code, out, _ = interrupted(["verify", *hard, "--json"], signal.SIGINT, "examined")
    assert code == 130
    assert '"interrupted": true' in out
    assert '"result": "timeout"' in out


@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.6, 1.0])
def test_no_traceback_while_modules_are_loaded(hard: tuple[str, str], after: float) -> None:
    process = subprocess.Popen(
        [*COMMAND, "verify", *hard], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if "init_import_site" in err:
        return  # Python had not started yet: nothing of the program was loaded
    # An exception in a library's own start, which is C++, aborts the process.
    assert process.returncode in (130, -signal.SIGINT, -signal.SIGABRT)
    if process.returncode == 130:
        assert "Traceback" not in err


def test_the_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


DEMO = Path(rs.__file__).parent / "demo"


def test_an_interrupted_repair_gives_the_best_proved_one(tmp_path: Path) -> None:
    """Stopped after its first proof: the file is written, and it has the property."""
    out = tmp_path / "fixed.onnx"
    command = ["repair", str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib"), "-o", str(out)]
    code, text, err = interrupted([*command, "--decision", "min", "--gap", "0"], signal.SIGINT, ": proved")
    assert code == 130
    assert "Traceback" not in err
    assert text.splitlines()[0] == "repaired"
    assert "Interrupted: a smaller repair may exist." in text
    assert rs.verify(out, DEMO / "head_on.vnnlib").status is rs.VerifyStatus.HOLDS


@pytest.mark.parametrize(
    ("method", "stage", "message"),
    [("delta", "solve", "interrupted before a repair was proved"), ("gate", "gate", "interrupted")],
)
def test_a_repair_interrupted_before_a_proof_is_none(method: str, stage: str, message: str) -> None:
    def stop(event: rs.Event) -> None:
        if event.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(rs.Interrupted) as stopped:
        rs.repair(
            DEMO / "controller.onnx", DEMO / "head_on.vnnlib", method=method, decision="min", on_event=stop
        )
    fix = stopped.value.result
    assert isinstance(fix, rs.Repair)
    assert (fix.status, fix.message) == (rs.RepairStatus.TIMEOUT, message)
    assert not fix.proved


@pytest.mark.parametrize("options", [["--worst"], ["--count", "3"]])
def test_an_interrupted_falsification_prints_what_was_found(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof of a bound is one of another property, whose verdict is nobody's answer."""
    for name in ("bound_violation", "diverse"):
        monkeypatch.setattr(f"repairsolver.verification.falsify.{name}", stopped_within)
    told = CliRunner().invoke(
        app, ["falsify", str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib"), *options]
    )
    assert told.exit_code == 130
    assert told.stdout.splitlines()[0] == "sat"
    assert "The property is violated" in told.stdout
    assert ("No bound on the violation was proved" in told.stdout) == (options == ["--worst"])
    with pytest.raises(rs.Interrupted) as stopped:
        rs.falsify(DEMO / "controller.onnx", DEMO / "head_on.vnnlib", count=2)
    assert isinstance(stopped.value.result, rs.Falsification)
    assert len(stopped.value.result.counterexamples) == 2


def stopped_within(*_: object, **__: object) -> None:
    raise rs.Interrupted(rs.VerifyStatus.UNKNOWN)


def test_an_interrupted_imitation_keeps_what_the_round_before_has_learnt() -> None:
    def stop(event: rs.Event) -> None:
        if event.message.startswith("round 1"):
            raise KeyboardInterrupt

    with pytest.raises(rs.Interrupted) as stopped:
        rs.repair(
            DEMO / "controller.onnx",
            DEMO / "head_on.vnnlib",
            method="imitation",
            decision="min",
            imitation=rs.Imitation(samples=500),
            on_event=stop,
        )
    fix = stopped.value.result
    assert isinstance(fix, rs.Repair)
    assert fix.edit is not None
    assert fix.edit.count > 0
    assert fix.message.startswith("interrupted; ")
    assert fix.status is (rs.RepairStatus.REPAIRED if fix.proved else rs.RepairStatus.TIMEOUT)


def test_ctrl_c_during_the_proof_for_a_certificate_keeps_the_repair() -> None:
    seen: list[str] = []

    def stop(event: rs.Event) -> None:
        seen.append(event.stage)
        if event.stage == "split" and "bound" in seen:
            raise KeyboardInterrupt

    options = {"decision": "min", "gap": 0.5, "certificate": True, "on_event": stop}
    with pytest.raises(rs.Interrupted) as stopped:
        rs.repair(DEMO / "controller.onnx", [DEMO / "head_on.vnnlib"] * 2, **options)  # type: ignore[arg-type]
    fix = stopped.value.result
    assert isinstance(fix, rs.Repair)
    assert fix.proved
