import os
from pathlib import Path

import numpy as np
import pytest

from repairsolver.errors import PropertyError
from repairsolver.property import Property, load_property, parse_property, write_property

DATA = os.environ.get("REPAIRSOLVER_DATA")
VERSION = "(vnnlib-version <2.0>)\n"
NETWORK = "(declare-network N (declare-input X float32 [1,2]) (declare-output Y float32 [1,2]))\n"
BOX = "(assert (and (>= X[0,0] -1.0) (<= X[0,0] 1.0) (>= X[0,1] 0.25) (<= X[0,1] 0.5)))\n"


def parse(asserts: str, network: str = NETWORK, box: str = BOX) -> Property:
    return parse_property(VERSION + network + box + asserts, name="file")


def test_one_network_with_indexed_variables() -> None:
    prop = parse("(assert (or (<= Y[0,0] (* 2.0 Y [0, 1])) (> X[0,1] 4.5e-1)))")
    first, second = prop.regions
    assert first.lower.tolist() == [-1.0, 0.25]
    assert first.upper.tolist() == [1.0, 0.5]
    assert first.unsafe[0].output.tolist() == [[1.0, -2.0]]
    assert second.lower.tolist() == [-1.0, 0.45]
    assert len(second.unsafe[0].bound) == 0
    inputs, outputs = np.array([[0.0, 0.3], [0.0, 0.47]]), np.array([[9.0, 0.0]] * 2)
    assert prop.violation(inputs, outputs).tolist() == [-9.0, np.inf]


def test_tensors_are_flattened_in_c_order() -> None:
    network = '(declare-network N (declare-input X real [2, 3] "x") (declare-output Y Real [2,1,2] "y"))'
    box = "".join(
        f"(assert (>= X[{i},{j}] {3 * i + j}))(assert (<= X[{i},{j}] 9))" for i in range(2) for j in range(3)
    )
    prop = parse("(assert (<= Y[1,0,0] 7))", network, box)
    assert (prop.input_size, prop.output_size) == (6, 4)
    assert prop.regions[0].lower.tolist() == [0, 1, 2, 3, 4, 5]
    assert prop.regions[0].unsafe[0].output.tolist() == [[0, 0, 1, 0]]


def test_scalars_are_named_without_indices() -> None:
    network = "(declare-network N (declare-input X real []) (declare-output Y real []))"
    prop = parse("(assert (== Y 2.0))", network, "(assert (<= X 1))(assert (>= X 0))")
    assert (prop.input_size, prop.output_size) == (1, 1)
    assert prop.violation(np.array([[0.5]] * 2), np.array([[2.0], [2.5]])).tolist() == [0.0, -0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert (<= Y[0] 1.0))", r"file:4:13: expected 2 indices for shape \[1, 2\]; got `Y\[0\]`"),
        ("(assert (<= Y 1.0))", r"file:4:13: expected 2 indices for shape \[1, 2\]; got `Y`"),
        ("(assert (<= Y[0,2] 1.0))", r"file:4:13: index 2 is out of range for shape \[1, 2\]"),
        ("(assert (<= Y[0 1] 1.0))", r"file:4:13: expected 2 indices"),
        ("(assert (<= Z[0,0] 1.0))", "file:4:13: expected a number or an element of X or Y"),
        ("(assert (<= Y_0 1.0))", "file:4:13: expected a number or an element of X or Y; got `Y_0`"),
        ("(assert (!= Y[0,0] 1.0))", "file:4:9: `!=` does not describe a closed set"),
        ("(assert)", "file:4:1: `assert` takes exactly one formula, got 0"),
        (
            "(declare-const X_0 Real)",
            "file:4:1: expected one of the commands vnnlib-version, declare-network",
        ),
        (NETWORK, "file:4:1: exactly one network is supported, got 2"),
    ],
)
def test_malformed_assertions(text: str, message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("", "file:1:1: exactly one network is supported, got 0: expected `.declare-network N"),
        ("(declare-network)", "file:2:1: expected `.declare-network N"),
        (
            "(declare-network N (declare-input X real [1]))",
            "exactly one declare-output is supported, found 0",
        ),
        (
            "(declare-network N (declare-input X real [1]) (declare-input Z real [1]))",
            "file:2:1: exactly one declare-input is supported, found 2",
        ),
        ("(declare-network N (equal-to M))", "file:2:20: properties that relate several networks"),
        ('(declare-network N (declare-hidden Z real [1] "z"))', "file:2:20: assertions about hidden tensors"),
        ("(declare-network N X)", "file:2:20: malformed network.*got `X`"),
        (
            "(declare-network N (declare-input X int8 [1]))",
            "file:2:20: expected one of the element types real",
        ),
        ("(declare-network N (declare-input X real [0,1]))", "file:2:20: expected positive dimensions"),
        ("(declare-network N (declare-input X real [1 2]))", "file:2:20: expected positive dimensions"),
        (
            "(declare-network N (declare-input X real [99999999,9999]))",
            "file:2:20: expected positive dimensions",
        ),
        ("(declare-network N (declare-input X [1]))", "file:2:20: expected `.declare-input X float32"),
        ("(declare-network N (declare-input 1X real [1]))", "file:2:20: expected `.declare-input X float32"),
        (
            "(declare-network N (declare-input X real [1]) (declare-output X real [1]))",
            "file:2:1: input and output are both called X",
        ),
    ],
)
def test_malformed_declarations(network: str, message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        parse("", network, "")


def test_names_in_messages_are_those_of_the_text() -> None:
    with pytest.raises(PropertyError, match=r"2 of 2 inputs lack .*: X\[0,0\] to X\[0,1\]"):
        parse("(assert (<= Y[0,0] 0))", NETWORK, "")


@pytest.mark.parametrize("version", ["(vnnlib-version <2.1>)", "(vnnlib-version <1.0>)", "(vnnlib-version)"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(PropertyError, match=r"file:1:1: expected `\(vnnlib-version <2.0>\)`"):
        parse_property(version + NETWORK, name="file")


def as_version2(prop: Property) -> str:
    """The property's VNN-LIB 1.0 text, translated word by word."""
    text = write_property(prop)
    for letter, size in (("X", prop.input_size), ("Y", prop.output_size)):
        for index in reversed(range(size)):
            text = text.replace(f"(declare-const {letter}_{index} Real)", "")
            text = text.replace(f"{letter}_{index}", f"{letter}[0,{index}]")
    declared = (
        f"(declare-network N (declare-input X float32 [1,{prop.input_size}])"
        f"(declare-output Y float32 [1,{prop.output_size}]))"
    )
    return VERSION + declared + text


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="REPAIRSOLVER_DATA is not set")
@pytest.mark.parametrize("number", range(1, 11))
def test_both_versions_of_acas_xu_mean_the_same(number: int) -> None:
    first = load_property(Path(DATA or "") / "acasxu" / "vnnlib" / f"prop_{number}.vnnlib")
    second = parse_property(as_version2(first))
    rng = np.random.default_rng(number)
    inputs = np.concatenate([rng.uniform(region.lower, region.upper, (50, 5)) for region in first.regions])
    outputs = rng.normal(size=(len(inputs), 5))
    assert np.array_equal(first.violation(inputs, outputs), second.violation(inputs, outputs))
