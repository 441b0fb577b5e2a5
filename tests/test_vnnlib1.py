import gzip
import os
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from repairsolver.errors import PropertyError
from repairsolver.property import Property, load_property, parse_property
from repairsolver.property import files as property_files

DATA = os.environ.get("REPAIRSOLVER_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="REPAIRSOLVER_DATA is not set")
DECLARED = (
    "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
)
BOX = "(assert (and (>= X_0 -1) (<= X_0 1) (>= X_1 0.25) (<= X_1 5e-1)))\n"
REFUSED = {
    "test_assert_operator_not_implemented.vnnlib": "expected one of and, or, not",
    "test_command_not_implemented.vnnlib": "expected one of the commands",
    "test_mul_var_var.vnnlib": "product of variables is not linear",
}


def parse(asserts: str, declared: str = DECLARED, box: str = BOX) -> Property:
    return parse_property(declared + box + asserts, name="file")


def only_rows(asserts: str) -> list[tuple[list[float], list[float], float]]:
    """The rows (C, D, d) of a property with one region and one conjunction."""
    ((conjunction,),) = [region.unsafe for region in parse(asserts).regions]
    triples = zip(
        conjunction.output.tolist(), conjunction.input.tolist(), conjunction.bound.tolist(), strict=True
    )
    return list(triples)


def test_box_and_rows() -> None:
    prop = parse("(assert (<= Y_0 Y_1))(assert (>= Y_1 3.5))")
    (region,) = prop.regions
    assert region.lower.tolist() == [-1.0, 0.25]
    assert region.upper.tolist() == [1.0, 0.5]
    assert (prop.input_size, prop.output_size, prop.name) == (2, 2, "file")
    assert prop.text.startswith("(declare-const X_0")
    assert only_rows("(assert (<= Y_0 Y_1))(assert (>= Y_1 3.5))") == [
        ([1, -1], [0, 0], 0),
        ([0, -1], [0, 0], -3.5),
    ]


def test_declarations_in_any_order_after_their_use_and_as_functions() -> None:
    declared = "(declare-fun Y_1 () Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
    prop = parse_property(BOX + "(assert (<= Y_1 0))" + declared + "(declare-const X_0 Real)")
    assert (prop.input_size, prop.output_size) == (2, 2)
    assert prop.regions[0].lower.tolist() == [-1.0, 0.25]
    assert prop.regions[0].unsafe[0].output.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("formula", "row"),
    [
        ("(<= (+ Y_0 (* 2 X_0) 1) 4)", ([1, 0], [2, 0], 3)),
        ("(>= (- Y_0 Y_1 X_1) -1.5e1)", ([-1, 1], [0, 1], 15)),
        ("(< (* (- 2) (/ Y_0 4)) (- Y_1))", ([-0.5, 1], [0, 0], 0)),
        ("(<= (/ (+ X_0 X_1) 2 2) 0)", ([0, 0], [0.25, 0.25], 0)),
        ("(<= (* 2 (+ 1 2) Y_0) (- 7 (* 3 Y_1)))", ([6, 3], [0, 0], 7)),
        ("(not (<= Y_0 2))", ([-1, 0], [0, 0], -2)),
        ("(not (not (> Y_0 2)))", ([-1, 0], [0, 0], -2)),
        ("(<= (- (+ Y_0 X_0) (+ X_0 0)) .5)", ([1, 0], [0, 0], 0.5)),
        ("(<= (- 3 (+ Y_0 Y_1 X_0)) 0)", ([-1, -1], [-1, 0], -3)),
    ],
)
def test_linear_arithmetic(formula: str, row: tuple[list[float], list[float], float]) -> None:
    assert only_rows(f"(assert {formula})") == [row]


def test_equality_is_two_rows_and_fixes_an_input() -> None:
    assert only_rows("(assert (= Y_0 2))") == [([1, 0], [0, 0], 2), ([-1, 0], [0, 0], -2)]
    (region,) = parse("(assert (= X_0 0.5))(assert (<= Y_0 0))").regions
    assert (region.lower[0], region.upper[0]) == (0.5, 0.5)


def test_bounds_that_are_not_float64_are_rounded_outward() -> None:
    (region,) = parse("(assert (>= (* 3 X_0) 1))(assert (<= (* 7 X_0) 5))(assert (<= Y_0 0))").regions
    assert (
        Fraction(float(region.lower[0])) < Fraction(1, 3) < Fraction(np.nextafter(region.lower[0], 1).item())
    )
    assert (
        Fraction(float(region.upper[0])) > Fraction(5, 7) > Fraction(np.nextafter(region.upper[0], 0).item())
    )


def test_right_hand_sides_are_rounded_upward() -> None:
    ((_, _, bound),) = only_rows("(assert (<= (+ Y_0 0.1) (+ 0.2 0.7)))")
    exact = Fraction(0.2) + Fraction(0.7) - Fraction(0.1)
    assert exact <= Fraction(bound)
    assert Fraction(np.nextafter(bound, 0).item()) < exact


def test_boxes_in_a_disjunction_become_regions_and_share_conjunctions() -> None:
    prop = parse_property(
        DECLARED
        + """(assert (or (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1))
                         (and (>= X_0 2) (<= X_0 3) (>= X_1 2) (<= X_1 3))))
             (assert (or (<= Y_0 0) (and (<= Y_1 0) (>= Y_0 Y_1))))"""
    )
    assert [region.lower.tolist() for region in prop.regions] == [[0, 0], [2, 2]]
    assert [region.upper.tolist() for region in prop.regions] == [[1, 1], [3, 3]]
    assert [[len(c.bound) for c in region.unsafe] for region in prop.regions] == [[1, 2], [1, 2]]


def test_inputs_and_outputs_may_mix_in_one_clause() -> None:
    prop = parse("(assert (or (and (<= X_0 0) (<= Y_0 1)) (and (>= X_0 0) (<= Y_1 1)) (<= (+ X_0 Y_0) 0)))")
    inputs = np.array([[-0.5, 0.3], [0.5, 0.3], [0.5, 0.3], [0.5, 0.7]])
    outputs = np.array([[1.0, 9.0], [1.0, 9.0], [-1.0, 9.0], [-9.0, -9.0]])
    assert (prop.violation(inputs, outputs) >= 0).tolist() == [True, False, True, False]


def test_empty_boxes_in_a_disjunction_are_dropped() -> None:
    prop = parse("(assert (or (and (<= X_0 -0.5) (>= X_0 0.5) (<= Y_0 0)) (<= Y_1 0)))")
    assert [len(region.unsafe) for region in prop.regions] == [1]
    assert prop.regions[0].unsafe[0].output.tolist() == [[0, 1]]


def test_a_property_without_a_possible_disjunct_has_no_regions() -> None:
    prop = parse("(assert (or (and (>= X_0 2) (<= Y_0 0)) (and (<= Y_0 0) (<= 1 0))))")
    assert prop.regions == ()
    assert prop.violation(np.zeros((1, 2)), np.zeros((1, 2))).tolist() == [-np.inf]


@pytest.mark.parametrize(
    ("formula", "marks"),
    [
        ("(> Y_0 1)", {0}),
        ("(>= Y_0 1)", set()),
        ("(< (+ Y_0 X_0) 1)", {0}),
        ("(not (<= Y_0 1))", {0}),
        ("(not (< Y_0 1))", set()),
        ("(and (<= Y_1 3) (> Y_0 1))", {1}),
    ],
)
def test_strict_rows_keep_their_mark_and_hold_only_without_equality(formula: str, marks: set[int]) -> None:
    prop = parse(f"(assert {formula})")
    assert prop.regions[0].unsafe[0].strict == marks
    at_a_tie = prop.violation(np.array([[0.0, 0.25]]), np.array([[1.0, 0.0]]))
    assert (at_a_tie >= 0) == (not marks)
    assert at_a_tie == pytest.approx(0)


def test_strict_comparisons_of_equal_constants_are_never_true() -> None:
    assert only_rows("(assert (or (and (<= 1 1) (<= Y_0 1)) (< 1 1)))") == [([1, 0], [0, 0], 1)]
    with pytest.raises(PropertyError, match="never true"):
        parse("(assert (> 1 1)) (assert (<= Y_0 1))")


def test_comparisons_of_constants() -> None:
    assert only_rows("(assert (or (and (<= (* 0 X_0) 7) (<= Y_0 1)) (<= (- X_0 X_0) -1)))") == [
        ([1, 0], [0, 0], 1)
    ]


@pytest.mark.parametrize(
    ("asserts", "message"),
    [
        ("(assert (xor (<= Y_0 0) (<= Y_1 0)))", r"file:6:9: expected one of and, or, not, <=.*got `\(xor"),
        ("(assert (<= Y_0 0) (<= Y_1 0))", "file:6:1: `assert` takes exactly one formula, got 2"),
        ("(assert (<= Y_0))", "file:6:9: `<=` takes exactly two operands, got 1"),
        ("(assert (<= Y_0 Z_0))", "file:6:17: expected a number or a declared variable; got `Z_0`"),
        ("(assert (<= Y_0 X_2))", "file:6:17: .*got `X_2`"),
        ("(assert (<= Y_0 Y_00))", "file:6:17: .*got `Y_00`"),
        ("(assert (<= Y_0 1_0))", "file:6:17: .*got `1_0`"),
        ("(assert (<= Y_0 nan))", "file:6:17: .*got `nan`"),
        ("(assert (<= Y_0 1e400))", "file:6:17: this number exceeds float64; got `1e400`"),
        ("(assert (<= (* 1e300 1e300 Y_0) 1))", "file:6:9: a coefficient or bound .* exceeds float64"),
        (
            "(assert (<= (* Y_0 Y_1) 1))",
            r"file:6:13: a product of variables is not linear.*got `\(\* Y_0 Y_1\)`",
        ),
        ("(assert (<= (/ 1 Y_1) 1))", "file:6:13: division by a variable"),
        ("(assert (<= (/ Y_1 (- 1 1)) 1))", "file:6:13: division by zero"),
        ("(assert (<= (/ Y_1) 1))", "file:6:13: `/` takes at least two operands"),
        (
            "(assert (<= (sin Y_1) 1))",
            r"file:6:13: expected a number, a variable or arithmetic.*got `\(sin Y_1\)`",
        ),
        ("(assert (<= () 1))", r"file:6:13: expected a number.*got `\(\)`"),
        ("(assert (<= (+) 1))", r"file:6:13: expected a number.*got `\(\+\)`"),
        ("(assert Y_0)", "file:6:9: expected one of and, or.*got `Y_0`"),
        ("(assert (and))", "file:6:9: `and` needs at least one operand"),
        ("(assert (not (<= Y_0 1) (<= Y_1 1)))", "file:6:9: `not` takes exactly one operand, got 2"),
        ("(assert (not (= Y_0 1)))", "file:6:14: the negation of an equality"),
        ("(assert (!= Y_0 1))", "file:6:9: `!=` does not describe a closed set"),
        ("(assert (<= 1 0))", "file:6:9: this comparison of constants is never true"),
        ("(check-sat)", "file:6:1: expected one of the commands declare-const, declare-fun, assert"),
        ("(declare-const X_0 Real)", "file:6:1: X_0 is declared already at file:1:1"),
        ("(declare-const Z_0 Real)", "file:6:1: expected `.declare-const X_0 Real.`"),
        ("(declare-const X_2 Int)", "file:6:1: expected `.declare-const X_0 Real.`"),
        ("(declare-const)", "file:6:1: expected `.declare-const X_0 Real.`"),
        ("(declare-const X_5 Real)", "file:6:1: X_5 is declared, but not X_2, X_3, X_4: number from 0"),
        ("(assert (<= Y_0 0)", r"file:6:1: this `\(` is never closed"),
        ("(vnnlib-version <3.0>)", "file:6:1: expected one of the commands"),
        ("(declare-network N)", "file:6:1: expected `.vnnlib-version <2.0>.` before"),
    ],
)
def test_errors_name_file_line_column_expectation_and_token(asserts: str, message: str) -> None:
    with pytest.raises(PropertyError, match=message):
        parse(asserts)


def test_plain_bounds_that_contradict_are_errors_that_name_all_inputs() -> None:
    with pytest.raises(
        PropertyError, match=r"X_0 >= 2.0 \(file:6:9\) and X_0 <= 1.0.*; X_1 >= 0.25.* X_1 <= 0.0"
    ):
        parse("(assert (>= X_0 2))(assert (<= X_1 0))")


def test_inputs_without_finite_bounds_are_all_listed() -> None:
    declared = "".join(f"(declare-const X_{i} Real)" for i in range(6)) + "(declare-const Y_0 Real)"
    box = "(assert (<= X_0 0))(assert (>= X_1 0))(assert (<= X_1 1))"
    with pytest.raises(PropertyError, match=r"5 of 6 inputs lack .*: X_0, X_2 to X_5; assert both"):
        parse("(assert (<= Y_0 0))", declared, box)
    some = "".join(f"(>= X_{i} 0)(<= X_{i} 1)" for i in (0, 2, 3, 4, 5))
    with pytest.raises(PropertyError, match=r"1 of 6 inputs lack .*: X_0;"):
        parse(f"(assert (or (and {some}) (and {some.replace('(>= X_0 0)', '')})))", declared, box)


def test_declarations_are_needed() -> None:
    with pytest.raises(PropertyError, match="file:1:1: no variable Y_0 is declared"):
        parse_property("(declare-const X_0 Real)", name="file")
    with pytest.raises(PropertyError, match="file:1:1: no commands"):
        parse_property("; nothing\n", name="file")


@pytest.mark.parametrize(
    "formula",
    [
        "(and (<= Y_0 1) " * 50_000 + "(<= Y_0 1)" + ")" * 50_000,
        "(or (<= Y_0 1) " * 20_000 + "(<= Y_0 1)" + ")" * 20_000,
        "(not " * 50_000 + "(<= Y_0 1)" + ")" * 50_000,
        "(<= " + "(+ Y_0 " * 20_000 + "1" + ")" * 20_000 + " 1)",
        "(<= " + "(- Y_0 " * 20_001 + "1" + ")" * 20_001 + " 0)",
    ],
)
def test_deep_nesting_is_read_without_recursion(formula: str) -> None:
    prop = parse(f"(assert {formula})")
    inputs = np.array([[0.0, 0.25]] * 2)
    assert (prop.violation(inputs, np.array([[-1.0, 0], [2.0, 0]])) >= 0).tolist() == [True, False]


def test_exploding_normal_forms_are_refused() -> None:
    choices = " ".join("(or (<= Y_0 1) (>= Y_1 2))" for _ in range(40))
    with pytest.raises(PropertyError, match=r"the disjunctive normal form has .* at most 100000"):
        parse(f"(assert (and {choices}))")


def test_plain_rows_count_once_for_every_disjunct() -> None:
    rows = "".join(f"(assert (<= Y_0 {value}))" for value in range(1001))
    with pytest.raises(
        PropertyError, match="the disjunctive normal form has 1000 disjuncts with 1002000 half-spaces"
    ):
        parse(f"{rows}(assert (or {'(<= Y_1 0)' * 1000}))")


def test_huge_matrices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repairsolver.property.normal_form.MAX_NUMBERS", 10)
    with pytest.raises(PropertyError, match="the property's matrices would hold 14 numbers"):
        parse("(assert (and (<= Y_0 1) (<= Y_1 1)))")


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    text = DECLARED + BOX + "(assert (<= Y_0 0))"
    for name in ("a.vnnlib.gz", "b.vnnlib"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        prop = load_property(tmp_path / name)
        assert (prop.text, prop.name) == (text, name)
    assert prop.sha256 == parse_property(text).sha256


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PropertyError, match=r"absent\.vnnlib: cannot read the property"):
        load_property(tmp_path / "absent.vnnlib")
    with pytest.raises(PropertyError, match="cannot read the property"):
        load_property(tmp_path)
    cut = tmp_path / "cut.vnnlib.gz"
    packed = gzip.compress(DECLARED.encode() * 50)
    cut.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(PropertyError, match=r"cut.vnnlib.gz: cannot read the property"):
        load_property(cut)
    cut.write_bytes(packed[:10] + bytes(40))
    with pytest.raises(PropertyError, match=r"cut.vnnlib.gz: cannot read the property"):
        load_property(cut)
    (tmp_path / "latin.vnnlib").write_bytes(b"; ok\n; \xe9\n")
    with pytest.raises(PropertyError, match=r"latin.vnnlib:2: not UTF-8"):
        load_property(tmp_path / "latin.vnnlib")
    monkeypatch.setattr(property_files, "MAX_BYTES", 1000)
    (tmp_path / "bomb.vnnlib.gz").write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(PropertyError, match="longer than 1000 bytes"):
        load_property(tmp_path / "bomb.vnnlib.gz")


def test_damaged_texts_raise_property_errors_only() -> None:
    text = DECLARED + BOX + "(assert (or (<= Y_0 (* 2 Y_1)) (and (>= Y_0 1.5) (<= (- X_0 Y_1) 0))))"
    draw = random.Random(0)
    refused = 0
    for _ in range(2000):
        at, length = draw.randrange(len(text)), draw.randrange(1, 6)
        inserted = "".join(draw.choice('()[]XY_019.-+*/e ;"or') for _ in range(draw.randrange(4)))
        try:
            parse_property(text[:at] + inserted + text[at + length :])
        except PropertyError:
            refused += 1
    assert 500 < refused < 2000


@pytest.mark.data
@needs_data
def test_every_property_of_the_benchmark_data_is_read() -> None:
    found = sorted(
        path for path in Path(DATA or "").rglob("*") if path.name.endswith((".vnnlib", ".vnnlib.gz"))
    )
    assert len(found) > 200
    for path in found:
        if path.name in REFUSED:
            with pytest.raises(PropertyError, match=REFUSED[path.name]):
                load_property(path)
        else:
            prop = load_property(path)
            assert prop.regions
            assert all(region.unsafe for region in prop.regions)


@pytest.mark.data
@needs_data
def test_acas_xu_properties_have_the_known_structure() -> None:
    folder = Path(DATA or "") / "acasxu" / "vnnlib"
    shapes = {
        number: [[len(c.bound) for c in region.unsafe] for region in load_property(path).regions]
        for number in range(1, 11)
        for path in [folder / f"prop_{number}.vnnlib"]
    }
    single, choice = [[4]], [[1, 1, 1, 1]]
    assert shapes == {
        1: [[1]], 2: single, 3: single, 4: single, 5: choice, 6: choice * 2, 7: [[3, 3]], 8: [[2, 2, 2]],
        9: choice, 10: choice,
    }  # fmt: skip


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(("folder", "size"), [("mnist_fc_vnncomp", 784), ("cifar10_resnet", 3072)])
def test_images_are_read(folder: str, size: int) -> None:
    path = min((Path(DATA or "") / folder / "vnnlib").iterdir())
    assert load_property(path).input_size == size
