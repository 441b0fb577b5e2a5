"""Random formulas: their truth at a point against the violation of the property read from their text."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from repairsolver.property import Property, parse_property, write_property
from repairsolver.property.formula import read_formula
from repairsolver.property.normal_form import disjunctive_normal_form
from repairsolver.property.reader import Atom, Source, read_forms

Tree = str | tuple["Tree", ...]
VARIABLES = ("X_0", "X_1", "Y_0", "Y_1")
HEADER = (
    "".join(f"(declare-const {name} Real)" for name in VARIABLES)
    + "(assert (and (>= X_0 -2) (<= X_0 2) (>= X_1 -2) (<= X_1 2)))"
)

numbers = st.integers(-6, 6).map(lambda value: repr(value / 2))
dividers = st.sampled_from(["2", "-4", "0.5"])
leaves = st.one_of(st.sampled_from(VARIABLES), numbers)
terms: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.tuples(st.just("+"), below, below),
        st.tuples(st.just("-"), below, below, below),
        st.tuples(st.just("-"), below),
        st.tuples(st.just("*"), numbers, below),
        st.tuples(st.just("*"), below, numbers, numbers),
        st.tuples(st.just("/"), below, dividers),
    ),
    max_leaves=4,
)
comparisons = st.tuples(st.sampled_from(["<=", ">=", "<", ">", "="]), terms, terms)
closed = st.tuples(st.sampled_from(["<=", ">=", "<", ">"]), terms, terms)
without_equality: st.SearchStrategy[Tree] = st.recursive(
    closed, lambda below: st.tuples(st.sampled_from(["and", "or"]), below, below), max_leaves=4
)
formulas: st.SearchStrategy[Tree] = st.recursive(
    comparisons,
    lambda below: st.one_of(
        st.tuples(st.just("and"), below, below),
        st.tuples(st.just("or"), below, below, below),
        st.tuples(st.just("or"), below),
        st.tuples(st.just("not"), without_equality),
        st.tuples(st.just("not"), st.tuples(st.just("not"), without_equality)),
    ),
    max_leaves=6,
)
points = st.lists(
    st.tuples(*[st.integers(-6, 6).map(lambda value: value / 2)] * 2, *[st.integers(-8, 8).map(float)] * 2),
    min_size=1,
    max_size=25,
)


def text(tree: Tree) -> str:
    return tree if isinstance(tree, str) else f"({' '.join(map(text, tree))})"


def value(tree: Tree, point: dict[str, Fraction]) -> Fraction:
    if isinstance(tree, str):
        return point[tree] if tree in point else Fraction(float(tree))
    operator, *operands = (tree[0], *(value(part, point) for part in tree[1:]))
    first, rest = operands[0], operands[1:]
    for other in rest:
        first = {"+": first + other, "-": first - other, "*": first * other}.get(str(operator), first)
        if operator == "/":
            first /= other
    return -first if operator == "-" and not rest else first


def holds(tree: Tree, point: dict[str, Fraction], positive: bool = True) -> bool:
    """Truth of the formula, but that bounds of single inputs are closed."""
    assert not isinstance(tree, str)
    operator = tree[0]
    if operator == "not":
        return holds(tree[1], point, not positive)
    if operator in ("and", "or"):
        parts = [holds(part, point, positive) for part in tree[1:]]
        return all(parts) if (operator == "and") == positive else any(parts)
    left, right = (value(part, point) for part in tree[1:])
    if operator == "=":
        return left == right
    if left == right:
        return (operator in ("<=", ">=")) == positive or bounds_an_input(tree[1], tree[2])
    return (left < right) == ((operator in ("<=", "<")) == positive)


def bounds_an_input(left: Tree, right: Tree) -> bool:
    """Whether a comparison is about one input and nothing else."""
    origin = dict.fromkeys(VARIABLES, Fraction(0))

    def difference(point: dict[str, Fraction]) -> Fraction:
        return value(left, point) - value(right, point)

    moving = [v for v in VARIABLES if difference(origin | {v: Fraction(1)}) != difference(origin)]
    return moving in (["X_0"], ["X_1"])


def read(tree: Tree) -> Property:
    # The second, empty alternative keeps contradictions from being plain assertions, which are errors.
    return parse_property(f"{HEADER}(assert (or {text(tree)} (and (<= X_0 -5) {text(tree)})))")


def arrays(rows: list[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows)
    return table[:, :2], table[:, 2:]


@settings(max_examples=200, deadline=None)
@given(formulas, points)
def test_violation_agrees_with_the_truth_of_the_formula(tree: Tree, rows: list[tuple[float, ...]]) -> None:
    violated = read(tree).violation(*arrays(rows)) >= 0
    for row, found in zip(rows, violated, strict=True):
        point = dict(zip(VARIABLES, map(Fraction, row), strict=True))
        inside = max(map(abs, row[:2])) <= 2
        assert bool(found) == (inside and holds(tree, point))


@settings(max_examples=100, deadline=None)
@given(formulas, points)
def test_writing_and_reading_keeps_every_violation(tree: Tree, rows: list[tuple[float, ...]]) -> None:
    prop = read(tree)
    written = write_property(prop)
    again = parse_property(written)
    inputs, outputs = arrays(rows)
    before, after = prop.violation(inputs, outputs), again.violation(inputs, outputs)
    assert np.array_equal(before, after)
    assert write_property(again) == written


def test_points_outside_the_box_never_violate() -> None:
    prop = read(("<=", "Y_0", "9"))
    inputs, outputs = np.array([[2.5, 0.0], [2.0, 0.0]]), np.zeros((2, 2))
    assert prop.violation(inputs, outputs).tolist() == [-np.inf, 9.0]


def test_the_normal_form_lists_every_choice() -> None:
    source = Source("(and (<= a 0) (or (<= b 0) (<= c 0)) (or (<= d 0) (and (<= e 0) (<= f 0))))", "file")
    formula = read_formula(list(read_forms(source)), source, lambda atom: -1 - ord(atom.text) + ord("a"))
    disjuncts = disjunctive_normal_form(formula, source)
    names = {"".join(sorted(chr(ord("a") - 1 - row.terms[0][0]) for row in rows)) for rows in disjuncts}
    assert len(disjuncts) == 4
    assert names == {"abd", "acd", "abef", "acef"}


def test_bounds_in_a_disjunction_only_tighten_the_common_box() -> None:
    prop = read(("or", ("and", ("<=", "X_0", "3"), (">=", "X_1", "-3")), ("<=", "X_0", "1")))
    assert [region.upper.tolist() for region in prop.regions] == [[1.0, 2.0], [2.0, 2.0]]
    assert [region.lower.tolist() for region in prop.regions] == [[-2.0, -2.0]] * 2


def test_disjuncts_with_the_same_box_share_a_region() -> None:
    prop = read(
        (
            "or",
            ("and", ("<=", "X_0", "1"), ("<=", "Y_0", "0")),
            ("and", ("<=", "Y_1", "0"), ("<=", "X_0", "1")),
        )
    )
    assert [(region.upper.tolist(), len(region.unsafe)) for region in prop.regions] == [([1.0, 2.0], 2)]


def test_unknown_atoms_are_left_to_the_resolver() -> None:
    source = Source("(<= a 0)", "file")
    seen: list[Atom] = []

    def resolve(atom: Atom) -> int:
        seen.append(atom)
        return 0

    read_formula(list(read_forms(source)), source, resolve)
    assert seen == [Atom("a", 4)]
