"""ELU and GELU: read in every form that exporters write, bounded, proved, sampled and repaired."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from test_imitation_points import SMALL, half_wrong
from torch import nn

import repairsolver as rs
from repairsolver.bounds.curves import slope
from repairsolver.bounds.interval import node_interval
from repairsolver.bounds.relaxation import relax
from repairsolver.bounds.tensors import TensorNode, apply_activation
from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network import operators as ops
from repairsolver.network.graph import Node
from repairsolver.property import Conjunction, Region
from repairsolver.repairing.delta.derivatives import slopes

CURVES: dict[str, ops.Curve] = {
    "elu": ops.Elu(1.0), "elu flat": ops.Elu(0.0), "elu kink": ops.Elu(0.3), "elu steep": ops.Elu(2.5),
    "gelu": ops.Gelu(), "gelu tanh": ops.Gelu(tanh=True),
}  # fmt: skip
ENDS = [0.0, 1e-9, 1e-5, 0.01, 0.3, 0.7518, 1.0, 1.5, 3.0, 8.0, 20.0, 500.0]


@pytest.mark.parametrize("name", CURVES)
def test_lines_and_intervals_enclose(name: str) -> None:
    node = TensorNode("a", CURVES[name], (0,), (1, 1), {})
    ends = sorted({*ENDS, *(-e for e in ENDS)})
    for low in ends:
        for high in (e for e in ends if e >= low):
            lower, upper = (torch.tensor([[e]], dtype=torch.float64) for e in (low, high))
            x = torch.cat([torch.linspace(low, high, 1001), torch.linspace(-2, 2, 801).clamp(low, high)])
            x = x.double().clamp(low, high)[:, None]
            value = apply_activation(node, x)
            lines = relax(node, lower, upper)
            assert (lines.lower_slope * x + lines.lower_shift <= value).all(), (low, high)
            assert (lines.upper_slope * x + lines.upper_shift >= value).all(), (low, high)
            least, most = node_interval(node, [(lower, upper)], (1, 1))
            assert (least <= value).all()
            assert (most >= value).all()


def test_lines_are_tight_where_the_interval_is_narrow() -> None:
    for curve in CURVES.values():
        node = TensorNode("a", curve, (0,), (1, 1), {})
        lower, upper = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[0.41]], dtype=torch.float64)
        lines = relax(node, lower, upper)
        gap = (lines.upper_slope - lines.lower_slope) * lower + lines.upper_shift - lines.lower_shift
        assert 0 <= float(gap) < 1e-4


def test_the_curvature_of_gelu_is_below_its_bound() -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64, requires_grad=True)
    for kind in ("none", "tanh"):
        value = torch.nn.functional.gelu(x, approximate=kind)
        (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        assert float(second.abs().max()) < 0.9


@pytest.mark.parametrize("name", CURVES)
def test_slopes_are_those_of_differences(name: str) -> None:
    curve = CURVES[name]
    x = np.linspace(-4, 4, 82)
    node = TensorNode("a", curve, (0,), (1, 1), {})
    step = 1e-6
    ahead, behind = (apply_activation(node, torch.tensor(x + s)) for s in (step, -step))
    expected = ((ahead - behind) / (2 * step)).numpy()
    np.testing.assert_allclose(slopes(Node("a", curve, ("x",), (82,)), x), expected, atol=1e-6)
    if name != "gelu tanh":
        np.testing.assert_allclose(slope(curve, torch.tensor(x)).numpy(), expected, atol=1e-6)


def exported(activation: nn.Module) -> onnx.ModelProto:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 2))
    file = io.BytesIO()
    torch.onnx.export(model, (torch.zeros(1, 3),), file, opset_version=17, dynamo=False)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("activation", [nn.ELU(), nn.ELU(0.4), nn.GELU(), nn.GELU("tanh")], ids=str)
def test_what_torch_exports_is_read(activation: nn.Module, tmp_path: Path) -> None:
    onnx.save(exported(activation), tmp_path / "net.onnx")
    network = rs.load_network(tmp_path / "net.onnx")
    kinds = [type(node.operator) for node in network.nodes]
    assert kinds.count(ops.Gelu if isinstance(activation, nn.GELU) else ops.Elu) == 2
    assert len(kinds) == 5
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    np.testing.assert_allclose(network(x), rs.replay(network, x), atol=1e-5)
    rs.save_network(network, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


def written_out(order: str, **others: float) -> onnx.ModelProto:
    """GELU with its factors in one of several orders, and with other constants where they are given."""
    numbers = {"root": 2**0.5, "one": 1.0, "half": 0.5} | others
    stored = [numpy_helper.from_array(np.float32(v), k) for k, v in numbers.items()]
    start = [("Div", ["x", "root"], "a"), ("Erf", ["a"], "b"), ("Add", ["one", "b"], "c")]
    rest = {
        "last": [("Mul", ["x", "c"], "d"), ("Mul", ["d", "half"], "y")],
        "first": [("Mul", ["half", "x"], "d"), ("Mul", ["c", "d"], "y")],
        "share": [("Mul", ["c", "half"], "d"), ("Mul", ["d", "x"], "y")],
    }[order]
    nodes = [helper.make_node(op, inputs, [out]) for op, inputs, out in [*start, *rest]]
    shape = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [shape("x", 1, [1, 4])], [shape("y", 1, [1, 4])], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("order", ["last", "first", "share"])
def test_gelu_written_out_is_one_operator(order: str, tmp_path: Path) -> None:
    onnx.save(written_out(order), tmp_path / "net.onnx")
    network = rs.load_network(tmp_path / "net.onnx")
    assert [node.operator for node in network.nodes] == [ops.Gelu()]
    x = np.linspace(-5, 5, 40, dtype=np.float32).reshape(10, 4)
    np.testing.assert_allclose(network(x), rs.replay(network, x), atol=1e-6)


def written_out_with_tanh(cube: str = "Mul", **others: float) -> onnx.ModelProto:
    """The other GELU, with x^3 as products or as a power, and with other constants where they are given."""
    numbers = {"root": (2 / np.pi) ** 0.5, "cubic": 0.044715, "one": 1.0, "half": 0.5, "three": 3.0} | others
    stored = [numpy_helper.from_array(np.float32(v), k) for k, v in numbers.items()]
    products = [("Mul", ["x", "x"], "s"), ("Mul", ["s", "x"], "q")]
    power = {"Mul": products, "Pow": [("Pow", ["x", "three"], "q")]}
    inner = [("Mul", ["q", "cubic"], "a"), ("Add", ["a", "x"], "b"), ("Mul", ["root", "b"], "c")]
    outer = [("Tanh", ["c"], "d"), ("Add", ["d", "one"], "e"), ("Mul", ["x", "half"], "f")]
    every = [*power[cube], *inner, *outer, ("Mul", ["f", "e"], "y")]
    nodes = [helper.make_node(op, inputs, [out]) for op, inputs, out in every]
    shape = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [shape("x", 1, [1, 4])], [shape("y", 1, [1, 4])], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("cube", ["Mul", "Pow"])
def test_gelu_written_out_with_tanh_is_one_operator(cube: str, tmp_path: Path) -> None:
    onnx.save(written_out_with_tanh(cube), tmp_path / "net.onnx")
    network = rs.load_network(tmp_path / "net.onnx")
    assert [node.operator for node in network.nodes] == [ops.Gelu(tanh=True)]
    x = np.linspace(-5, 5, 40, dtype=np.float32).reshape(10, 4)
    np.testing.assert_allclose(network(x), rs.replay(network, x), atol=1e-6)


@pytest.mark.parametrize("others", [{"cubic": 0.0448}, {"root": 0.798}, {"one": 1.1}, {"three": 2.0}])
def test_what_only_looks_like_gelu_with_tanh_is_refused(tmp_path: Path, others: dict[str, float]) -> None:
    onnx.save(written_out_with_tanh("Pow", **others), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOperatorError, match="Pow"):
        rs.load_network(tmp_path / "net.onnx")


@pytest.mark.parametrize("off", [1e-6, -1e-6])
def test_bounds_cover_what_a_stored_root_may_be_off_by(off: float) -> None:
    """The function of the file lies within the bounds of GELU on single points, where a grid has no slack."""
    x = np.linspace(-6, 6, 2401)
    erf = torch.special.erf(torch.tensor(x / (np.sqrt(2) * (1 + off)))).numpy()
    value = torch.tensor((x / 2 * (1 + erf))[:, None])
    inner = (2 / np.pi) ** 0.5 * (1 + off) * (x + 0.044715 * x**3)
    with_tanh = torch.tensor((x / 2 * (1 + np.tanh(inner)))[:, None])
    assert_covered(ops.Gelu(), x, value, 2.9e-7)
    assert_covered(ops.Gelu(tanh=True), x, with_tanh, 2.5e-7)


def assert_covered(operator: ops.Gelu, x: np.ndarray, value: torch.Tensor, off: float) -> None:
    """That values lie within the bounds, though they differ by so much from those of the operator."""
    node, point = TensorNode("a", operator, (0,), (1, 1), {}), torch.tensor(x[:, None])
    assert float((apply_activation(node, point) - value).abs().max()) > off
    lines = relax(node, point, point)
    least, most = node_interval(node, [(point, point)], (1, 1))
    assert (lines.lower_slope * point + lines.lower_shift <= value).all()
    assert (lines.upper_slope * point + lines.upper_shift >= value).all()
    assert ((least <= value) & (value <= most)).all()


@pytest.mark.parametrize(
    "others", [{"one": 1.1}, {"one": 1 + 2.0**-23}, {"half": 0.5 + 2.0**-24}, {"root": 1.41422}]
)
def test_what_only_looks_like_gelu_is_refused(tmp_path: Path, others: dict[str, float]) -> None:
    onnx.save(written_out("last", **others), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOperatorError, match="Erf"):
        rs.load_network(tmp_path / "net.onnx")


@pytest.fixture(scope="module", params=[nn.ELU(0.7), nn.GELU()], ids=str)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> rs.Network:
    path = tmp_path_factory.mktemp("curves") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        onnx.save(exported(request.param), path)
    return rs.load_network(path)


def at_least(network: rs.Network, bound: float) -> rs.Property:
    """Output 0 must stay above a bound on the box [-1, 1]^n."""
    row = np.eye(network.output_size)[[0]]
    unsafe = Conjunction(row, np.zeros((1, network.input_size)), np.array([bound]))
    box = np.ones(network.input_size)
    return rs.Property((Region(-box, box, (unsafe,)),), network.input_size, network.output_size)


def test_proofs_agree_with_samples(network: rs.Network) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (50_000, 3))
    least = float(rs.replay(network, x)[:, 0].min())
    safe = rs.verify(network, at_least(network, least - 0.05), limits=rs.Limits(seconds=20))
    assert safe.status is rs.VerifyStatus.HOLDS
    wrong = rs.verify(network, at_least(network, least + 0.02), limits=rs.Limits(seconds=20))
    assert wrong.status is rs.VerifyStatus.VIOLATED


def test_samples_and_localisation(network: rs.Network) -> None:
    found = rs.sample(network, half_wrong(network, 0.3), epsilon=0.01, eta=0.01)
    assert not found.accepted
    places = rs.localise(network, half_wrong(network, 0.3), samples=500)
    assert len(places.layers) == 3
    assert all(np.isfinite(layer.responsibility).all() for layer in places.layers)


@pytest.mark.parametrize("variant", ["retrain", "tune"])
def test_imitation_mends(network: rs.Network, variant: str, tmp_path: Path) -> None:
    how = SMALL
    if variant == "tune":
        how = rs.Imitation(variant="tune", samples=500, tuning=rs.Tuning(neurons=10, optimiser="gradient"))
    prop = half_wrong(network, 0.05)
    fix = rs.repair(network, prop, method="imitation", imitation=how, limits=rs.Limits(seconds=20), seed=1)
    fix.save(tmp_path / "net.onnx")
    x = np.random.default_rng(2).uniform(-1, 1, (20_000, 3))
    before, after = (
        prop.violation(x, rs.replay(n, x)) for n in (network, rs.load_network(tmp_path / "net.onnx"))
    )
    assert (after[before >= 0] < 0).mean() > 0.8


def test_the_least_change_is_proved(network: rs.Network) -> None:
    fix = rs.repair(network, half_wrong(network, 0.02), limits=rs.Limits(seconds=20))
    assert fix.proved
    x = np.random.default_rng(2).uniform(-1, 1, (20_000, 3))
    assert (half_wrong(network, 0.02).violation(x, rs.replay(fix.network, x)) < 0).all()
