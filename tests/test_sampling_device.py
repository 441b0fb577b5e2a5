"""Batches computed by torch on a device: the counts of onnxruntime, and what goes wrong on a GPU alone.

A build of torch for the CPU runs no CUDA kernel. Its fake tensors carry a device without memory, and refuse
what a GPU refuses: an operation on tensors of two devices, and reading a device's memory from the host.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from onnx_models import model
from random_networks import dense_network, random_network
from sampled_networks import at_least, sum_network, unit
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.cli.main import app
from repairsolver.errors import DeviceError, SamplingError, SoundnessError
from repairsolver.network import Network, load_network, replay
from repairsolver.property import Conjunction, Property, Region
from repairsolver.sampling import evaluation
from repairsolver.sampling.distributions import Points, Sampler, TruncatedNormal, Uniform

DEMO = Path(rs.__file__).parent / "demo"

GPU = "cuda:0"
"""With its number: a build for the CPU alone cannot tell which one "cuda" is."""


def residual_convolution() -> Network:
    """Two convolutions with a skip connection, max-pooling and a dense layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "K", "k"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "L"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("LeakyRelu", ["d"], ["e"], alpha=0.1),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "W"], ["y"]),
    ]
    sizes = {"K": (3, 2, 3, 3), "k": (3,), "L": (3, 3, 3, 3), "W": (12, 3)}
    constants = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    return load_network(model(nodes, (1, 2, 4, 4), constants).SerializeToString(), name="residual")


def gelu() -> Network:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "V"], ["a"]),
        helper.make_node("Gelu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "W"], ["y"]),
    ]
    constants = {"V": rng.normal(size=(4, 6)), "W": rng.normal(size=(6, 2))}
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    return load_network(model(nodes, (1, 4), arrays, opset=20).SerializeToString(), name="gelu")


NETWORKS = {
    "demo": lambda: load_network(DEMO / "controller.onnx"),
    "residual": residual_convolution,
    **{kind: (lambda kind=kind: dense_network(1, (4, 9, 9, 3), kind))
       for kind in ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "HardSigmoid")},
    "Gelu": lambda: gelu(),
    **{f"random {k}": (lambda k=k: random_network(k, softmax=k % 4 == 3)) for k in range(6)},
}  # fmt: skip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DISTRIBUTIONS = {
    "uniform": Uniform(),
    "truncated normal": TruncatedNormal(0.3),
    "torch": Sampler(lambda count, seed: torch.rand(count, 4, generator=seeded(seed)) * 2 - 1),
}


def violated_by_half(net: Network) -> Property:
    """Output 0 is at least its median on [-1, 1]^n, one value of it exactly: there are ties."""
    low, high = -np.ones(net.input_size), np.ones(net.input_size)
    seen = replay(net, np.random.default_rng(0).uniform(low, high, (201, len(low))))[:, 0]
    row = np.zeros((1, net.output_size))
    row[0, 0] = -1.0
    unsafe = (Conjunction(row, np.zeros((1, net.input_size)), -np.array([np.median(seen)])),)
    return Property((Region(low, high, unsafe),), net.input_size, net.output_size)


def counts(net: Network, prop: Property, samples: int = 1500, **wishes: object) -> tuple[int, rs.Statement]:
    found = rs.sample(net, prop, epsilon=0.5, eta=0.01, sequential=False, samples=samples, **wishes)
    return found.violations, found


# The same counts.


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_counts_as_onnxruntime_does(name: str) -> None:
    net = NETWORKS[name]()
    prop = violated_by_half(net)
    number, found = counts(net, prop, device="cpu:0")
    assert number == counts(net, prop)[0] == counts(net, prop, alone=True)[0]
    assert number > 200
    assert found.evaluation.startswith("torch's float32 on cpu:0 in batches")
    assert 0 < found.alone <= 1500
    for example in found.counterexamples:
        output = replay(net, example.input[None])
        assert (output[0] == example.output).all()
        assert prop.violation(example.input[None], output)[0] == example.violation >= 0


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_on_a_device(name: str) -> None:
    net = NETWORKS["LeakyRelu"]()
    prop, distribution = violated_by_half(net), DISTRIBUTIONS[name]
    number, _ = counts(net, prop, device="cpu:0", distribution=distribution)
    assert number == counts(net, prop, distribution=distribution)[0]


def test_given_points_on_a_device() -> None:
    net = NETWORKS["residual"]()
    given = Points(rs.PointSet(np.random.default_rng(0).uniform(-0.9, 0.9, (40, net.input_size))), noise=0.1)
    prop = violated_by_half(net)
    number, _ = counts(net, prop, device="cpu:0", distribution=given)
    assert number == counts(net, prop, distribution=given)[0]


@pytest.mark.data
def test_acas_networks_on_a_device() -> None:
    folder = os.environ.get("REPAIRSOLVER_DATA")
    if folder is None:
        pytest.skip("REPAIRSOLVER_DATA is not set: the benchmark data folder is needed")
    from benchmarks.acasxu_repair.instances import Pair, load_pair

    net, prop = load_pair(Path(folder) / "acasxu", Pair("2_1", 2))
    number, found = counts(net, prop, 20_000, device="cpu:0")
    assert number == counts(net, prop, 20_000)[0] > 100
    assert found.evaluation.startswith("torch's float32 on cpu:0")


# What the file on onnxruntime decides.


def wrong_batches(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    """Torch's outputs as something makes them after the trial points."""
    real = evaluation._forward

    def made(network: Network, device: str) -> evaluation.Run:
        run, calls = real(network, device), []

        def wrong(points: np.ndarray) -> np.ndarray:
            calls.append(len(points))
            return run(points) if len(calls) == 1 else change(run(points))

        return wrong

    monkeypatch.setattr(evaluation, "_forward", made)


def test_a_device_that_errs_towards_holds_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs far below every threshold: no sample comes near a violation, and only the audit can tell."""
    wrong_batches(monkeypatch, lambda outputs: outputs - 100)
    with pytest.raises(SoundnessError, match="in a batch and by itself differ by 100"):
        rs.sample(sum_network(2), at_least(1.8, unit(2)), epsilon=0.03, eta=0.01, device="cpu:0")


def test_violations_are_confirmed_by_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors within the tolerance, towards violation or away from it, change no count."""
    net, prop = sum_network(2), at_least(1.8, unit(2))
    right = counts(net, prop)[0]
    for sign in (-1, 1):
        with monkeypatch.context() as patch:
            wrong_batches(patch, lambda outputs, sign=sign: outputs + sign * 2.0**-19)
            assert counts(net, prop, device="cpu:0")[0] == right


def test_full_float32_whatever_the_caller_has_set() -> None:
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul)
    before = [kind.fp32_precision for kind in kinds]
    assert torch.backends.cudnn.conv.fp32_precision != "ieee", "else this test shows nothing"
    with evaluation._full_precision("cpu"):
        assert [kind.fp32_precision for kind in kinds] == ["ieee"] * 3
    assert [kind.fp32_precision for kind in kinds] == before
    net = NETWORKS["Relu"]()
    points = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)
    plain = evaluation._forward(net, "cpu")(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(evaluation._forward(net, "cpu")(points), plain)
        graph = tensor_graph(net, torch.float32, "cpu")
        assert not np.array_equal(graph.forward(torch.from_numpy(points)).float().numpy(force=True), plain)


# A GPU that is not there.


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """Tensors with a device "cuda"; those on the host are read as zeros, others not at all."""

    def numpy(self: FakeTensor) -> np.ndarray:
        if self.device.type != "cpu":
            raise TypeError(f"can't convert {self.device} device type tensor to numpy")
        return np.zeros(tuple(self.shape), str(self.dtype).removeprefix("torch."))

    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    monkeypatch.setattr(FakeTensor, "__array__", lambda self, *_, **__: numpy(self), raising=False)
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.mark.parametrize(
    "name", ["demo", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "HardSigmoid", "Gelu"]
)
def test_dense_networks_stay_on_their_device(name: str, fake_gpu: FakeTensorMode) -> None:
    net = NETWORKS[name]()
    points = np.zeros((5, net.input_size), dtype=np.float32)
    with fake_gpu:
        graph = tensor_graph(net, torch.float32, GPU)
        values = graph.values(torch.from_numpy(points).to(GPU))
        assert {value.device.type for value in values} == {"cuda"}
        outputs = evaluation._forward(net, GPU)(points)
    assert outputs.shape == (5, net.output_size)
    assert outputs.dtype == np.float64


def test_a_constant_left_on_the_host_is_found(
    fake_gpu: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repairsolver.bounds import tensors

    real = tensors._parameters
    host = torch.device("cpu")
    monkeypatch.setattr(tensors, "_parameters", lambda operator, dtype, _: real(operator, dtype, host))
    net = NETWORKS["Relu"]()
    with fake_gpu, pytest.raises((RuntimeError, TypeError), match="cpu"):
        evaluation._forward(net, GPU)(np.zeros((5, 4), dtype=np.float32))


def test_reading_a_device_from_the_host_is_found(fake_gpu: FakeTensorMode) -> None:
    with fake_gpu, pytest.raises(TypeError, match="can't convert cuda"):
        torch.zeros(3, device=GPU).numpy()


def test_a_sampler_may_draw_on_its_own_device(fake_gpu: FakeTensorMode) -> None:
    """Its points are brought to the host."""
    from repairsolver.sampling.domain import domain_of

    net = sum_network(2)
    made = Sampler(lambda count, seed: torch.zeros(count, 2, device=GPU))
    with fake_gpu:
        draw = made.draw(domain_of(net, at_least(1.8, unit(2))), np.random.default_rng(0), 7)
    assert draw.points.shape == (7, 2)


def test_a_sampler_may_keep_gradients() -> None:
    made = Sampler(lambda count, seed: torch.zeros(count, 2, requires_grad=True))
    found = rs.sample(sum_network(2), at_least(1.8, unit(2)), epsilon=0.1, eta=0.1, distribution=made)
    assert found.status == "accepted"


# Devices that are not there.


@pytest.mark.parametrize("device", ["nope", "cuda:99", "meta"])
def test_a_device_that_torch_does_not_have(device: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{device}' cannot be used here: .*use 'cpu' .besides it"):
        rs.sample(sum_network(2), at_least(1.8, unit(2)), epsilon=0.1, eta=0.1, device=device)


def test_no_device_where_every_sample_is_alone() -> None:
    with pytest.raises(SamplingError, match="device 'cpu:0' computes batches, and alone=True"):
        rs.sample(sum_network(2), at_least(1.8, unit(2)), epsilon=0.1, eta=0.1, device="cpu:0", alone=True)


def test_the_command_line_takes_a_device() -> None:
    names = [str(DEMO / "controller.onnx"), str(DEMO / "head_on.vnnlib")]
    options = ["--epsilon", "0.5", "--eta", "0.1", "--quiet", "--device"]
    done = CliRunner().invoke(app, ["sample", *names, *options, "cpu:0"])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "accepted")
    assert "torch's float32 on cpu:0" in done.stdout
    done = CliRunner().invoke(app, ["sample", *names, *options, "abacus"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "device 'abacus' cannot be used here" in done.stderr
    assert "use 'cpu'" in done.stderr
