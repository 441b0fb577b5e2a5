from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from repairsolver.errors import PropertyError
from repairsolver.property import (
    Conjunction,
    Property,
    Region,
    load_property,
    parse_property,
    save_property,
    write_property,
)

coefficients = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1e6, 1e6))


@st.composite
def properties(draw: st.DrawFn) -> Property:
    """Any number of regions over two inputs and two outputs, with awkward float64 numbers."""
    regions = []
    for place in range(draw(st.integers(0, 3))):
        width = draw(arrays.arrays(float, 2, elements=st.floats(0, 5)))
        lower = draw(arrays.arrays(float, 2, elements=st.floats(0, 3))) + 10.0 * place
        unsafe = []
        for rows in draw(st.lists(st.integers(0, 3), max_size=3)):
            output = draw(arrays.arrays(float, (rows, 2), elements=coefficients))
            inputs = draw(arrays.arrays(float, (rows, 2), elements=coefficients))
            inputs[(output == 0).all(axis=1)] = 0.5  # two inputs: not a bound of the box
            bound = draw(arrays.arrays(float, rows, elements=st.floats(-1e6, 1e6)))
            strict = draw(st.sets(st.integers(0, rows - 1))) if rows else ()
            unsafe.append(Conjunction(output, inputs, bound, frozenset(strict)))
        regions.append(Region(lower, lower + width, tuple(unsafe)))
    return Property(tuple(regions), 2, 2, name="random\nname")


@given(properties(), st.integers(0, 2**32 - 1))
def test_every_property_reads_back_with_the_same_violations(prop: Property, seed: int) -> None:
    again = parse_property(write_property(prop))
    rng = np.random.default_rng(seed)
    boxes = [rng.uniform(region.lower, region.upper, (5, 2)) for region in prop.regions]
    inputs = np.concatenate([*boxes, rng.uniform(-1, 40, (5, 2))])
    outputs = rng.normal(size=(len(inputs), 2)) * 1e3
    np.testing.assert_allclose(again.violation(inputs, outputs), prop.violation(inputs, outputs), rtol=1e-12)


@given(properties())
def test_strict_rows_read_back_as_strict(prop: Property) -> None:
    def marks(given: Property) -> list[list[bool]]:
        unsafe = [c for region in given.regions for c in region.unsafe]
        return [[row in c.strict for row in range(len(c.bound)) if c.output[row].any()] for c in unsafe]

    once = parse_property(write_property(prop))
    assert marks(parse_property(write_property(once))) == marks(once)
    if all(c.output.any(axis=1).all() and len(c.bound) for r in prop.regions for c in r.unsafe):
        assert marks(once) == [m for m in marks(prop) if m]


def test_a_property_that_nothing_violates_stays_one() -> None:
    never = Conjunction(np.zeros((1, 1)), np.zeros((1, 1)), np.array([-1.0]))
    box = Region(np.zeros(1), np.ones(1), (never,))
    for prop in (Property((), 1, 1), Property((box,), 1, 1)):
        assert parse_property(write_property(prop)).regions == ()


def test_trivial_rows_disappear() -> None:
    always = Conjunction(np.array([[0.0], [1.0]]), np.zeros((2, 1)), np.array([1.0, 2.0]))
    prop = parse_property(write_property(Property((Region(np.zeros(1), np.ones(1), (always,)),), 1, 1)))
    assert prop.regions[0].unsafe[0].output.tolist() == [[1.0]]


def test_saving_keeps_the_text(tmp_path: Path) -> None:
    text = "; mine\r\n(declare-const X_0 Real)(declare-const Y_0 Real)(assert (= X_0 0))(assert (<= Y_0 0))"
    prop = parse_property(text)
    save_property(prop, tmp_path / "p.vnnlib")
    assert load_property(tmp_path / "p.vnnlib").sha256 == prop.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["p.vnnlib"]


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    prop = Property((), 1, 1)
    with pytest.raises(PropertyError, match=r"p.vnnlib: cannot save the property"):
        save_property(prop, tmp_path / "absent" / "p.vnnlib")
    with pytest.raises(PropertyError, match=r"leave out .gz"):
        save_property(prop, tmp_path / "p.vnnlib.gz")
