"""Claims about float32 executions: no execution leaves the bounds, and no claim is made for other files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from certificate_mutants import Statement, loosened, rewired, statements
from float32_runs import WAYS, execute, total
from onnx import TensorProto, helper
from onnx_models import model, one_node, run
from random_networks import dense_network, random_box, random_network, random_property, sample
from rational import dot, fractions
from scipy.special import expit
from test_certificate_bounds import whole
from test_certificate_checker import below, exact_minimum
from test_elu_gelu import written_out_with_tanh
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.certificate import bounds, executions
from repairsolver.certificate.layers import layers_of
from repairsolver.certificate.steps import stepped
from repairsolver.cli.main import app
from repairsolver.errors import NetworkError, UnsupportedOperatorError
from repairsolver.network import Network, load_network
from repairsolver.network.float32 import EXACT, ROUNDED, float32_box, require_float32
from repairsolver.network.lowering import SUPPORTED
from repairsolver.network.replay import replay
from repairsolver.property import Property, Region, write_property
from repairsolver.results import Certificate, Limits, VerifyStatus
from repairsolver.verification.engine import verify_property
from repairsolver.verification.replay import into_box

FLOAT32 = {"arithmetic": "float32"}


def singles(rng: np.random.Generator, lower: np.ndarray, upper: np.ndarray, count: int) -> np.ndarray:
    """Points of a box with float32 corners, in float32."""
    points = sample(rng, lower, upper, count).astype(np.float32).astype(np.float64)
    return np.clip(points, lower, upper)


@pytest.mark.parametrize("seed", range(40))
def test_no_execution_leaves_the_bounds(seed: int) -> None:
    """Every way of summing, and errors as large as they may be: neurons' bounds and output rows hold."""
    rng = np.random.default_rng([seed, 11])
    network = random_network(seed)
    corners = random_box(rng, network)
    lower, upper = float32_box(corners[0] + rng.normal(size=network.input_size) / 64, corners[1] + 0.3)
    upper = np.maximum(lower, upper)
    layers, steps, boxes = whole(network, lower, upper, "float32")
    rows = rng.normal(size=(1, 3, network.output_size))
    slope, shift = bounds.pull(steps, boxes, {len(layers): rows.copy()}, np.zeros((1, 3)))
    points = singles(rng, lower, upper, 6)
    for point, answer in zip(points, replay(network, points), strict=True):
        runs = [execute(rng, network, point, way) for way in WAYS]
        for values in runs:
            for k, (low, high) in enumerate(boxes.bounds):
                assert (low[0] <= values[k]).all()
                assert (values[k] <= high[0]).all()
        for output in (answer, *(values[-1] for values in runs)):
            for r in range(3):
                least = dot(slope[0, r], fractions(point)) + Fraction(float(shift[0, r]))
                assert least <= dot(rows[0, r], fractions(output))


def test_without_the_rounding_executions_do_leave_the_bounds() -> None:
    """So the test above can fail: at single points, bounds in real arithmetic are left by most executions."""
    left, rng = 0, np.random.default_rng(0)
    for seed in range(20):
        network = random_network(seed, smooth=False)
        point = float32_box(*random_box(rng, network))[0].astype(np.float32).astype(np.float64)
        point = (point + rng.normal(size=len(point))).astype(np.float32).astype(np.float64)
        hulls = [(point[None], point[None])]
        for layer in layers_of(network):
            hulls.append(stepped(layer, [hulls[k] for k in layer.inputs]).hull)
        low, high = hulls[-1]
        output = execute(rng, network, point, "limit")[-1]
        left += bool(((output < low[0]) | (output > high[0])).any())
    assert left >= 10


@pytest.mark.parametrize("terms", [1, 3, 40, 700])
def test_gamma32_bounds_the_rounding_of_sums(terms: int) -> None:
    rng = np.random.default_rng(terms)
    worst = 0.0
    for way in set(WAYS) - {"limit", "double"}:
        for _ in range(10):
            weights, x = (rng.normal(size=terms).astype(np.float32).astype(float) for _ in range(2))
            weights[terms // 2 :] *= -1
            bias = float(np.float32(rng.normal()))
            size = float(np.abs(weights) @ np.abs(x) + abs(bias))
            true = dot(weights, fractions(x)) + Fraction(bias)
            found = abs(float(true - Fraction(total(rng, weights, x, bias, way))))
            allowed = float(executions.gamma32(np.array(terms + 1.0))) * size
            worst = max(worst, found / allowed)
    assert 1e-4 < worst <= 1


@pytest.mark.parametrize("seed", range(6000, 6030))
def test_proofs_are_accepted_and_no_execution_violates(seed: int) -> None:
    """What the verifier proves for float32 the checker confirms, and what it refutes onnxruntime violates."""
    network = random_network(seed)
    prop = random_property(seed, network)
    verdict = verify_property(network, prop, limits=Limits(seconds=5), record=True, **FLOAT32)
    assert verdict.arithmetic == "float32"
    if verdict.status is not VerifyStatus.HOLDS:
        assert verdict.certificate is None
        return
    found = rs.check(verdict.certificate, network=network, property=prop)
    assert found.valid, found.reason
    assert found.arithmetic == "float32"
    rng = np.random.default_rng(seed)
    for region in prop.regions:
        points = singles(rng, *float32_box(region.lower, region.upper), 200)
        assert (region.violation(points, replay(network, points)) < 0).all()
        for point in points[:20]:
            output = execute(rng, network, point, str(rng.choice(WAYS)))[-1]
            assert (region.violation(point[None], output[None]) < 0).all()


def test_enough_is_proved() -> None:
    held = 0
    for seed in range(6000, 6030):
        network = random_network(seed)
        verdict = verify_property(
            network, random_property(seed, network), limits=Limits(seconds=5), **FLOAT32
        )
        held += verdict.status is VerifyStatus.HOLDS
    assert held >= 6


def halved(network: Network, prop: Property, depth: int) -> Certificate:
    """A tree over one input that halves every box `depth` times; the boxes below are its leaves."""
    low, high = float(prop.regions[0].lower[0]), float(prop.regions[0].upper[0])
    inner, leaves = 2**depth - 1, 2**depth
    values = [low + (high - low) * (k + 0.5) / 2**d for d in range(depth) for k in range(2**d)]
    axis = np.repeat([0, -1], [inner, leaves]).astype(np.int16)
    weights = np.full((inner + leaves, 1), 255, np.uint8)
    bare = Certificate(network.sha256, "", axis, np.array(values), weights)
    return Statement(network, prop, bare).renamed().certificate


def test_a_hair_that_real_arithmetic_proves_is_not_proved_for_float32() -> None:
    """The runtime violates what the exact network satisfies: the certificate is for `real` alone."""
    found = 0
    for seed in range(40):
        network = dense_network(seed, [1, 6, 6, 1])
        lower, upper = np.array([0.1]), np.array([0.7])
        grid = into_box(
            sample(np.random.default_rng(seed), lower, upper, 4000),
            Region(lower, upper, ()),
            np.dtype(np.float32),
        )
        least, threshold = exact_minimum(network, 0.1, 0.7), float(replay(network, grid).min())
        if least - Fraction(threshold) < Fraction(1, 10**9):
            continue
        found += 1
        prop = below(network, threshold, lower, upper)
        certificate = halved(network, prop, 9)
        assert rs.check(certificate, network=network, property=prop).valid
        answer = rs.check(replace(certificate, **FLOAT32), network=network, property=prop)
        assert not answer.valid
        assert "not proved" in answer.reason
        verdict = verify_property(network, prop, limits=Limits(seconds=3), **FLOAT32)
        assert verdict.status is not VerifyStatus.HOLDS
    assert found >= 2


def test_false_statements_are_rejected_in_float32() -> None:
    """Exact arithmetic is one of the executions: what is false in it is false for float32."""
    rng, rejected = np.random.default_rng(4), 0
    for s in statements(5200, 5270):
        for false in (loosened(rng, s), rewired(rng, s)):
            if false is not None:
                claim = replace(false.certificate, **FLOAT32)
                assert not rs.check(claim, network=false.network, property=false.prop).valid
                rejected += 1
    assert rejected >= 20


def batch_normalised() -> bytes:
    """A network with a batch normalisation, a cast, folded constants, a Gemm with alpha, and a softmax."""
    ones = np.ones(2, np.float32)
    nodes = [
        helper.make_node("BatchNormalization", ["x", "w", "w", "w", "w"], ["a"], name="norm"),
        helper.make_node("Cast", ["a"], ["b"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["w", "w"], ["folded"], name="fold"),
        helper.make_node("Sum", ["b", "folded"], ["c"], name="sum"),
        helper.make_node("Gemm", ["c", "m"], ["d"], name="gemm", alpha=2.0),
        helper.make_node("Relu", ["d"], ["e"], name="fine"),
        helper.make_node("Softmax", ["e"], ["y"], name="soft"),
    ]
    return model(nodes, [1, 2], {"w": ones, "m": np.eye(2, dtype=np.float32)}).SerializeToString()


def test_what_is_not_covered_is_refused_all_at_once() -> None:
    network = load_network(batch_normalised())
    with pytest.raises(UnsupportedOperatorError) as refusal:
        require_float32(network)
    for name in ("norm", "cast", "fold", "sum", "gemm", "soft"):
        assert f"node '{name}'" in str(refusal.value)
    assert "fine" not in str(refusal.value)
    prop = below(network, -1.0, np.zeros(2), np.ones(2))
    with pytest.raises(UnsupportedOperatorError, match="norm"):
        rs.verify(network, prop, arithmetic="float32")


def test_every_operator_is_counted_or_refused() -> None:
    refused = {"BatchNormalization", "Cast", "Celu", "Constant", "Elu", "Gelu", "Mean"}
    refused |= {"Resize", "Selu", "Softmax", "Upsample"}
    # A runtime that flushes small numbers to zero compares them as zero.
    guards = {"And", "GreaterOrEqual", "If", "LessOrEqual", "Or", "Where"}
    assert set(SUPPORTED) - EXACT - ROUNDED == refused | guards
    assert not (EXACT | ROUNDED) - set(SUPPORTED)


def test_a_relabelled_certificate_of_such_a_network_is_invalid() -> None:
    scale = np.ones(2, np.float32)
    data = one_node("BatchNormalization", [1, 2], "x", scale, scale, scale, scale).SerializeToString()
    network = load_network(data)
    prop = below(network, -100.0, np.zeros(2), np.ones(2))
    certificate = rs.verify(network, prop, certificate=True).certificate
    assert certificate is not None
    answer = rs.check(replace(certificate, **FLOAT32), network=network, property=prop)
    assert not answer.valid
    assert "BatchNormalization" in answer.reason


def test_a_gelu_of_covered_nodes_is_refused_and_so_is_a_certificate_of_it() -> None:
    """All nodes are covered, but the operator that they are read as has none of their roundings.

    At -5.094 onnxruntime is 6e-7 above the exact function, twice what stored constants are allowed for.
    """
    data = written_out_with_tanh("Mul").SerializeToString()
    network, point = load_network(data), np.full(4, np.float32(-5.094), np.float64)
    with pytest.raises(UnsupportedOperatorError, match="GELU"):
        require_float32(network)
    exact, run_ = network(point[None])[0], replay(network, point[None])[0]
    away = np.sign(run_[0] - exact[0])
    output = -away * np.eye(4)[:1]
    between = -away * (exact[:1] + 0.9 * (run_[:1] - exact[:1]))
    region = rs.Region(point, point, (rs.Conjunction(output, np.zeros((1, 4)), between),))
    prop = Property((region,), 4, 4, name="near")
    digest = hashlib.sha256(write_property(prop).encode()).hexdigest()
    leaf = Certificate(
        network.sha256, digest, np.array([-1], np.int16), np.zeros(0), np.ones((1, 1), np.uint8), **FLOAT32
    )
    assert prop.violation(point[None], run_[None])[0] > 0
    assert not rs.check(leaf, network=network, property=prop).valid


def test_a_float64_network_has_no_float32_executions() -> None:
    network = load_network(one_node("Relu", [1, 2], element=TensorProto.DOUBLE).SerializeToString())
    with pytest.raises(UnsupportedOperatorError, match="float64"):
        rs.verify(network, below(network, -1.0, np.zeros(2), np.ones(2)), arithmetic="float32")


@pytest.mark.parametrize(("factor", "end"), [(2.0**41, 1.0), (1.0, 2.0**41), (2.0**30, 2.0**12)])
def test_what_might_overflow_is_refused(factor: float, end: float) -> None:
    weight = np.array([[factor, 1.0], [0.5, 1.0]], np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    network = load_network(model(nodes, [1, 2], {"w": weight}).SerializeToString())
    prop = below(network, -1.0, np.zeros(2), np.full(2, end))
    certificate = rs.verify(network, prop, certificate=True).certificate
    assert certificate is not None
    assert rs.check(certificate, network=network, property=prop).valid
    answer = rs.check(replace(certificate, **FLOAT32), network=network, property=prop)
    assert not answer.valid
    assert "overflow" in answer.reason
    with pytest.raises(NetworkError, match="float32"):
        rs.verify(network, prop, arithmetic="float32")


def test_large_inputs_are_refused_even_where_weights_make_them_small() -> None:
    weight = np.full((2, 2), 2.0**-20, np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    network = load_network(model(nodes, [1, 2], {"w": weight}).SerializeToString())
    prop = below(network, -1.0, np.zeros(2), np.full(2, 2.0**41))
    certificate = rs.verify(network, prop, certificate=True).certificate
    assert certificate is not None
    answer = rs.check(replace(certificate, **FLOAT32), network=network, property=prop)
    assert not answer.valid
    assert "overflow" in answer.reason


def test_inputs_are_those_that_a_runtime_can_get() -> None:
    """A pixel fixed at 0.1 is the interval between its neighbours in float32."""
    low, high = float32_box(np.array([0.1, -0.5, 1e-50]), np.array([0.1, 0.5, 1e-50]))
    assert low[0] < 0.1 < high[0] == np.nextafter(np.float32(low[0]), np.float32(1))
    assert (low[1], high[1]) == (-0.5, 0.5)
    assert low[2] == 0 < high[2]


def test_exact_layers_add_nothing_but_what_is_flushed() -> None:
    network = load_network(one_node("Transpose", [1, 2, 3], perm=[0, 2, 1]).SerializeToString())
    layer = layers_of(network, "float32")[0]
    assert layer.operator is None
    assert layer.relative == 0
    assert layer.absolute == executions.TINY32


@pytest.mark.parametrize(("operator", "truth"), [("Sigmoid", expit), ("Tanh", np.tanh)])
def test_onnxruntime_keeps_the_assumption_about_sigmoid_and_tanh(operator: str, truth: object) -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-30, 30, 40_000), 4 * rng.normal(size=40_000) ** 9])
    points = points.astype(np.float32).astype(np.float64)
    data = one_node(operator, [1, len(points)]).SerializeToString()
    found = run(data, points[None], [1, len(points)])[0]
    assert np.abs(found - truth(points)).max() < executions.ELEMENTARY32 / 2  # type: ignore[operator]


def test_the_answer_says_what_is_covered() -> None:
    network = dense_network(0, [2, 4, 1])
    prop = below(network, -1e3, -np.ones(2), np.ones(2))
    verdict = rs.verify(network, prop, arithmetic="float32", certificate=True)
    assert (verdict.status, verdict.arithmetic) == (VerifyStatus.HOLDS, "float32")
    assert verdict.certificate is not None
    assert verdict.certificate.arithmetic == "float32"
    assert "float32 execution" in rs.check(verdict.certificate, network=network, property=prop).reason
    with pytest.raises(ValueError, match="'real' or 'float32'"):
        rs.verify(network, prop, arithmetic="bfloat16")  # type: ignore[arg-type]


def test_the_command_line_proves_and_checks_the_claim(tmp_path: Path) -> None:
    network = dense_network(0, [2, 4, 1])
    net, prop, proof = (str(tmp_path / name) for name in ("n.onnx", "p.vnnlib", "c.cert"))
    Path(net).write_bytes(network.model)
    Path(prop).write_text(write_property(below(network, -1e3, -np.ones(2), np.ones(2))))
    asked = ["verify", net, prop, "--arithmetic", "float32", "--certificate", proof, "--quiet"]
    proved = CliRunner().invoke(app, asked)
    assert proved.exit_code == 0
    assert proved.stdout.startswith("unsat\n")
    assert "every float32 execution" in proved.stdout
    checked = CliRunner().invoke(app, ["check", proof, "--network", net, "--property", prop])
    assert checked.stdout.startswith("valid\n")
    assert "every float32 execution" in checked.stdout


def plateau(inputs: int) -> Network:
    """y = relu(1 - relu(x_1 + ... + x_n)): 1 wherever the sum is at most 0."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["r"], name="first"),
        helper.make_node("Gemm", ["r", "M", "c"], ["t"], name="turned"),
        helper.make_node("Relu", ["t"], ["y"], name="second"),
    ]
    constants = {"W": np.ones((inputs, 1)), "M": -np.ones((1, 1)), "c": np.ones(1)}
    stored = {name: value.astype(np.float32) for name, value in constants.items()}
    return load_network(model(nodes, [1, inputs], stored).SerializeToString(), name="plateau")


def test_a_plateau_within_rounding_of_the_threshold_ends_with_its_reason_at_once() -> None:
    network = plateau(5)
    prop = rs.output_range(-np.ones(5), np.ones(5), 0, 1, at_most=1 + 1e-9)
    assert rs.verify(network, prop).status is VerifyStatus.HOLDS
    verdict = rs.verify(network, prop, arithmetic="float32", limits=Limits(seconds=60))
    assert verdict.status is VerifyStatus.UNKNOWN
    assert "Within float32 rounding of a violation: at the input" in " ".join(verdict.notes)


def test_a_plateau_beyond_rounding_is_proved_and_one_above_the_threshold_found() -> None:
    network = plateau(4)
    for threshold, status in ((1 + 1e-5, VerifyStatus.HOLDS), (1 - 1e-5, VerifyStatus.VIOLATED)):
        prop = rs.output_range(-np.ones(4), np.ones(4), 0, 1, at_most=threshold)
        verdict = rs.verify(network, prop, arithmetic="float32", limits=Limits(seconds=30), certificate=True)
        assert verdict.status is status
