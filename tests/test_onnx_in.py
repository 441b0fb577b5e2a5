"""Reading ONNX files: structure, provenance, and one clear error for everything that is wrong."""

from __future__ import annotations

import contextlib
import gzip
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_models import model, one_node, random_points, run

from repairsolver.errors import NetworkError, RepairSolverError, SoundnessError, UnsupportedOperatorError
from repairsolver.network import agreement, load_network
from repairsolver.network.lowering.builder import LARGEST
from repairsolver.network.operators import Clip, Conv, Dense, Relu, Scale, Select, Softmax, Source, Sum

random = np.random.default_rng(11)
node = helper.make_node


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def kinds(proto: ModelProto, **options: object) -> list[type]:
    return [type(n.operator) for n in load_network(proto.SerializeToString(), **options).nodes]


def two_layers(batch: int | str = 1) -> ModelProto:
    """MatMul + Add, Relu, Gemm."""
    nodes = [
        node("MatMul", ["x", "W1"], ["a"], name="first"),
        node("Add", ["a", "b1"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Gemm", ["c", "W2", "b2"], ["y"], name="second", transB=1),
    ]
    constants = {"W1": floats(3, 4), "b1": floats(4), "W2": floats(2, 4), "b2": floats(2)}
    return model(nodes, (batch, 3), constants)


def agrees(proto: ModelProto, **options: object) -> None:
    data = proto.SerializeToString()
    network = load_network(data, **options)
    points = random_points(network.input_size)
    expected = run(data, points, network.input_shape)
    np.testing.assert_allclose(network(points), expected, rtol=1e-5, atol=1e-5)


class TestStructure:
    def test_a_product_and_its_bias_become_one_layer_that_knows_where_it_is_stored(self) -> None:
        network = load_network(two_layers().SerializeToString())
        first, relu, second = network.nodes
        assert [first.layer, second.layer] == ["first", "second"]
        assert isinstance(relu.operator, Relu)
        assert first.operator.weight_source == Source("W1", transposed=True)
        assert first.operator.bias_source == Source("b1")
        assert second.operator.weight_source == Source("W2", transposed=False)
        assert network.affine_layers == (first, second)
        assert network.input_size == 3
        assert network.output.name == "y"

    def test_a_bias_goes_into_its_layer_only_if_nobody_else_reads_the_product(self) -> None:
        nodes = [
            node("MatMul", ["x", "W"], ["a"]),
            node("Add", ["a", "b"], ["c"]),
            node("Add", ["a", "c"], ["y"]),
        ]
        proto = model(nodes, (1, 3), {"W": floats(3, 4), "b": floats(4)})
        assert kinds(proto) == [Dense, Scale, Sum]
        agrees(proto)

    @pytest.mark.parametrize(("operator", "factor"), [("Add", 1.0), ("Sub", -1.0)])
    def test_the_factor_of_a_bias_is_recorded(self, operator: str, factor: float) -> None:
        bias = floats(1, 4)
        proto = model(
            [node("MatMul", ["x", "W"], ["a"]), node(operator, ["a", "b"], ["y"])],
            (1, 3),
            {"W": floats(3, 4), "b": bias},
        )
        (layer,) = load_network(proto.SerializeToString()).nodes
        assert layer.operator.bias_source == Source("b", factor=factor)
        np.testing.assert_array_equal(layer.operator.bias, factor * bias[0])

    def test_a_bias_of_every_row_its_own_stays_outside_the_layer(self) -> None:
        nodes = [node("MatMul", ["x", "W"], ["a"]), node("Add", ["a", "b"], ["y"])]
        proto = model(nodes, (2, 3), {"W": floats(3, 4), "b": floats(2, 4)})
        assert kinds(proto) == [Dense, Scale]

    def test_a_convolution_takes_its_bias(self) -> None:
        nodes = [node("Conv", ["x", "W"], ["a"]), node("Add", ["a", "b"], ["y"])]
        proto = model(nodes, (1, 1, 4, 4), {"W": floats(2, 1, 3, 3), "b": floats(1, 2, 1, 1)})
        (layer,) = load_network(proto.SerializeToString()).nodes
        assert isinstance(layer.operator, Conv)
        assert layer.operator.bias_source == Source("b")
        agrees(proto)

    def test_what_changes_nothing_leaves_no_trace(self) -> None:
        nodes = [
            node("Sub", ["x", "zero"], ["a"]),
            node("Flatten", ["a"], ["b"]),
            node("Identity", ["b"], ["c"]),
            node("Gemm", ["c", "W"], ["d"]),
            node("Dropout", ["d"], ["e"]),
            node("Mul", ["e", "one"], ["y"]),
        ]
        constants = {
            "zero": np.zeros((1, 1, 3), np.float32),
            "W": floats(3, 2),
            "one": np.ones(1, np.float32),
        }
        assert kinds(model(nodes, (1, 1, 3), constants)) == [Dense]

    def test_transposing_twice_cancels(self) -> None:
        nodes = [
            node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Relu", ["b"], ["y"]),
        ]
        assert kinds(model(nodes, (1, 2, 3))) == [Relu]

    def test_a_reshape_before_a_convolution_becomes_real(self) -> None:
        nodes = [node("Reshape", ["x", "s"], ["a"]), node("Conv", ["a", "W"], ["y"])]
        proto = model(nodes, (1, 16), {"s": np.array([1, 1, 4, 4]), "W": floats(1, 1, 2, 2)})
        assert kinds(proto) == [Select, Conv]
        agrees(proto)

    def test_clip_at_zero_is_relu(self) -> None:
        assert kinds(one_node("Clip", (1, 2), "x", np.float32(0))) == [Relu]
        assert kinds(one_node("Clip", (1, 2), "x", np.float32(0), np.float32(6))) == [Clip]

    def test_a_network_that_does_nothing_is_one_selection(self) -> None:
        assert kinds(one_node("Identity", (1, 2))) == [Select]

    def test_shared_weights_name_the_same_tensor(self) -> None:
        nodes = [node("MatMul", ["x", "W"], ["a"]), node("MatMul", ["a", "W"], ["y"])]
        layers = load_network(model(nodes, (1, 3), {"W": floats(3, 3)}).SerializeToString()).affine_layers
        assert {layer.operator.weight_source for layer in layers} == {Source("W", transposed=True)}

    def test_means_are_not_layers_to_edit(self) -> None:
        assert load_network(one_node("ReduceMean", (1, 4), axes=[1]).SerializeToString()).affine_layers == ()

    def test_residual_and_branching_graphs(self) -> None:
        nodes = [
            node("Gemm", ["x", "W", "b"], ["a"]),
            node("Relu", ["a"], ["r"]),
            node("Add", ["r", "x"], ["s"]),
            node("Split", ["s"], ["left", "right"], axis=1),
            node("Sub", ["left", "right"], ["d"]),
            node("Concat", ["d", "left", "one"], ["y"], axis=1),
        ]
        proto = model(nodes, (1, 4), {"W": floats(4, 4), "b": floats(4), "one": floats(1, 1)}, opset=12)
        agrees(proto)

    def test_softmax_is_fine_behind_an_alias(self) -> None:
        nodes = [node("Softmax", ["x"], ["a"]), node("Flatten", ["a"], ["y"])]
        assert kinds(model(nodes, (1, 3))) == [Softmax]


class TestSortingAndConstants:
    def test_nodes_out_of_order_are_sorted(self) -> None:
        proto = two_layers()
        backwards = list(proto.graph.node)[::-1]
        del proto.graph.node[:]
        proto.graph.node.extend(backwards)
        assert kinds(proto) == [Dense, Relu, Dense]
        agrees(proto)

    @given(st.permutations(range(4)))
    @settings(max_examples=10, deadline=None)
    def test_any_order_means_the_same(self, order: list[int]) -> None:
        proto = two_layers()
        nodes = [proto.graph.node[i] for i in order]
        expected = load_network(proto.SerializeToString())(np.eye(3))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        np.testing.assert_array_equal(load_network(proto.SerializeToString())(np.eye(3)), expected)

    def test_initialisers_may_be_listed_as_inputs(self) -> None:
        proto = two_layers()
        for tensor in proto.graph.initializer:
            proto.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
        assert kinds(proto) == [Dense, Relu, Dense]

    def test_what_depends_on_constants_alone_is_computed(self) -> None:
        nodes = [
            node("Shape", ["x"], ["shape"]),
            node("Gather", ["shape", "zero"], ["batch"]),
            node("Concat", ["batch", "rest"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["flat"]),
            node("Transpose", ["W"], ["Wt"]),
            node("MatMul", ["flat", "Wt"], ["y"]),
        ]
        constants = {"zero": np.array([0]), "rest": np.array([-1]), "W": floats(2, 6)}
        proto = model(nodes, ("N", 2, 3), constants)
        (layer,) = load_network(proto.SerializeToString()).nodes
        assert layer.operator.weight_source == Source("W", transposed=False)
        np.testing.assert_array_equal(layer.operator.weight, constants["W"])
        agrees(proto)

    def test_computed_weights_have_no_place_in_the_file(self) -> None:
        nodes = [node("Mul", ["W", "two"], ["V"]), node("MatMul", ["x", "V"], ["y"])]
        proto = model(nodes, (1, 3), {"W": floats(3, 2), "two": np.float32(2)})
        network = load_network(proto.SerializeToString())
        assert network.nodes[0].operator.weight_source is None
        assert network.affine_layers == ()
        agrees(proto)

    def test_local_functions_are_written_out(self) -> None:
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        body = helper.make_function(
            "mine", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
        )
        graph = helper.make_graph(
            [node("Twice", ["x"], ["y"], domain="mine")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        )
        proto = helper.make_model(graph, functions=[body], opset_imports=imports, ir_version=8)
        assert kinds(proto) == [Sum]
        agrees(proto)


class TestShapesAndOutputs:
    @pytest.mark.parametrize("batch", ["N", None, 1])
    def test_an_axis_without_a_value_is_one(self, batch: str | int | None) -> None:
        assert load_network(one_node("Relu", (batch, 3)).SerializeToString()).input_shape == (1, 3)

    def test_input_shape_fills_axes_without_a_value(self) -> None:
        data = one_node("Relu", ("N", "K")).SerializeToString()
        assert load_network(data, input_shape=(1, 7)).input_size == 7
        with pytest.raises(NetworkError, match="does not fit"):
            load_network(one_node("Relu", (1, 3)).SerializeToString(), input_shape=(1, 4))

    def test_one_of_several_outputs_is_chosen_by_name(self) -> None:
        nodes = [node("Relu", ["x"], ["y"]), node("Erf", ["x"], ["z"])]
        data = model(nodes, (1, 2), outputs=("y", "z")).SerializeToString()
        with pytest.raises(NetworkError, match=r"2 outputs, \['y', 'z'\]"):
            load_network(data)
        network = load_network(data, output="y")
        assert [o.name for o in onnx.load_from_string(network.model).graph.output] == ["y"]
        with pytest.raises(UnsupportedOperatorError, match="Erf"):
            load_network(data, output="z")
        with pytest.raises(NetworkError, match="no output 'w'"):
            load_network(data, output="w")

    def test_metadata_and_bytes_are_kept(self) -> None:
        proto = two_layers()
        helper.set_model_props(proto, {"author": "somebody"})
        data = proto.SerializeToString()
        network = load_network(data, name="small")
        assert network.metadata == {"author": "somebody"}
        assert network.model == data
        assert network.name == "small"


class TestErrors:
    def test_all_unsupported_nodes_are_listed_at_once(self) -> None:
        nodes = [
            node("Erf", ["x"], ["a"], name="one"),
            node("Mul", ["a", "a"], ["b"], name="two"),
            node("Special", ["b"], ["c"], name="three", domain="elsewhere"),
            node("Softplus", ["c"], ["y"], name="four"),
        ]
        proto = model(nodes, (1, 2), opset=20)
        proto.opset_import.append(helper.make_opsetid("elsewhere", 1))
        with pytest.raises(UnsupportedOperatorError) as error:
            load_network(proto.SerializeToString(), name="net")
        text = str(error.value)
        assert "net: 4 nodes" in text
        for part in ("Erf node 'one'", "Mul node 'two'", "product", "'elsewhere'", "Softplus node 'four'"):
            assert part in text
        assert "Supported operators: Abs, Add, And, AveragePool" in text

    def test_softmax_inside_is_refused(self) -> None:
        nodes = [node("Softmax", ["x"], ["a"], name="soft"), node("Relu", ["a"], ["y"])]
        with pytest.raises(UnsupportedOperatorError, match=r"Softmax node 'soft'.*last operator"):
            load_network(model(nodes, (1, 2)).SerializeToString())

    def test_cycles_are_shown(self) -> None:
        nodes = [
            node("Add", ["x", "b"], ["a"], name="p"),
            node("Relu", ["a"], ["b"], name="q"),
            node("Relu", ["b"], ["y"]),
        ]
        with pytest.raises(NetworkError, match=r"cycle.*'p'"):
            load_network(model(nodes, (1, 2)).SerializeToString())

    def test_undefined_tensors_are_listed_with_their_readers(self) -> None:
        nodes = [node("Add", ["x", "ghost"], ["a"], name="p"), node("Add", ["a", "spirit"], ["y"])]
        with pytest.raises(NetworkError, match=r"'ghost' \(read by Add node 'p'\), 'spirit'"):
            load_network(model(nodes, (1, 2)).SerializeToString())

    @pytest.mark.parametrize("nodes", [[("Relu", "a"), ("Tanh", "a")], [("Relu", "W")]])
    def test_tensors_with_two_origins(self, nodes: list[tuple[str, str]]) -> None:
        made = [node(kind, ["x"], [result]) for kind, result in nodes]
        made.append(node("MatMul", [nodes[0][1], "W"], ["y"]))
        with pytest.raises(NetworkError, match="computed by"):
            load_network(model(made, (1, 2), {"W": floats(2, 2)}).SerializeToString())

    def test_output_without_origin_and_output_without_input(self) -> None:
        with pytest.raises(NetworkError, match="the output 'z'"):
            load_network(model([node("Relu", ["x"], ["y"])], (1, 2), outputs=("z",)).SerializeToString())
        with pytest.raises(NetworkError, match="does not depend on the input"):
            load_network(model([node("Relu", ["c"], ["y"])], (1, 2), {"c": floats(2)}).SerializeToString())

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_weights_that_are_not_finite_are_named(self, bad: float) -> None:
        proto = two_layers()
        for name in ("W1", "b2"):
            index = [t.name for t in proto.graph.initializer].index(name)
            array = numpy_helper.to_array(proto.graph.initializer[index]).copy()
            array.flat[1] = bad
            proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, name))
        with pytest.raises(NetworkError, match=r"\['W1', 'b2'\] contain NaN or infinite"):
            load_network(proto.SerializeToString())

    @pytest.mark.parametrize(
        "kind", [TensorProto.INT64, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.STRING]
    )
    def test_element_types(self, kind: int) -> None:
        with pytest.raises(NetworkError, match="must both be FLOAT or both DOUBLE"):
            load_network(one_node("Identity", (1, 2), element=kind).SerializeToString())

    def test_mixed_element_types_are_what_onnxruntime_says(self) -> None:
        proto = one_node("Add", (1, 2), "x", np.ones(2))
        with pytest.raises(NetworkError, match=r"onnxruntime cannot run.*Type"):
            load_network(proto.SerializeToString())

    def test_the_number_of_inputs(self) -> None:
        proto = two_layers()
        proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
        with pytest.raises(NetworkError, match=r"one input, got 2: \['x', 'more'\]"):
            load_network(proto.SerializeToString())

    @pytest.mark.parametrize("opset", [1, 6, 99])
    def test_opsets(self, opset: int) -> None:
        proto = two_layers()
        proto.opset_import[0].version = opset
        with pytest.raises(NetworkError, match=f"opset {opset}; supported are 7 to"):
            load_network(proto.SerializeToString())

    @pytest.mark.parametrize("data", [b"", b"hello, this is text", b"\x08\x07", bytes(range(256))])
    def test_bytes_that_are_no_model(self, data: bytes) -> None:
        with pytest.raises(NetworkError, match=r"not an ONNX model|is empty"):
            load_network(data)

    @given(st.integers(1, 400))
    @settings(max_examples=30, deadline=None)
    def test_a_file_cut_off_anywhere_is_an_error_of_ours(self, size: int) -> None:
        data = two_layers().SerializeToString()
        with pytest.raises(NetworkError):
            load_network(data[: min(size, len(data) - 1)])

    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
    @settings(max_examples=80, deadline=None)
    def test_a_damaged_file_loads_or_is_an_error_of_ours(self, damage: list[tuple[int, int]]) -> None:
        data = bytearray(two_layers().SerializeToString())
        for place, value in damage:
            data[place % len(data)] = value
        with contextlib.suppress(RepairSolverError):
            network = load_network(bytes(data))
            zero = np.zeros((1, network.input_size))
            expected = run(network.model, zero, network.input_shape)
            np.testing.assert_allclose(network(zero), expected, rtol=1e-3, atol=1e-3)

    def test_files(self, tmp_path: Path) -> None:
        with pytest.raises(
            NetworkError,
            match=r"absent\.onnx: cannot be read: no such file or directory; check the path and its rights$",
        ):
            load_network(tmp_path / "absent.onnx")
        with pytest.raises(NetworkError, match=r"\.onnx, \.onnx\.gz or \.nnet"):
            load_network(tmp_path / "weights.pt")
        with pytest.raises(NetworkError, match="expected a path, bytes or a torch"):
            load_network(3)  # type: ignore[arg-type]
        (tmp_path / "bad.onnx.gz").write_bytes(b"not gzip")
        with pytest.raises(NetworkError, match="cannot be read"):
            load_network(tmp_path / "bad.onnx.gz")

    def test_a_compressed_file(self, tmp_path: Path) -> None:
        data = two_layers().SerializeToString()
        path = tmp_path / "small.onnx.gz"
        path.write_bytes(gzip.compress(data))
        network = load_network(str(path))
        assert (network.model, network.name) == (data, "small")

    def test_absurd_sizes(self) -> None:
        huge = one_node("Relu", (1, LARGEST + 1)).SerializeToString()
        with pytest.raises(NetworkError, match="more than"):
            load_network(huge)
        wide = one_node("Add", (2**14, 1), "x", np.zeros((1, 2**14), np.float32)).SerializeToString()
        with pytest.raises(NetworkError, match="more than"):
            load_network(wide)

    def test_a_forward_pass_that_differs_is_a_soundness_alarm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = load_network(two_layers().SerializeToString())
        genuine = agreement.replay
        monkeypatch.setattr(agreement, "replay", lambda n, p: genuine(n, p) * (1 + 1e-3))
        with pytest.raises(SoundnessError, match="our forward pass and onnxruntime differ"):
            agreement.check_agreement(network)

    def test_inputs_so_large_that_float32_overflows_are_no_disagreement(self) -> None:
        proto = one_node("Mul", (1, 2), "x", np.array([1e36, 1], np.float32))
        assert load_network(proto.SerializeToString()).output_size == 2
        hopeless = [node("Mul", ["x", "c"], ["a"]), node("Mul", ["a", "c"], ["y"])]
        with pytest.raises(NetworkError, match="overflow float32 at every"):
            load_network(model(hopeless, (1, 2), {"c": np.float32(3e38)}).SerializeToString())


class TestExternalData:
    def save(self, folder: Path, location: str, **extra: str) -> Path:
        """A model whose W is said to lie in a data file beside it."""
        proto = one_node("MatMul", (1, 3), "x", np.ones((3, 2), np.float32))
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **extra}.items():
            tensor.external_data.add(key=key, value=value)
        path = folder / "net.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    def test_data_beside_the_file_is_read_and_embedded(self, tmp_path: Path) -> None:
        weight = floats(3, 2)
        (tmp_path / "w.bin").write_bytes(b"1234" + weight.tobytes())
        path = self.save(tmp_path, "w.bin", offset="4", length="24")
        network = load_network(path)
        np.testing.assert_array_equal(network.nodes[0].operator.weight, weight.T)
        assert load_network(network.model).sha256 == network.sha256

    @pytest.mark.parametrize("location", ["../w.bin", "/etc/hosts", "a/../../w.bin", "..\\w.bin", ""])
    def test_data_outside_the_folder_is_refused(self, tmp_path: Path, location: str) -> None:
        folder = tmp_path / "inner"
        folder.mkdir()
        (tmp_path / "w.bin").write_bytes(bytes(24))
        with pytest.raises(NetworkError, match=r"\['c1'\] are stored outside the folder"):
            load_network(self.save(folder, location))

    def test_links_out_of_the_folder_are_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "inner"
        folder.mkdir()
        (tmp_path / "w.bin").write_bytes(bytes(24))
        os.symlink(tmp_path / "w.bin", folder / "link.bin")
        with pytest.raises(NetworkError, match="outside the folder"):
            load_network(self.save(folder, "link.bin"))

    def test_bytes_have_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(bytes(24))
        with pytest.raises(NetworkError, match="outside the folder"):
            load_network(self.save(tmp_path, "w.bin").read_bytes())

    def test_missing_or_short_data(self, tmp_path: Path) -> None:
        message = (
            r"cannot be read from .*absent\.bin: no such file or directory; check the path and its rights$"
        )
        with pytest.raises(NetworkError, match=message):
            load_network(self.save(tmp_path, "absent.bin"))
        (tmp_path / "w.bin").write_bytes(bytes(8))
        with pytest.raises(NetworkError, match="needs 24 bytes"):
            load_network(self.save(tmp_path, "w.bin", length="24"))
        with pytest.raises(NetworkError, match="stored tensor 'c1' cannot be read"):
            load_network(self.save(tmp_path, "w.bin"))


DATA = os.environ.get("REPAIRSOLVER_DATA")
NEEDS_DATA = pytest.mark.skipif(
    DATA is None, reason="REPAIRSOLVER_DATA does not name the benchmark data folder"
)
SEVERAL_OUTPUTS = {"oneInput_twoBranches.onnx": ("Y", "add1")}
"""The files that cannot be loaded without saying more, and what to say."""


@pytest.mark.data
@NEEDS_DATA
def test_every_benchmark_network_loads() -> None:
    files = sorted(p for p in Path(DATA or "").rglob("*") if p.suffix in (".onnx", ".nnet"))
    assert len(files) > 150
    for path in files:
        if path.name in SEVERAL_OUTPUTS:
            with pytest.raises(NetworkError, match="2 outputs"):
                load_network(path)
        for output in SEVERAL_OUTPUTS.get(path.name, (None,)):
            assert load_network(path, output=output).nodes, path


@pytest.mark.data
@NEEDS_DATA
def test_acas_xu_is_dense_and_relu_in_turn() -> None:
    path = next(Path(DATA or "", "acasxu", "onnx").glob("*2_9*.onnx"))
    network = load_network(path)
    assert [type(n.operator) for n in network.nodes] == [Dense, Relu] * 6 + [Dense]
    assert all(n.operator.bias_source for n in network.affine_layers)


@pytest.mark.parametrize("seed", range(8))
def test_large_weights_behind_an_activation_that_cancel_are_no_misreading(seed: int) -> None:
    """A runtime's hyperbolic tangent misses by a rounding; so do sums of large terms that cancel."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=2) * 2**20
    constants = {
        "W": (np.abs(rng.normal(size=(2, 3))) + 4).astype(np.float32),
        "V": np.array([[first], [second], [-first - second]], dtype=np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Tanh", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "V"], ["y"]),
    ]
    network = load_network(model(nodes, (1, 2), constants).SerializeToString(), name="cancelling")
    assert network.output_size == 1
