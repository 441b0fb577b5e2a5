"""Statements by sampling: right against known probabilities, reproducible, checkable, and never about NaN."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import model
from random_networks import random_network
from sampled_networks import at_least, corner, sum_network, unit
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import CertificateError, SamplingError, SoundnessError
from repairsolver.network import load_network, replay
from repairsolver.property import Conjunction, Property, Region
from repairsolver.sampling import evaluation
from repairsolver.sampling.certificate import read_record
from repairsolver.sampling.part import part_of
from repairsolver.sampling.sampler import sample_property

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"
TWO, CORNER = sum_network(2), at_least(1.8, unit(2))
P = corner(2, 0.2)  # 0.02


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize(("epsilon", "status"), [(0.03, "accepted"), (0.01, "rejected")])
def test_known_probability(sequential, epsilon, status):
    found = rs.sample(TWO, CORNER, epsilon=epsilon, eta=1e-3, sequential=sequential, samples=20_000)
    assert found.status == status
    assert found.lower <= P <= found.upper
    assert found.test == ("sequential" if sequential else "fixed")
    assert sequential == (found.samples < 20_000)
    for example in found.counterexamples:
        output = replay(TWO, example.input[None])[0]
        assert (output == example.output).all()
        assert CORNER.violation(example.input[None], output[None])[0] == example.violation >= 0


def test_near_epsilon_nothing_is_decided():
    found = rs.sample(TWO, CORNER, epsilon=P, eta=1e-3, samples=5000)
    assert (found.status, found.samples) == ("undecided", 5000)
    assert found.lower <= P <= found.upper
    with pytest.raises(CertificateError, match="undecided"):
        found.save("nowhere")


def test_time_is_limited():
    found = rs.sample(TWO, CORNER, epsilon=1e-9, eta=1e-9, sequential=False, limits=rs.Limits(seconds=0.2))
    assert found.status == "undecided"
    assert "time was up" in " ".join(found.notes)
    assert found.seconds < 2
    assert found.lower <= P <= found.upper


def test_same_seed_same_samples_another_network_others():
    first, again, other = (rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01, seed=s) for s in (3, 3, 4))
    assert (first.samples, first.violations) == (again.samples, again.violations)
    assert (first.samples, first.violations) != (other.samples, other.violations)
    shifted = rs.sample(sum_network(2, batch="n"), CORNER, epsilon=0.03, eta=0.01, seed=3)
    assert shifted.network_sha256 != first.network_sha256
    assert not (shifted.counterexamples[0].input == first.counterexamples[0].input).all()


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_ways_of_evaluation_count_alike(batch, element):
    net = sum_network(2, batch=batch, element=element)
    wishes = {"epsilon": 0.03, "eta": 0.01, "sequential": False, "samples": 3000}
    batches, alone = (rs.sample(net, CORNER, **wishes, alone=alone) for alone in (False, True))
    assert batches.violations == alone.violations > 0
    assert batches.alone < 100 < alone.alone == 3000
    assert "in batches" in batches.evaluation
    assert "every sample by itself" in alone.evaluation


def test_only_samples_that_count_are_counted_as_run_by_themselves(tmp_path):
    """A sequential test stops within a batch; what a check has to repeat depends on the count."""
    always = at_least(-1.0, unit(2))
    for alone in (False, True):
        found = rs.sample(TWO, always, epsilon=0.03, eta=0.01, alone=alone)
        assert found.alone == found.samples < 100
        found.save(tmp_path / "some.cert")
        assert read_record(tmp_path / "some.cert")["alone"] is alone
        assert rs.check(tmp_path / "some.cert", network=TWO, property=always).valid


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_count_alike(seed):
    """Every operator, thresholds in the middle: batches and single runs find the same violations."""
    net = random_network(seed, softmax=seed % 4 == 3)
    low, high = -np.ones(net.input_size), np.ones(net.input_size)
    middle = np.median(replay(net, np.random.default_rng(seed).uniform(low, high, (200, len(low))))[:, 0])
    row = np.zeros((1, net.output_size))
    row[0, 0] = 1.0
    unsafe = (Conjunction(row, np.zeros((1, net.input_size)), np.array([middle])),)
    prop = Property((Region(low, high, unsafe),), net.input_size, net.output_size)
    wishes = {"epsilon": 0.5, "eta": 0.01, "sequential": False, "samples": 500}
    batches, alone = (rs.sample(net, prop, **wishes, alone=alone) for alone in (False, True))
    assert batches.violations == alone.violations
    assert 100 < alone.violations <= 500


def test_a_file_that_takes_no_batches_is_computed_by_torch():
    """Its Reshape fixes the batch axis: batches come from the forward pass, ties from the file."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "W"], ["y"])]
    constants = {"s": np.array([1, 2]), "W": np.ones((2, 1), np.float32)}
    net = load_network(model(nodes, (1, 2, 1), constants).SerializeToString())
    found = rs.sample(net, CORNER, epsilon=0.03, eta=0.01)
    assert found.status == "accepted"
    assert found.evaluation.startswith("torch's float32 on cpu in batches")


def test_ties_are_decided_by_the_file():
    """Every sample lies exactly on the threshold, which counts as a violation."""
    prop = at_least(1.0, ([0.25, 0.75], [0.25, 0.75]))
    found = rs.sample(TWO, prop, epsilon=0.5, eta=0.01)
    assert found.status == "rejected"
    assert found.violations == found.samples


def test_batches_that_differ_are_an_alarm(monkeypatch):
    real = evaluation._symbolic

    def off(network, points, reference):
        run = real(network, points, reference)
        calls = []

        def wrong(block):
            calls.append(len(block))
            return run(block) + (1e-3 if len(calls) > 1 else 0)

        return wrong

    monkeypatch.setattr(evaluation, "_symbolic", off)
    with pytest.raises(SoundnessError, match=r"in a batch and by itself differ by 0.001"):
        rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01)


def test_nan_outputs_end_the_sampling():
    """Infinity times 0 is NaN: for most inputs, in batches and alone."""
    nodes = [helper.make_node("Mul", ["x", "big"], ["a"]), helper.make_node("Mul", ["a", "zero"], ["b"]),
             helper.make_node("ReduceSum", ["b", "axes"], ["y"], keepdims=0)]  # fmt: skip
    constants = {
        "big": np.array([3e38], np.float32),
        "zero": np.array([0.0], np.float32),
    }
    constants["axes"] = np.array([1])
    net = load_network(model(nodes, (1, 2), constants).SerializeToString())
    prop = Property(at_least(1.0, ([0.0, 0.0], [10.0, 10.0])).regions, 2, 1)
    with pytest.raises(SamplingError, match=r"its outputs are .*nan.* no statement is made"):
        rs.sample(net, prop, epsilon=0.1, eta=0.1)


def test_overlapping_regions_count_all_that_is_unsafe():
    """Uniform on two boxes with different thresholds: a point of both violates if either says so."""
    low = at_least(0.5, ([0.0], [1.0])).regions[0]
    high = at_least(0.9, ([0.5], [1.5])).regions[0]
    found = sample_property(
        sum_network(1), Property((low, high), 1, 1), epsilon=0.1, eta=1e-3, sequential=False, samples=20_000
    )
    # first box: x >= 0.5; second box: x in [0.5, 1] by the first, [0.9, 1.5] by the second: all of it
    assert found.lower <= 0.75 <= found.upper


def test_nothing_to_sample():
    with pytest.raises(SamplingError, match="it has no region in which anything is unsafe"):
        rs.sample(TWO, Property((), 2, 1), epsilon=0.1, eta=0.1)


@pytest.mark.parametrize("distribution", ["uniform", "truncated-normal"])
@pytest.mark.parametrize("sequential", [True, False])
def test_certificates_are_checked(tmp_path, distribution, sequential):
    wishes = {"epsilon": 0.5, "eta": 0.01, "distribution": distribution, "sequential": sequential, "seed": 2}
    found = rs.sample(NET, PROP, **wishes, samples=500)
    found.save(tmp_path / "s.json")
    answer = rs.check(tmp_path / "s.json", network=NET, property=PROP)
    assert answer.valid, answer.reason
    assert found.claim in answer.reason


def test_points_are_needed_to_check_points(tmp_path):
    given = rs.PointSet(np.random.default_rng(0).random((50, 2)))
    found = rs.sample(TWO, CORNER, epsilon=0.2, eta=0.01, distribution=rs.Points(given, noise=0.05))
    found.save(tmp_path / "s.json")
    answer = rs.check(tmp_path / "s.json", network=TWO, property=CORNER)
    assert "give that file" in answer.reason
    assert rs.check(
        tmp_path / "s.json", network=TWO, property=CORNER, points=replace(given, name="moved")
    ).valid
    others = rs.PointSet(given.inputs[::-1])
    answer = rs.check(tmp_path / "s.json", network=TWO, property=CORNER, points=others)
    assert not answer.valid


def test_functions_have_no_certificate(tmp_path):
    def halves(count, seed):
        return np.random.default_rng(seed).random((count, 2)) / 2

    found = rs.sample(TWO, CORNER, epsilon=0.2, eta=0.01, distribution=halves)
    assert "the user's sampler halves" in found.sentences()[1]
    with pytest.raises(CertificateError, match="could not draw the samples again"):
        found.save(tmp_path / "s.json")


def tampered(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("violations", 0, "states violations 0"),
        ("samples", 900, "it states|states"),
        ("upper", 0.001, "upper bound"),
        ("lower", 0.5, "lower bound"),
        ("status", "rejected", "states status"),
        ("epsilon", 1e-6, "states"),
        ("eta", 1e-9, "states"),
        ("eta", 2.0, "eta: expected"),
        ("seed", 77, "states"),
        ("claim", "P(violation) = 0", "states claim"),
        ("test", "hope", "its test is"),
        ("purpose", "another", "states"),
        ("limit", 1, "more samples than its test may draw"),
        ("network", {"name": "x", "sha256": "0" * 64}, "about another network"),
        ("property", {"name": "x", "sha256": "0" * 64}, "about another property"),
        ("distribution", {"name": "sampler"}, "cannot be drawn"),
        ("distribution", {"name": "truncated-normal", "scale": 0.25, "weights": None, "text": ""},
        "states|names"), ("samples", 10.5, "wrong type"),
        ("samples", True, "wrong type"),
        ("format", "x", "expected format|not a certificate"),
        ("schema", 2, "expected format"),
        ("part", {"boxes": 1}, "damaged"),
    ],
)  # fmt: skip
def test_changed_certificates_are_invalid(tmp_path, entry, value, reason):
    path = tmp_path / "s.json"
    rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01).save(path)
    tampered(path, lambda record: record.__setitem__(entry, value))
    answer = rs.check(path, network=TWO, property=CORNER)
    assert not answer.valid
    import re

    assert re.search(reason, answer.reason, re.IGNORECASE), answer.reason


def test_damaged_files(tmp_path):
    path = tmp_path / "s.json"
    rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01).save(path)
    text = path.read_text()
    path.write_text(text[:-40])
    assert "not a statement" in rs.check(path, network=TWO, property=CORNER).reason
    tampered_text = json.loads(text) | {"more": 1}
    path.write_text(json.dumps(tampered_text, indent=1))
    assert "exactly the entries" in rs.check(path, network=TWO, property=CORNER).reason


def test_an_entry_that_stands_twice_makes_a_certificate_invalid(tmp_path):
    path = tmp_path / "s.json"
    rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01).save(path)
    text = path.read_text()
    assert rs.check(path, network=TWO, property=CORNER).valid
    twice = text.replace('"epsilon": 0.03', '"epsilon": 1e-9, "epsilon": 0.03')
    assert twice != text
    path.write_text(twice)
    answer = rs.check(path, network=TWO, property=CORNER)
    assert not answer.valid
    assert "entry 'epsilon' more than once" in answer.reason


def open_boxes(*boxes):
    low, high = (np.array([box[side] for box in boxes], dtype=float) for side in (0, 1))
    return rs.OpenBoxes(low, high, np.zeros(len(boxes), dtype=np.int64), np.full(len(boxes), -1.0))


def test_a_part_is_sampled_and_the_rest_is_proved(tmp_path):
    """The corner lies in the open box [0.75, 1]^2, 1/16 of the square: P = 0.02 = 0.32 / 16."""
    part = part_of(CORNER, open_boxes(([0.75, 0.75], [1.0, 1.0])))
    assert part.share == pytest.approx(1 / 16)
    found = sample_property(TWO, CORNER, epsilon=0.4, eta=1e-3, part=part)
    assert found.status == "accepted"
    assert found.lower <= 0.32 <= found.upper
    assert found.overall == found.upper / 16
    assert "open box" in found.sentences()[1]
    found.save(tmp_path / "s.json")
    assert rs.check(tmp_path / "s.json", network=TWO, property=CORNER).valid
    tampered(tmp_path / "s.json", lambda record: record["part"].__setitem__("share", 0.01))
    assert "share" in rs.check(tmp_path / "s.json", network=TWO, property=CORNER).reason


def test_open_boxes_of_several_conjunctions_that_overlap(tmp_path):
    """Three boxes hold the corner, 0.02 of the square, and one does not: 0.06 of 3.5."""
    part = part_of(CORNER, open_boxes(*[([0.0, 0.0], [1.0, 1.0])] * 3, ([0.0, 0.0], [0.5, 1.0])))
    assert part.share == pytest.approx(3.5)
    found = sample_property(TWO, CORNER, epsilon=0.1, eta=1e-3, part=part)
    assert found.lower <= 0.06 / 3.5 <= found.upper
    assert found.overall == pytest.approx(3.5 * found.upper)
    assert found.overall >= 0.02
    assert "overlap, 3.5 times the volume together" in found.sentences()[1]
    found.save(tmp_path / "s.json")
    answer = rs.check(tmp_path / "s.json", network=TWO, property=CORNER)
    assert answer.valid
    assert "at most 100.0000% of the volume" in answer.reason


def test_an_open_part_where_regions_overlap_counts_each_of_them():
    """One of two equal boxes is proved, but an input that was drawn from it violates the other's rows."""
    corner = CORNER.regions[0]
    never = rs.Conjunction(np.zeros((1, CORNER.output_size)), np.zeros((1, 2)), np.array([-1.0]))
    both = replace(CORNER, regions=(replace(corner, unsafe=(never,)), corner), text="")
    whole = open_boxes((corner.lower, corner.upper))
    part = part_of(both, rs.OpenBoxes(whole.lower, whole.upper, np.array([1]), whole.bound))
    assert part.share == pytest.approx(1.0)
    everywhere = sample_property(TWO, both, epsilon=0.01, eta=1e-3)
    assert everywhere.status == "rejected"
    found = sample_property(TWO, both, epsilon=0.05, eta=1e-3, part=part)
    assert found.overall >= everywhere.lower


def test_regions_without_anything_unsafe_have_no_share_of_the_volume():
    corner = CORNER.regions[0]
    around = rs.Region(corner.lower - 5, corner.upper + 5, ())
    free = replace(CORNER, regions=(around, corner), text="")
    assert part_of(free, open_boxes((corner.lower, corner.upper))).share == pytest.approx(1.0)


def test_boxes_of_a_part_stay_in_their_regions(tmp_path):
    part = part_of(CORNER, open_boxes(([0.75, 0.75], [1.0, 2.0])))
    found = sample_property(TWO, CORNER, epsilon=0.9, eta=1e-3, part=part)
    found.save(tmp_path / "s.json")
    answer = rs.check(tmp_path / "s.json", network=TWO, property=CORNER)
    assert "does not lie in the property's regions" in answer.reason


def test_what_a_proof_leaves_open_is_sampled(tmp_path):
    """Few boxes are examined in a moment: some are proved, the rest is sampled."""
    net = rs.load_network(NET)
    low, high = [-1.0] * 4, [1.0] * 4
    hard = rs.output_range(low, high, output=0, outputs=5, at_most=1.6)
    found = rs.sample(net, hard, epsilon=0.01, eta=1e-3, prove=0.4)
    assert found.status == "accepted"
    assert found.part is None or 0 < found.part.share <= 1
    easy = rs.output_range(low, high, output=0, outputs=5, at_most=1e4)
    found = rs.sample(net, easy, epsilon=0.01, eta=1e-3, prove=10)
    assert (found.test, found.samples, found.claim) == ("proof", 0, "P(violation) = 0, proved")
    assert "nothing was sampled" in found.sentences()[0]
    with pytest.raises(CertificateError, match="verify --certificate"):
        found.save(tmp_path / "s.json")
    wrong = rs.output_range(low, high, output=0, outputs=5, at_most=0.0)
    found = rs.sample(net, wrong, epsilon=0.01, eta=1e-3, prove=10)
    assert found.status == "rejected"
    assert "An attack found an input" in found.sentences()[-1]
    with pytest.raises(SamplingError, match="leave the distribution out"):
        rs.sample(net, hard, epsilon=0.01, eta=1e-3, prove=1, distribution="truncated-normal")
    with pytest.raises(SamplingError, match="prove: expected"):
        rs.sample(net, hard, epsilon=0.01, eta=1e-3, prove=0)


def test_statements_speak_for_themselves():
    found = rs.sample(TWO, CORNER, epsilon=0.03, eta=0.01)
    assert repr(found).startswith("<Statement accepted: P(violation) <= 0.03 with confidence 0.99; ")
    assert found.samples_per_minute > 0
    assert found.estimate == found.violations / found.samples
    with pytest.raises(TypeError, match="no truth value"):
        bool(found)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_command_line(tmp_path):
    path = tmp_path / "s.json"
    done = invoke("sample", NET, PROP, "--epsilon", 0.5, "--eta", 0.01, "--quiet", "--certificate", path)
    assert done.exit_code == 0
    word, first, *_ = done.stdout.splitlines()
    assert word == "accepted"
    assert first.startswith("P(violation) <= 0.5 with confidence 0.99: ")
    done = invoke("check", path, "--network", NET, "--property", PROP)
    assert done.stdout.splitlines()[0] == "valid"


def test_the_folder_of_a_certificate_is_made(tmp_path):
    path = tmp_path / "new" / "s.json"
    done = invoke("sample", NET, PROP, "--epsilon", 0.5, "--eta", 0.01, "--quiet", "--certificate", path)
    assert done.exit_code == 0
    assert path.exists()


def test_command_line_json_and_options(tmp_path):
    points = tmp_path / "p.csv"
    region = rs.load_property(PROP).regions[0]
    points.write_text(",".join(map(str, (region.lower + region.upper) / 2)) + "\n")
    options = ["--epsilon", 0.5, "--eta", 0.1, "--quiet", "--json", "--fixed", "--alone"]
    done = invoke("sample", NET, PROP, *options, "--distribution", "points", "--points", points)
    record = json.loads(done.stdout)
    assert record["result"] in ("accepted", "rejected", "undecided")
    assert record["test"] == "fixed"
    assert record["distribution"]["name"] == "points"


def test_levels_have_the_defaults_of_repairs_by_samples():
    record = json.loads(invoke("sample", NET, PROP, "--quiet", "--json").stdout)
    assert (record["epsilon"], record["eta"]) == (1e-3, 1e-3)
    wishes = inspect.signature(rs.repair).parameters
    assert [wishes[name].default for name in ("epsilon", "eta")] == [1e-3, 1e-3]
    record = json.loads(invoke("sample", NET, PROP, "--eta", 0.5, "--quiet", "--json").stdout)
    assert (record["epsilon"], record["eta"]) == (1e-3, 0.5)
    assert "P(violation) > 0.001 with confidence 0.999" in invoke("sample", NET, PROP, "--quiet").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon", "0", "--eta", "0.1"], "epsilon: expected a number strictly between 0 and 1, got 0.0"),
        (["--epsilon", "0.1", "--eta", "1"], "eta: expected"),
        (["--epsilon", "0.1", "--eta", "0.1", "--distribution", "points"], "go together"),
        (["--epsilon", "0.1", "--eta", "0.1", "--noise", "1"], "--noise is of"),
        (["--epsilon", "0.1", "--eta", "0.1", "--scale", "1"], "--scale is of"),
        (["--epsilon", "0.1", "--eta", "nan"], "eta: expected"),
    ],
)
def test_command_line_errors(options, message):
    done = invoke("sample", NET, PROP, *options)
    assert done.exit_code == 1
    assert message in done.stderr


def test_ctrl_c_gives_the_statement_so_far():
    demo = Path(rs.__file__).parent / "demo"

    def stop(event):
        if event.numbers["samples"] >= 1000:
            raise KeyboardInterrupt

    with pytest.raises(rs.Interrupted) as stopped:
        rs.sample(demo / "controller.onnx", demo / "head_on.vnnlib", epsilon=1e-9, eta=0.01,
                  sequential=False, on_event=stop)  # fmt: skip
    statement = stopped.value.result
    assert statement.status == "undecided"
    assert statement.samples >= 1000
    assert 0 <= statement.lower <= statement.upper <= 1
    assert "Interrupted" in statement.notes[0]


def test_ctrl_c_on_the_command_line(monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from repairsolver.cli.main import app
    from repairsolver.sampling import sampler

    whole = sampler.count

    def cut(test, source, evaluator, tally, late, say):
        whole(sampler.Fixed(0.5, 0.5, 2000), source, evaluator, tally, late, say)
        raise KeyboardInterrupt

    monkeypatch.setattr(sampler, "count", cut)
    demo = Path(rs.__file__).parent / "demo"
    names = [str(demo / "controller.onnx"), str(demo / "head_on.vnnlib")]
    options = ["--epsilon", "1e-6", "--eta", "0.01", "--certificate", str(tmp_path / "s.json")]
    result = CliRunner().invoke(app, ["sample", *names, *options])
    assert result.exit_code == 130, result.output
    assert result.stdout.startswith("undecided")
    assert "No certificate was written" in result.stdout
    assert not (tmp_path / "s.json").exists()
