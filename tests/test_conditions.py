"""Truth values in ONNX graphs: guards of any form, against onnxruntime on faces and off them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper
from onnx_models import model, one_node, run

from repairsolver.errors import NetworkError, UnsupportedOperatorError
from repairsolver.network import load_network, replay
from repairsolver.network.gates import decided, gates_of

FACES = np.array([-1.0, -0.5, 0.25, 1.0], np.float32)
SHAPES = ((1, 3), (1, 1, 3), (3,), (2, 2), (1, 4, 1))


class Logic:
    """A random graph of comparisons of x, and choices by them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = SHAPES[seed % len(SHAPES)]
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = values
        return name

    def comparison(self) -> str:
        x = "x"
        if self.rng.random() < 0.5:
            x = self.node("Reshape", "x", self.constant(np.array(self.shape, np.int64)))
        ends = self.rng.choice(FACES, self.shape if self.rng.random() < 0.5 else ()).astype(np.float32)
        end = self.constant(ends)
        operator = str(self.rng.choice(["GreaterOrEqual", "LessOrEqual"]))
        return self.node(operator, *((x, end) if self.rng.random() < 0.7 else (end, x)))

    def truth(self, depth: int) -> str:
        if depth == 0:
            return self.comparison()
        kind = self.rng.integers(4)
        if kind == 0:
            return self.node("And", self.truth(depth - 1), self.truth(depth - 1))
        if kind == 1:
            return self.node("Or", self.truth(depth - 1), self.truth(depth - 1))
        numbers = self.node("Cast", self.truth(depth - 1), to=TensorProto.FLOAT)
        axis = int(self.rng.integers(len(self.shape)))
        operator = "ReduceMin" if kind == 2 else "ReduceMax"
        # keepdims, so that shapes broadcast.
        reduced = self.node(operator, numbers, axes=[axis], keepdims=1)
        return self.node("Cast", reduced, to=TensorProto.BOOL)

    def build(self) -> bytes:
        weight = self.constant(self.rng.normal(size=self.shape).astype(np.float32))
        moved = self.node("Mul", "x", weight)
        fixed = self.constant(self.rng.normal(size=self.shape).astype(np.float32))
        on, off = (moved, fixed) if self.rng.random() < 0.5 else (fixed, moved)
        chosen = self.node("Where", self.truth(2), on, off)
        again = self.node("Where", self.truth(1), chosen, self.node("Relu", "x"))
        shape = self.constant(np.array([-1], np.int64))
        self.nodes.append(helper.make_node("Reshape", [again, shape], ["y"]))
        return model(self.nodes, self.shape, self.constants).SerializeToString()


@pytest.mark.parametrize("seed", range(60))
def test_random_guards_choose_as_onnxruntime_does(seed: int) -> None:
    logic = Logic(seed)
    data = logic.build()
    network = load_network(data)
    rng = np.random.default_rng(seed)
    size = network.input_size
    on_faces = rng.choice(FACES, (40, size))
    beside = np.nextafter(on_faces, rng.choice([-9, 9], (40, size)).astype(np.float32)).astype(np.float32)
    points = np.concatenate([on_faces, beside, rng.uniform(-1.5, 1.5, (40, size)).astype(np.float32)])
    expected = run(data, points, logic.shape)
    np.testing.assert_allclose(network(points.astype(float)), expected, rtol=1e-6, atol=1e-7)


def test_a_gate_is_a_union_of_boxes_and_can_be_decided() -> None:
    nodes = [
        helper.make_node("GreaterOrEqual", ["x", "low"], ["a"]),
        helper.make_node("LessOrEqual", ["x", "high"], ["b"]),
        helper.make_node("And", ["a", "b"], ["c"]),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.INT32),
        helper.make_node("ReduceMin", ["d"], ["e"], axes=[1], keepdims=1),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.BOOL),
        helper.make_node("Neg", ["x"], ["g"]),
        helper.make_node("Where", ["f", "g", "x"], ["y"]),
    ]
    ends = {"low": np.array([[0, -3.4028235e38]], np.float32), "high": np.array([[1, 2]], np.float32)}
    network = load_network(model(nodes, [1, 2], ends).SerializeToString())
    (gate,) = gates_of(network)
    np.testing.assert_array_equal(gate.operator.lower, [[0, -np.inf]])
    np.testing.assert_array_equal(gate.operator.upper, [[1, 2]])
    x = np.array([[0.5, 1.0], [0.5, 3.0], [1.0, 2.0], [-0.1, 0.0]])
    np.testing.assert_array_equal(network(x), np.where([[True], [False], [True], [False]], -x, x))
    np.testing.assert_array_equal(decided(network, [True])(x), -x)
    np.testing.assert_array_equal(decided(network, [False])(x), x)


def test_numbers_times_truth_values_are_a_gate() -> None:
    for order in (["b", "h"], ["h", "b"]):
        data = refused(
            helper.make_node("LessOrEqual", ["x", "c"], ["a"]),
            helper.make_node("Cast", ["a"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["f"], ["b"], axes=[1], keepdims=1),
            helper.make_node("Neg", ["x"], ["h"]),
            helper.make_node("Mul", order, ["y"]),
        )
        network = load_network(data)
        (gate,) = gates_of(network)
        np.testing.assert_array_equal(gate.operator.upper, [[0, 0]])
        x = np.array([[-1.0, -2.0], [0.0, -1.0], [0.5, -1.0]])
        np.testing.assert_array_equal(network(x), [[1, 2], [0, 1], [0, 0]])
        np.testing.assert_array_equal(network(x), replay(network, x))


def refused(*nodes: NodeProto, **more: np.ndarray) -> bytes:
    return model(nodes, [1, 2], {"c": np.zeros((1, 2), np.float32)} | more).SerializeToString()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (one_node("Greater", (1, 3), "x", np.zeros(3, np.float32)).SerializeToString(), "not supported"),
        (
            refused(
                helper.make_node("Relu", ["x"], ["h"]),
                helper.make_node("GreaterOrEqual", ["h", "c"], ["a"]),
                helper.make_node("Where", ["a", "x", "c"], ["y"]),
            ),
            "own inputs",
        ),
        (
            refused(
                helper.make_node("LessOrEqual", ["x", "x"], ["a"]),
                helper.make_node("Where", ["a", "x", "c"], ["y"]),
            ),
            "two tensors",
        ),
        (
            refused(
                helper.make_node("LessOrEqual", ["x", "c"], ["a"]),
                helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
                helper.make_node("Add", ["x", "b"], ["y"]),
            ),
            "truth values",
        ),
    ],
    ids=["strict", "computed", "two tensors", "sum"],
)
def test_other_comparisons_are_refused_with_their_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=reason):
        load_network(data)


@pytest.mark.parametrize("moved", [False, True])
def test_rounded_inputs_are_not_the_inputs_that_a_guard_compares(moved: bool) -> None:
    """Just below 1 in float64, 1 in float32: where the guard holds is no box of inputs."""
    nodes = [
        helper.make_node("Reshape" if moved else "Identity", ["x", "s"] if moved else ["x"], ["z"]),
        helper.make_node("Cast", ["z"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("GreaterOrEqual", ["f", "c"], ["a"]),
        helper.make_node("Where", ["a", "h", "x"], ["y"]),
    ]
    stored = {"c": np.ones((1, 1), np.float32), "h": np.full((1, 1), 99.0), "s": np.array([1, 1])}
    proto = model(nodes, [1, 1], stored, element=TensorProto.DOUBLE)
    with pytest.raises(UnsupportedOperatorError, match="own inputs"):
        load_network(proto.SerializeToString())


def test_ends_beyond_float32_restrict_inputs_in_float64() -> None:
    nodes = [
        helper.make_node("GreaterOrEqual", ["x", "c"], ["a"]),
        helper.make_node("Where", ["a", "h", "x"], ["y"]),
    ]
    stored = {"c": np.array([[-1e39]]), "h": np.full((1, 1), 99.0)}
    network = load_network(model(nodes, [1, 1], stored, element=TensorProto.DOUBLE).SerializeToString())
    x = np.array([[-1e40], [-1e39], [0.0], [1e300]])
    np.testing.assert_array_equal(network(x)[:, 0], [-1e40, 99, 99, 99])
    np.testing.assert_array_equal(network(x), replay(network, x))


def test_a_guard_that_never_holds_leaves_known_numbers() -> None:
    data = refused(
        helper.make_node("LessOrEqual", ["x", "low"], ["a"]),
        helper.make_node("GreaterOrEqual", ["x", "c"], ["b"]),
        helper.make_node("And", ["a", "b"], ["both"]),
        helper.make_node("Cast", ["both"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "x"], ["nothing"]),
        helper.make_node("Add", ["nothing", "low"], ["known"]),
        helper.make_node("Add", ["x", "known"], ["y"]),
        low=np.full((1, 2), -1, np.float32),
    )
    network = load_network(data)
    assert not gates_of(network)
    np.testing.assert_array_equal(network(GRID), GRID - 1)
    np.testing.assert_array_equal(network(GRID), replay(network, GRID))


def branch(name: str, nodes: list[NodeProto], result: str) -> GraphProto:
    return helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
    )


def asking(then: list[NodeProto], otherwise: list[NodeProto], *rest: NodeProto) -> bytes:
    """A graph that computes t1 where x_0 <= 0, else t2; y is made of it."""
    ends = {"c": np.zeros(1, np.float32), "d": np.array([[-1.0, 1.0]], np.float32), "one": np.array([0])}
    ends["z"] = np.zeros((1, 1), np.float32)
    nodes = [
        helper.make_node("Gather", ["x", "one"], ["first"], axis=1),
        helper.make_node("LessOrEqual", ["first", "c"], ["a"]),
        helper.make_node("Cast", ["a"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["number"], ["some"], keepdims=0),
        helper.make_node("Cast", ["some"], ["asked"], to=TensorProto.BOOL),
        helper.make_node(
            "If", ["asked"], ["t"],
            then_branch=branch("then", then, "t1"), else_branch=branch("else", otherwise, "t2"),
        ),
    ]  # fmt: skip
    return model([*nodes, *rest], [1, 2], ends).SerializeToString()


INSIDE = [
    helper.make_node("LessOrEqual", ["x", "d"], ["below"]),
    helper.make_node("Cast", ["below"], ["zero_one"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMin", ["zero_one"], ["t1"], axes=[1], keepdims=1),
]
SAME = [helper.make_node("Relu", ["x"], ["t2"])]
GRID = np.array([[a, b] for a in (-1.5, -1, -0.5, 0, 0.5) for b in (-1.0, 0.0, 1.0, 1.5)])


def test_truths_behind_another_one_hold_where_both_do() -> None:
    zero = [helper.make_node("Identity", ["z"], ["t2"])]
    nothing = helper.make_node("Identity", ["number"], ["t2"])
    for otherwise in (zero, [nothing]):
        rest = helper.make_node("Mul", ["x", "t"], ["y"])
        network = load_network(asking(INSIDE, otherwise, rest))
        (gate,) = gates_of(network)
        np.testing.assert_array_equal(gate.operator.upper, [[-1, 1]])
        np.testing.assert_array_equal(network(GRID), replay(network, GRID))


def test_numbers_of_a_branch_are_chosen_by_a_gate() -> None:
    then = [helper.make_node("Neg", ["x"], ["t1"])]
    network = load_network(asking(then, SAME, helper.make_node("Identity", ["t"], ["y"])))
    (gate,) = gates_of(network)
    np.testing.assert_array_equal(gate.operator.upper, [[0, np.inf]])
    np.testing.assert_array_equal(network(GRID), replay(network, GRID))


def test_gates_of_a_branch_that_is_idle_elsewhere_are_all_there_is() -> None:
    inner = [
        *INSIDE[:2],
        helper.make_node("ReduceMin", ["zero_one"], ["on"], axes=[1], keepdims=1),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Mul", ["x", "on"], ["step"]),
        helper.make_node("Add", ["h", "step"], ["t1"]),
    ]
    outer = [helper.make_node("Relu", ["x"], ["t2"])]
    network = load_network(asking(inner, outer, helper.make_node("Identity", ["t"], ["y"])))
    np.testing.assert_array_equal(network(GRID), replay(network, GRID))
    # Here both branches compute the same tensor, known from outside, where the inner guard is off.
    shared = [node for node in inner if node.op_type != "Relu"]
    same = [helper.make_node("Identity", ["h"], ["t2"])]
    data = asking(shared, same, helper.make_node("Identity", ["t"], ["y"]))
    proto = load_from_string(data)
    proto.graph.node.insert(0, helper.make_node("Relu", ["x"], ["h"]))
    network = load_network(proto.SerializeToString())
    (gate,) = gates_of(network)
    np.testing.assert_array_equal(gate.operator.upper, [[-1, 1]])
    np.testing.assert_array_equal(network(GRID), replay(network, GRID))


def test_a_known_condition_takes_its_branch() -> None:
    proto = load_from_string(asking(INSIDE, SAME, helper.make_node("Identity", ["t"], ["y"])))
    (node,) = [node for node in proto.graph.node if node.op_type == "If"]
    node.input[0] = "no"
    flag = numpy_helper.from_array(np.array(False), "no")
    proto.graph.initializer.append(flag)
    network = load_network(proto.SerializeToString())
    assert not gates_of(network)
    np.testing.assert_array_equal(network(GRID), np.maximum(GRID, 0))


@pytest.mark.parametrize(
    ("then", "otherwise", "reason"),
    [
        (INSIDE, [helper.make_node("Sub", ["number", "c"], ["t2"])], "truth values"),
        (INSIDE, [helper.make_node("ReduceMin", ["other"], ["t2"], axes=[1], keepdims=1)], "defines 'other'"),
        ([helper.make_node("Softsign", ["x"], ["t1"])], SAME, "Softsign"),
    ],
    ids=["numbers", "undefined", "inside"],
)
def test_branches_that_cannot_be_read_are_refused(
    then: list[NodeProto], otherwise: list[NodeProto], reason: str
) -> None:
    with pytest.raises(NetworkError, match=reason):
        load_network(asking(then, otherwise, helper.make_node("Mul", ["x", "t"], ["y"])))


def test_what_was_refused_before_is_no_fault_of_a_branch_that_reads_it() -> None:
    """Truth values that are not read are missing in the branch: only their own node is named."""
    proto = load_from_string(asking(INSIDE, SAME, helper.make_node("Identity", ["t"], ["y"])))
    strict = helper.make_node("Less", ["x", "d"], ["strict"], name="strict")
    proto.graph.node.insert(0, strict)
    (node,) = [node for node in proto.graph.node if node.op_type == "If"]
    for attribute in node.attribute:
        if attribute.name == "then_branch":
            attribute.g.node[1].input[0] = "strict"
    with pytest.raises(UnsupportedOperatorError, match="1 node is not supported:\n  Less node 'strict'"):
        load_network(proto.SerializeToString())


def test_truths_of_an_else_branch_are_no_boxes() -> None:
    otherwise = [
        helper.make_node("GreaterOrEqual", ["x", "d"], ["above"]),
        helper.make_node("Cast", ["above"], ["high"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["high"], ["t2"], axes=[1], keepdims=1),
    ]
    with pytest.raises(UnsupportedOperatorError, match="no union of closed boxes"):
        load_network(asking(INSIDE, otherwise, helper.make_node("Mul", ["x", "t"], ["y"])))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("cast", [True, False])
def test_truths_joined_with_known_ones(known: bool, first: bool, cast: bool) -> None:
    """On in a box that random inputs miss: a guard that is read wrongly shows only at inputs of the box."""
    nodes = [helper.make_node("GreaterOrEqual", ["x", "end"], ["far"])]
    far, flag = "far", np.array([[known]])
    if cast:
        nodes.append(helper.make_node("Cast", ["far"], ["number"], to=TensorProto.FLOAT))
        far, flag = "number", flag.astype(np.float32)
    parts = ["known", far] if first else [far, "known"]
    nodes.append(helper.make_node("Concat", parts, ["joined"], axis=1))
    joined = "joined"
    if not cast:
        nodes.append(helper.make_node("Cast", ["joined"], ["numbers"], to=TensorProto.FLOAT))
        joined = "numbers"
    nodes += [
        helper.make_node("ReduceMin", [joined], ["all"], axes=[1]),
        helper.make_node("Mul", ["x", "all"], ["more"]),
        helper.make_node("Add", ["x", "more"], ["y"]),
    ]
    end = np.array([[7.5, 7.5]], np.float32)
    data = model(nodes, (1, 2), {"end": end, "known": flag}).SerializeToString()
    points = np.array([[8.0, 8.0], [8.0, 0.0], [0.0, 8.0], [7.5, 9.0], [0.0, 0.0], [-8.0, 8.0]])
    network = load_network(data)
    np.testing.assert_array_equal(network(points), run(data, points, (1, 2)))


@pytest.mark.parametrize(
    ("nodes", "constants", "reason"),
    [
        (
            [
                helper.make_node("Cast", ["far"], ["index"], to=TensorProto.INT64),
                helper.make_node("Gather", ["table", "index"], ["truth"]),
                helper.make_node("Where", ["truth", "x", "end"], ["y"]),
            ],
            {"table": np.array([True, False])},
            "input 1 ('index') must not be truth values",
        ),
        (
            [
                helper.make_node("Cast", ["far"], ["number"], to=TensorProto.FLOAT),
                helper.make_node("Concat", ["number", "table"], ["joined"], axis=1),
                helper.make_node("ReduceMin", ["joined"], ["least"], axes=[1]),
                helper.make_node("Mul", ["x", "least"], ["y"]),
            ],
            {"table": np.array([[0.5]], np.float32)},
            "it joins truth values with numbers that are not 0 or 1",
        ),
    ],
)
def test_truths_as_numbers_of_entries_or_among_other_numbers_are_refused(
    nodes: list[NodeProto], constants: dict[str, np.ndarray], reason: str
) -> None:
    compared = helper.make_node("GreaterOrEqual", ["x", "end"], ["far"])
    stored = {"end": np.array([[7.5, 7.5]], np.float32)} | constants
    with pytest.raises(UnsupportedOperatorError, match=re.escape(reason)):
        load_network(model([compared, *nodes], (1, 2), stored).SerializeToString())
