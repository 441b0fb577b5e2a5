from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repairsolver.errors import PointSetError, PropertyError
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Dense
from repairsolver.property import PointSet, Property, check_fits, load_points, load_property
from repairsolver.property import points as points_module

INPUTS = np.array([[1.0, 2.0], [3.5, -4e-3], [0.1, 1 / 3]])


@pytest.fixture
def network() -> Network:
    """Two inputs, three outputs."""
    dense = Node("y", Dense(np.zeros((3, 2)), np.zeros(3)), ("x",), (1, 3))
    return Network((dense,), "x", (1, 2), np.dtype(np.float32), b"", "net")


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "points.npz", **arrays)
    return folder / "points.npz"


def written(folder: Path, text: str) -> Path:
    (folder / "points.csv").write_text(text, encoding="utf-8")
    return folder / "points.csv"


@pytest.mark.parametrize("name", ["inputs", "x", "points"])
def test_npz_with_and_without_labels(tmp_path: Path, network: Network, name: str) -> None:
    points = load_points(saved(tmp_path, **{name: INPUTS}), network)
    assert np.array_equal(points.inputs, INPUTS)
    assert points.labels is None
    assert len(points) == 3
    points = load_points(saved(tmp_path, **{name: INPUTS, "labels": np.array([0, 2, 1])}), network)
    assert points.labels is not None
    assert points.labels.dtype == np.int64
    assert points.labels.tolist() == [0, 2, 1]


def test_npz_keeps_float32_values_and_flattens_images(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 10
    points = load_points(saved(tmp_path, x=images, labels=np.array([[1.0], [2.0]])))
    assert points.inputs.dtype == np.float64
    assert np.array_equal(points.inputs, images.reshape(2, 12).astype(np.float64))
    assert points.labels is not None
    assert points.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"data": INPUTS},
            "arrays present: data; expected exactly one of inputs, x, points, optionally labels",
        ),
        ({"x": INPUTS, "weights": INPUTS}, "arrays present: x, weights; expected exactly one"),
        ({"x": INPUTS, "points": INPUTS}, "arrays present: x, points; expected exactly one"),
        ({"labels": np.zeros(3)}, "arrays present: labels; expected"),
        (
            {"x": np.zeros(3)},
            r"array x has type float64 and shape \[3\], expected real numbers \[points, inputs\]",
        ),
        ({"x": np.array([["a", "b"]])}, "array x has type <U1"),
        ({"x": np.zeros((2, 2), dtype=complex)}, "array x has type complex128"),
        ({"x": np.zeros((0, 2))}, r"array x has shape \[0, 2\]: there are no points"),
        ({"x": [[1, np.nan], [0, 0], [np.inf, 0]]}, r"NaN or infinite numbers in points \[0\], \[2\]"),
        (
            {"x": INPUTS, "labels": np.zeros(2)},
            r"labels have type float64 and shape \[2\], expected whole .* \[3\]",
        ),
        ({"x": INPUTS, "labels": ["a", "b", "c"]}, "labels have type <U1"),
        ({"x": INPUTS, "labels": [0, 0.5, -1]}, r"labels of points \[1\], \[2\] are not whole numbers"),
        ({"x": INPUTS, "labels": [0, np.nan, np.inf]}, r"labels of points \[1\], \[2\] are not whole"),
        ({"x": np.array([[{}]])}, "not a plain array of numbers .pickles are refused"),
    ],
)
def test_malformed_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(PointSetError, match=message):
        load_points(saved(tmp_path, **arrays))


def test_npz_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_module, "MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 10)))
    with pytest.raises(PointSetError, match="the most that is read is 10000"):
        load_points(tmp_path / "bomb.npz")


def test_csv_without_header(tmp_path: Path, network: Network) -> None:
    path = written(tmp_path, "1,2\n3.5, -4e-3\n\n0.1,0.3333333333333333\n")
    assert np.array_equal(load_points(path, network).inputs, INPUTS)
    assert np.array_equal(load_points(path).inputs, INPUTS)


def test_csv_with_a_column_of_labels(tmp_path: Path, network: Network) -> None:
    for points in (
        load_points(written(tmp_path, "1,2,0\r\n3.5,-0.004,2\r\n"), network),
        load_points(written(tmp_path, "\ufeffa, b ,Label\n1,2,0\n3.5,-0.004,2\n")),
    ):
        assert np.array_equal(points.inputs, INPUTS[:2])
        assert points.labels is not None
        assert points.labels.tolist() == [0, 2]


def test_csv_with_a_header_but_no_labels(tmp_path: Path, network: Network) -> None:
    assert load_points(written(tmp_path, "a,b\n1,2\n"), network).labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no points"),
        ("\n\n", "there are no points"),
        ("a,b\n", "there are no points"),
        ("1,2\n3\n4,5,6\n", "line 2: 1 columns, expected 2; line 3: 3 columns, expected 2"),
        (
            "a,b\n1,2\n3,x\nnan,inf\n",
            "line 3, column 2: 'x' is not a .*; line 4, column 1: 'nan'.*column 2: 'inf'",
        ),
        ("1,b\n2,3\n", "line 1, column 2: 'b' is not a finite number"),
        ("1,1_0\n", "line 1, column 2: '1_0' is not a finite number"),
        ("1,\n", "line 1, column 2: '' is not a finite number"),
        ("a,b,label\n1,2,0.5\n", r"labels of points \[0\] are not whole numbers"),
    ],
)
def test_malformed_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PointSetError, match=message):
        load_points(written(tmp_path, text))


def test_long_lists_of_problems_are_cut(tmp_path: Path) -> None:
    with pytest.raises(PointSetError, match=r"line 21, column 1: 'x' is not a finite number; and 80 more$"):
        load_points(written(tmp_path, "1\n" + "x\n" * 100))


def test_points_must_fit_the_network(tmp_path: Path, network: Network) -> None:
    with pytest.raises(PointSetError, match="points have 3 numbers, but network net has 2 inputs"):
        load_points(saved(tmp_path, x=np.zeros((1, 3))), network)
    with pytest.raises(PointSetError, match=r"points.csv:1: 4 columns, but network net has 2 inputs"):
        load_points(written(tmp_path, "1,2,3,4\n"), network)
    message = (
        r"the largest label is 4, but network net has outputs 0 to 2: .* count from 0, of points \[0\], \[2\]"
    )
    with pytest.raises(PointSetError, match=message):
        load_points(written(tmp_path, "1,2,3\n1,2,2\n1,2,4\n"), network)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("a,b,class\n1,2,0\n", "3 columns, the last of them called 'class', but network net has 2 inputs"),
        ("a,label\n1,2\n", "2 columns, the last of them called 'label', but network net has 2 inputs"),
        ("1;2\n3;4\n", "1 column, the last of them called '1;2', but network net has 2 inputs"),
    ],
)
def test_columns_that_do_not_fit_say_how_labels_and_commas_are_read(
    text: str, got: str, tmp_path: Path, network: Network
) -> None:
    with pytest.raises(PointSetError, match=f"{got}: .*separated by commas, .* has to call label or labels"):
        load_points(written(tmp_path, text), network)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("1,2")
    (tmp_path / "latin.csv").write_bytes(b"1,\xe9\n")
    for name in ("absent.npz", "absent.csv", "text.npz", "latin.csv"):
        with pytest.raises(PointSetError, match=f"{name}: cannot read the points"):
            load_points(tmp_path / name)
    with pytest.raises(PointSetError, match=r"expected a file that ends in \.npz or \.csv"):
        load_points(tmp_path / "points.txt")


def test_point_sets_are_read_only_copies() -> None:
    inputs = INPUTS.copy()
    points = PointSet(inputs, np.array([0, 1, 2]))
    inputs[0] = 7
    assert points.inputs[0, 0] == 1
    assert points.labels is not None
    for array in (points.inputs, points.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(PointSetError, match=r"points have shape \(3,\)"):
        PointSet(np.zeros(3))
    with pytest.raises(PointSetError, match=r"there are no points: .* \(0, 5\), expected .* at least one"):
        PointSet(np.zeros((0, 5)))


def test_properties_must_fit_the_network(tmp_path: Path, network: Network) -> None:
    check_fits(Property((), 2, 3), network)
    path = tmp_path / "p.vnnlib"
    path.write_text("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (= X_0 0))(assert (<= Y_0 0))")
    with pytest.raises(
        PropertyError, match=r"p.vnnlib is about 1 input and 1 output, but network net has 2 .* 3"
    ):
        load_property(path, network=network)
