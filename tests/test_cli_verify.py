"""`repairsolver verify`: what goes to stdout and stderr, exit codes, both forms of the command line."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import SoundnessError

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib")

FOUND = rs.Counterexample(np.array([0.1, 0.2, 0.3, 0.4]), np.arange(5.0), 0.25)
VIOLATED = rs.Verdict(
    rs.VerifyStatus.VIOLATED, FOUND, (FOUND,), methods=("attack",), seconds=0.5, best_bound=float("-inf")
)
HOLDS = rs.Verdict(rs.VerifyStatus.HOLDS, methods=("input splitting",), boxes=12, best_bound=0.1)

Answer = Callable[..., rs.Verdict]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", *arguments], catch_exceptions=False)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], dict[str, Any]]:
    """Replaces the verification engine; returns what it was called with."""

    def install(answer: Answer) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def verify_property(network: rs.Network, prop: rs.Property, **options: Any) -> rs.Verdict:
            seen.update(options, network=network, prop=prop)
            return answer(**options)

        module = ModuleType("repairsolver.verification.engine")
        module.verify_property = verify_property  # type: ignore[attr-defined]
        # What is loaded later must find the real one.
        importlib.import_module("repairsolver.report.sentences")
        monkeypatch.setitem(sys.modules, "repairsolver.verification.engine", module)
        return seen

    return install


@pytest.mark.parametrize(
    ("verdict", "word", "sentence"),
    [
        (HOLDS, "unsat", "holds for every input"),
        (VIOLATED, "sat", "is violated"),
        (rs.Verdict(rs.VerifyStatus.UNKNOWN, proved_volume=0.5, best_bound=-0.1), "unknown", "50.00% of"),
        (rs.Verdict(rs.VerifyStatus.TIMEOUT, methods=("attack",)), "timeout", "tried attack"),
    ],
)
def test_first_line_is_the_word_and_exit_code_0(engine: Any, verdict: Any, word: str, sentence: str) -> None:
    engine(lambda **_: verdict)
    done = invoke(NET, PROP)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == word
    assert sentence in done.stdout
    assert done.stderr == ""


def test_sat_is_followed_by_the_assignment(engine: Any) -> None:
    engine(lambda **_: VIOLATED)
    lines = invoke(NET, PROP).stdout.splitlines()
    assert lines[1:5] == ["((X_0 0.1)", " (X_1 0.2)", " (X_2 0.3)", " (X_3 0.4)"]
    assert lines[9] == " (Y_4 4.0))"


def test_json_is_one_strict_object(engine: Any) -> None:
    engine(lambda **_: VIOLATED)
    done = invoke(NET, PROP, "--json")
    record = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(name))
    assert done.stdout.count("\n") == 1
    assert record["result"] == "sat"
    assert record["status"] == "violated"
    assert record["counterexample"]["input"] == [0.1, 0.2, 0.3, 0.4]
    assert record["best_bound"] is None
    assert record["network"]["sha256"] == rs.load_network(NET).sha256
    assert record["property"]["sha256"] == rs.load_property(PROP).sha256


def test_options_reach_the_engine(engine: Any) -> None:
    seen = engine(lambda **_: HOLDS)
    invoke(NET, PROP, "--timeout", "2.5", "--seed", "7", "--device", "cpu:0")
    assert seen["limits"] == rs.Limits(seconds=2.5)
    assert (seen["seed"], seen["device"]) == (7, "cpu:0")


def test_memory_and_tree_reach_the_engine(engine: Any, tmp_path: Path) -> None:
    seen = engine(lambda **_: HOLDS)
    invoke(NET, PROP, "--memory", "0.5", "--tree", str(tmp_path / "t"))
    assert seen["limits"] == rs.Limits(memory_gb=0.5)
    assert seen["tree"] == tmp_path / "t"


def test_an_interrupted_verdict_is_printed_and_exits_with_130(engine: Any) -> None:
    opened = rs.OpenBoxes(
        np.zeros((2, 4)), np.ones((2, 4)), np.zeros(2, dtype=np.int64), np.array([-2.0, -1.0])
    )
    reached = rs.Verdict(
        rs.VerifyStatus.TIMEOUT, proved_volume=0.25, open_boxes=opened, interrupted=True, notes=("A note.",)
    )

    def stop(**_: Any) -> rs.Verdict:
        raise rs.Interrupted(reached)

    engine(stop)
    done = invoke(NET, PROP)
    assert done.exit_code == 130
    assert done.stdout.splitlines()[0] == "timeout"
    assert "Interrupted before it was decided." in done.stdout
    assert "proved on 25.00% of the input volume; 2 boxes left" in done.stdout
    assert done.stdout.endswith("A note.\n")
    record = json.loads(invoke(NET, PROP, "--json").stdout)
    assert record["open_boxes"] == {"count": 2, "least_bound": -2.0}
    assert record["interrupted"] is True


def test_the_form_of_vnnlib_2(engine: Any) -> None:
    seen = engine(lambda **_: HOLDS)
    done = invoke(PROP, "--network", f"N={NET}")
    assert done.stdout.splitlines()[0] == "unsat"
    assert seen["network"].sha256 == rs.load_network(NET).sha256


def test_a_network_of_another_name_than_declared_is_refused(engine: Any, tmp_path: Path) -> None:
    engine(lambda **_: HOLDS)
    prop = tmp_path / "p.vnnlib"
    bounds = "".join(f"(assert (and (>= X[0,{i}] 0.0) (<= X[0,{i}] 1.0)))" for i in range(4))
    prop.write_text(
        "(vnnlib-version <2.0>)(declare-network N (declare-input X float32 [1,4])"
        f"(declare-output Y float32 [1,5])){bounds}(assert (<= Y[0,0] 0.0))"
    )
    assert invoke(str(prop), "--network", f"N={NET}").stdout.startswith("unsat")
    done = invoke(str(prop), "--network", f"M={NET}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "called N, but --network gives one called M" in done.stderr


def test_a_device_that_is_not_there_is_an_error() -> None:
    done = invoke(NET, PROP, "--device", "abacus")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "device 'abacus' cannot be used here" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (NET,),
        (NET, PROP, "--network", f"N={NET}"),
        (PROP, "--network", NET),
        (PROP, "--network", "=x"),
        (NET, PROP, "--timeout", "0"),
        (NET, PROP, "--tiemout", "1"),
        (),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage" in done.stderr


@pytest.mark.parametrize("arguments", [("nowhere.onnx", PROP), (NET, "nowhere.vnnlib"), (PROP, NET)])
def test_bad_files_exit_with_1_and_one_message(arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = invoke("nowhere.onnx", PROP, "--debug")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr


def test_soundness_alarm_exits_with_3(engine: Any) -> None:
    def contradict(**_: Any) -> rs.Verdict:
        raise SoundnessError("the replay contradicts [the proof]")

    engine(contradict)
    done = invoke(NET, PROP)
    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr == "soundness alarm: the replay contradicts [the proof]\n"


def events(on_event: Any, **_: Any) -> rs.Verdict:
    for i in range(50):
        on_event(rs.Event("split", f"round {i}", i / 10, {"proved_volume": i / 50}))
    return HOLDS


def test_progress_goes_to_stderr_as_few_plain_lines(engine: Any) -> None:
    engine(events)
    done = invoke(NET, PROP)
    assert done.stdout.splitlines()[0] == "unsat"
    assert done.stderr.splitlines() == ["[    0.00 s] split: round 0"]


def test_quiet_shows_no_progress(engine: Any) -> None:
    engine(events)
    assert invoke(NET, PROP, "--quiet").stderr == ""


def test_interrupt_says_what_was_reached_and_exits_with_130(engine: Any) -> None:
    def interrupted(**options: Any) -> rs.Verdict:
        events(**options)
        raise KeyboardInterrupt

    engine(interrupted)
    done = invoke(NET, PROP, "--quiet")
    assert done.exit_code == 130
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["interrupted; reached:", "[    4.90 s] split: round 49"]


def test_the_programs_own_options() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).stdout == f"repairsolver {rs.__version__}\n"
    assert "verify" in runner.invoke(app, ["--help"]).stdout
    assert runner.invoke(app, ["verfiy"]).exit_code == 2
