"""The last affine layer: which one, and that the outputs are affine in its parameters."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from onnx import helper
from onnx_models import model

from repairsolver.errors import EditError
from repairsolver.network import Network, load_network, replace_parameters
from repairsolver.repairing.delta.addressing import Choice, find_blocks
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import find_layer, find_layers

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


@pytest.mark.parametrize("name", ["layer0", "z0", "W0", "b0"])
def test_a_layer_has_several_names(name: str) -> None:
    assert find_layers(NETWORKS["gemm"], Choice(name)).name == "layer0"


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(EditError, match=r"no layer 'dense_9'.*there are 'layer0', 'layer1'"):
        find_layer(NETWORKS["gemm"], "dense_9")


def test_only_the_last_layer_has_a_linear_tail() -> None:
    with pytest.raises(EditError, match="not linear behind layer 'layer0'"):
        find_layer(NETWORKS["gemm"], "layer0")
    assert not find_layers(NETWORKS["gemm"], Choice("layer0")).affine
    assert not find_layers(dense_network(0, tail="Relu"), Choice("last")).affine
    assert not find_layers(dense_network(0, tail="Sigmoid"), Choice("last"), comparing=False).affine
    assert find_layers(dense_network(0, tail="Sigmoid"), Choice("last")).affine


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


def test_neurons_and_roles_choose_entries() -> None:
    """Stored [6, 3] (transposed) for the second, [3, 6] for the first: neuron 2 is a column, or a row."""
    for name in ("gemm", "gemm, stored transposed"):
        (block,) = find_blocks(NETWORKS[name], Choice("last", neurons=[2]))
        assert block.size == 7
        moved = block.moved(np.ones((1, 6)), np.ones(7))
        np.testing.assert_array_equal(moved, [[0.0, 0.0, 7.0]])
        (bias,) = find_blocks(NETWORKS[name], Choice("last", "biases", np.array([True, False, True])))
        np.testing.assert_array_equal(bias.chosen, [0, 2])
        (weights,) = find_blocks(NETWORKS[name], Choice("last", "weights"))
        assert weights.size == 18


def test_filters_of_a_grouped_convolution() -> None:
    (block,) = find_blocks(NETWORKS["convolution with tail"], Choice("K1", neurons=[1]))
    assert block.size == 2 * 2 + 1
    assert not block.change(np.ones(5)).weight[0].any()
    assert (block.change(np.ones(5)).weight[1] == 1).all()


def test_mask_of_single_entries() -> None:
    network = NETWORKS["gemm"]
    (block,) = find_blocks(network, Choice("last", mask={"W1": [(0, 5), (2, 1)]}))
    assert block.size == 2
    change = block.change(np.array([1.0, 2.0]))
    assert (change.weight[0, 5], change.weight[2, 1], np.abs(change.weight).sum()) == (1.0, 2.0, 3.0)
    flags = np.zeros((3, 6), dtype=bool)
    flags[[0, 2], [5, 1]] = True
    np.testing.assert_array_equal(
        find_blocks(network, Choice("last", mask={"W1": flags}))[0].chosen, block.chosen
    )
    np.testing.assert_array_equal(block.rounded(np.array([0.5, 0.25])) != 0, [True, True])


WRONG_CHOICES = {
    "roles": (Choice(parameters="some"), "unknown parameters 'some': choose one of both, weights, biases"),
    "neuron out of range": (Choice(neurons=[0, 3]), "layer 'layer1' has neurons 0 to 2, got 3"),
    "no neuron": (Choice(neurons=[]), "no neurons of layer 'layer1' are chosen"),
    "mask of another length": (
        Choice(neurons=np.ones(4, dtype=bool)),
        r"shape \(4,\), but layer 'layer1' has 3",
    ),
    "not whole": (Choice(neurons=[0.5]), "whole numbers or a mask"),
    "neurons of two layers": (Choice("all", neurons=[0]), "neurons are chosen in one layer"),
    "tensor of another layer": (
        Choice(mask={"W0": [(0, 0)]}),
        "names 'W0', but .*'layer1' are the tensors 'W1'",
    ),
    "entry out of range": (Choice(mask={"W1": [(3, 0)]}), r"index tuples below its shape \(3, 6\)"),
    "entry of another rank": (Choice(mask={"W1": [(1, 2, 3)]}), "index tuples below its shape"),
    "empty mask": (Choice(mask={"W1": np.zeros((3, 6), dtype=bool)}), "nothing may change"),
    "layers without a name": (Choice(""), "there is no layer ''"),
}


@pytest.mark.parametrize("name", WRONG_CHOICES)
def test_wrong_choices_are_refused(name: str) -> None:
    choice, message = WRONG_CHOICES[name]
    with pytest.raises(EditError, match=message):
        find_blocks(NETWORKS["gemm"], choice)


def bending_network(seed: int) -> Network:
    """Every operator that a change may have to pass through on its way to the outputs."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    constants = {
        "K0": numbers(2, 1, 2, 2),
        "c0": numbers(2),
        "K1": numbers(2, 1, 2, 2),
        "V": numbers(8, 6),
        "v": numbers(6),
        "U": numbers(6, 6),
        "low": np.array(-0.5, dtype=np.float32),
        "high": np.array(0.7, dtype=np.float32),
        "W": numbers(12, 3),
    }
    nodes = [
        helper.make_node("Conv", ["x", "K0", "c0"], ["a"], name="conv0"),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Conv", ["p", "K1"], ["q"], name="conv1", group=2, pads=[0, 0, 1, 1]),
        helper.make_node("LeakyRelu", ["q"], ["l"], alpha=0.2),
        helper.make_node("Flatten", ["l"], ["f"]),
        helper.make_node("Gemm", ["f", "V", "v"], ["g"], name="dense0"),
        helper.make_node("Tanh", ["g"], ["t"]),
        helper.make_node("MatMul", ["t", "U"], ["u"], name="dense1"),
        helper.make_node("Clip", ["u", "low", "high"], ["k"]),
        helper.make_node("Sigmoid", ["u"], ["s"]),
        helper.make_node("Add", ["k", "t"], ["r"]),
        helper.make_node("Concat", ["r", "s"], ["m"], axis=1),
        helper.make_node("MatMul", ["m", "W"], ["y"], name="dense2"),
    ]
    return load_network(model(nodes, (1, 1, 4, 4), constants).SerializeToString(), name="bending")


@pytest.mark.parametrize("layers", ["conv0", "conv1", "dense0", "dense1", "conv0,dense1", "all"])
def test_derivatives_are_those_of_the_written_network(layers: str) -> None:
    network = bending_network(4)
    layer = find_layers(network, Choice(layers))
    assert isinstance(layer, HiddenLayers)
    rng = np.random.default_rng(6)
    x = rng.normal(size=(5, 16))
    base, delta = rng.normal(size=(2, layer.size)) * [[0.1], [1.0]]
    base = layer.rounded(base)
    written = replace_parameters(network, layer.changed(base))
    np.testing.assert_allclose(layer.effect(x, base), written(x) - network(x), atol=1e-10)
    tangent, step = layer.tangent(base), 1e-6
    slope = (layer.effect(x, base + step * delta) - layer.effect(x, base - step * delta)) / (2 * step)
    np.testing.assert_allclose(tangent.effect(x, delta), slope, atol=1e-5 * np.abs(slope).max())
    readout = rng.normal(size=(2, 3))
    pulled = tangent.gradient(x, readout) @ delta
    np.testing.assert_allclose(pulled, tangent.effect(x, delta) @ readout.T, atol=1e-9)
    total = tangent.offset(x) + tangent.effect(x, base)
    np.testing.assert_allclose(total, layer.effect(x, base), atol=1e-10)
