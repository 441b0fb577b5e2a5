"""The last affine layer: which one, and that the outputs are affine in its parameters."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from onnx import helper
from onnx_models import model

from repairsolver.errors import EditError
from repairsolver.network import Network, load_network, replace_parameters
from repairsolver.repairing.delta.layer import find_layer

NETWORKS = {
    "gemm": dense_network(0),
    "gemm, stored transposed": dense_network(1, transposed=True),
    "convolution with tail": conv_network(2),
    "softmax": dense_network(3, tail="Softmax"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_written_change_is_what_effect_and_gradient_say(name: str) -> None:
    network = NETWORKS[name]
    layer = find_layer(network)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(7, network.input_size))
    delta = rng.normal(size=layer.size)
    hidden, scores = layer.points(network, x)
    changed = replace_parameters(network, layer.changed(delta))
    _, expected = find_layer(changed).points(changed, x)
    effect = layer.effect(hidden, layer.rounded(delta))
    np.testing.assert_allclose(scores + effect, expected, rtol=1e-12, atol=1e-12)
    readout = rng.normal(size=(4, network.output_size))
    gradient = layer.gradient(hidden, readout)
    np.testing.assert_allclose(gradient @ delta, layer.effect(hidden, delta) @ readout.T, atol=1e-10)


def test_branch_that_bypasses_the_layer_is_constant() -> None:
    constants = {"W": np.eye(2, dtype=np.float32) * 2, "b": np.ones(2, dtype=np.float32)}
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Gemm", ["h", "W", "b"], ["z"], name="last"),
        helper.make_node("Sub", ["x", "z"], ["y"]),
    ]
    network = load_network(model(nodes, (1, 2), constants).SerializeToString())
    layer = find_layer(network)
    np.testing.assert_array_equal(layer.tail.toarray(), -np.eye(2))
    hidden, scores = layer.points(network, np.array([[1.0, -3.0]]))
    np.testing.assert_array_equal(scores, [[-2.0, -4.0]])
    np.testing.assert_array_equal(hidden, [[1.0, 0.0]])


def test_rounding_is_what_the_file_can_hold() -> None:
    layer = find_layer(NETWORKS["gemm"])
    delta = np.full(layer.size, 1e-9)
    assert np.count_nonzero(layer.rounded(delta)) < layer.size
    stored = np.concatenate([p.stored.ravel() for p in layer.parameters])
    np.testing.assert_array_equal(layer.rounded(delta) + stored, (stored + delta).astype(np.float32))


def test_layer_by_its_name() -> None:
    assert find_layer(NETWORKS["gemm"], "layer1").name == "layer1"


@pytest.mark.parametrize(
    ("layers", "message"), [("layer0", "'layer1'"), ("dense_9", "no layer 'dense_9'.*'layer1'")]
)
def test_other_layers_are_refused_by_name(layers: str, message: str) -> None:
    with pytest.raises(EditError, match=message):
        find_layer(NETWORKS["gemm"], layers)


def test_activation_behind_the_last_layer_is_refused() -> None:
    with pytest.raises(EditError, match="Relu 'tail' follows the last affine layer 'layer1'"):
        find_layer(dense_network(0, tail="Relu"))


def shared_network() -> Network:
    weight = np.array([[1.0, 2.0], [3.0, -4.0]], dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("MatMul", ["h", "W"], ["y"], name="again"),
    ]
    return load_network(model(nodes, (1, 2), {"W": weight}).SerializeToString(), name="tied")


def test_shared_weights_are_refused() -> None:
    with pytest.raises(EditError, match="tied: W of layer 'again' is used by several nodes"):
        find_layer(shared_network())


def test_network_without_weights_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    network = load_network(model(nodes, (1, 2)).SerializeToString())
    with pytest.raises(EditError, match="nothing to edit"):
        find_layer(network)
