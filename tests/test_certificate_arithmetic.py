"""The checker's arithmetic against exact rational numbers, and elementary functions against many digits."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repairsolver.certificate import arithmetic as ar
from repairsolver.certificate import smooth
from repairsolver.network import operators as ops

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
OPERATIONS = ["+", "-", "*"]


def exact(x: float) -> Fraction:
    return Fraction(float(x))


@given(FLOATS, FLOATS, st.sampled_from(OPERATIONS))
@settings(max_examples=300, deadline=None)
def test_down_and_up_enclose_one_operation(a: float, b: float, operation: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = {"+": np.float64(a) + b, "-": np.float64(a) - b, "*": np.float64(a) * b}[operation]
        low, high = float(ar.down(rounded)), float(ar.up(rounded))
    true = {"+": exact(a) + exact(b), "-": exact(a) - exact(b), "*": exact(a) * exact(b)}[operation]
    if np.isinf(rounded):
        assert np.isnan(low) or low == -np.inf
        assert np.isnan(high) or high == np.inf
    else:
        assert np.isinf(low) or exact(low) <= true
        assert np.isinf(high) or true <= exact(high)


def test_an_overflow_is_never_laundered() -> None:
    with np.errstate(invalid="ignore"):
        assert np.array_equal(ar.down(np.array([np.inf, -np.inf, np.nan])), [np.nan, -np.inf, np.nan], True)
        assert np.array_equal(ar.up(np.array([np.inf, -np.inf, np.nan])), [np.inf, np.nan, np.nan], True)


def cancelling(rng: np.random.Generator, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of many magnitudes whose products nearly sum to zero."""
    a = rng.normal(size=terms) * 2.0 ** rng.integers(-30, 30, size=terms)
    b = rng.normal(size=terms) * 2.0 ** rng.integers(-30, 30, size=terms)
    half = terms // 2
    a[half : 2 * half], b[half : 2 * half] = (
        -a[:half],
        b[:half] * (1 + 1e-16 * rng.integers(-2, 3, size=half)),
    )
    order = rng.permutation(terms)
    return a[order], b[order]


@pytest.mark.parametrize("terms", [1, 2, 7, 50, 400])
def test_gamma_bounds_the_error_of_products(terms: int) -> None:
    rng = np.random.default_rng(terms)
    for _ in range(20):
        a, b = cancelling(rng, terms)
        true = sum((exact(x) * exact(y) for x, y in zip(a, b, strict=True)), Fraction(0))
        for computed in (a @ b, float(np.sum(a * b)), (a[None] @ b[:, None])[0, 0], sum(a * b)):
            size = float(np.abs(a) @ np.abs(b))
            assert abs(exact(computed) - true) <= exact(ar.gamma(terms) * size + ar.TINY)


def test_the_bound_is_not_idle() -> None:
    """An error bound a thousand times smaller would be wrong for some of these sums."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(50):
        a, b = cancelling(rng, 50)
        true = sum((exact(x) * exact(y) for x, y in zip(a, b, strict=True)), Fraction(0))
        size = float(np.abs(a) @ np.abs(b))
        worst = max(worst, float(abs(exact(a @ b) - true)) / (ar.gamma(50) * size))
    assert 1e-3 < worst <= 1


@given(st.floats(-1e300, 1e300), st.floats(0, 1e300))
@settings(max_examples=200, deadline=None)
def test_a_ball_contains_its_interval(lower: float, width: float) -> None:
    upper = lower + width
    centre, radius = ar.ball(np.array([lower]), np.array([upper]))
    assert exact(centre[0]) - exact(radius[0]) <= exact(lower)
    assert exact(upper) <= exact(centre[0]) + exact(radius[0])


def true_sigmoid(x: float) -> Decimal:
    return 1 / (1 + (-Decimal(x)).exp())


def true_tanh(x: float) -> Decimal:
    return 1 - 2 / (1 + (2 * Decimal(x)).exp())


@pytest.mark.parametrize(
    ("operator", "truth"),
    [(ops.Sigmoid(), true_sigmoid), (ops.Tanh(), true_tanh)],
    ids=["sigmoid", "tanh"],
)
def test_elementary_functions_are_enclosed(operator: ops.Sigmoid | ops.Tanh, truth: object) -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate(
        [
            rng.normal(size=600) * 4,
            rng.uniform(-40, 40, 300),
            2.0 ** -np.arange(1, 300, 7),
            [0.0, 800.0, -800.0],
        ]
    )
    low, high = smooth.enclose(operator, points)
    with localcontext() as context:
        context.prec = 400
        for x, a, b in zip(points, low, high, strict=True):
            assert Decimal(a) <= truth(x) <= Decimal(b)  # type: ignore[operator]
    assert (high - low <= 1e-12).all()
