"""ELU and GELU in the checker: enclosures against many digits, certificates, and mutants of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_elu_gelu import at_least, exported
from torch import nn

import repairsolver as rs
from repairsolver.certificate import check, curves
from repairsolver.certificate.strategy import slopes
from repairsolver.network import operators as ops
from repairsolver.verification.record import property_sha256

Truth = Callable[[Decimal], Decimal]
DIGITS = 90
# Of what `truth` computes.
SPARE = Decimal(10) ** -40
ROOT_PI = Decimal(
    "1.77245385090551602729816748334114518279754945612238712821380778985291128459103218137495065673854466541623"
)


def erf(x: Decimal) -> Decimal:
    """By its power series, whose terms alternate below 12; beyond that it is 1 to 60 digits."""
    if abs(x) > 12:
        return Decimal(1).copy_sign(x)
    term, total, n = x, x, 0
    while abs(term) > Decimal(10) ** -70:
        n += 1
        term = -term * x * x / n
        total += term / (2 * n + 1)
    return 2 * total / ROOT_PI


def elu(alpha: float) -> Truth:
    return lambda x: x if x >= 0 else Decimal(alpha) * (x.exp() - 1)


def gelu(x: Decimal) -> Decimal:
    return x * (1 + erf(x / Decimal(2).sqrt())) / 2


def gelu_tanh(x: Decimal) -> Decimal:
    u = Decimal(2).sqrt() / ROOT_PI * (x + Decimal("0.044715") * x**3)
    return x * (1 - 1 / (1 + (2 * u).exp())) if abs(u) < 200 else max(x, Decimal(0))


CURVES: dict[str, tuple[ops.Curve, Truth]] = {
    "elu": (ops.Elu(1.0), elu(1.0)),
    "elu flat": (ops.Elu(0.0), elu(0.0)),
    "elu kink": (ops.Elu(0.3), elu(0.3)),
    "elu steep": (ops.Elu(2.5), elu(2.5)),
    "gelu": (ops.Gelu(), gelu),
    "gelu tanh": (ops.Gelu(tanh=True), gelu_tanh),
}
by_name = pytest.mark.parametrize("name", CURVES)
ENDS = [0.0, 1e-300, -1e-9, -0.7518, 9.0, -32.0, 1e6]
reals = st.floats(-40, 40) | st.floats(-2, 2) | st.sampled_from(ENDS)


@by_name
@given(x=reals)
@settings(max_examples=150, deadline=None)
def test_values_are_enclosed(name: str, x: float) -> None:
    operator, truth = CURVES[name]
    low, high = (float(side[0]) for side in curves.enclose(operator, np.array([x])))
    with localcontext() as context:
        context.prec = DIGITS
        value = truth(Decimal(x))
        assert Decimal(low) - SPARE <= value <= Decimal(high) + SPARE
    assert high - low <= 1e-13 * (1 + abs(x))


@by_name
@given(ends=st.tuples(reals, reals), shares=st.lists(st.floats(0, 1), max_size=4), own=st.floats(-2, 3))
@example(ends=(-40.0, 40.0), shares=[0.5, 0.49, 0.51], own=0.5)
@example(ends=(-9.0 - 2.0**-40, 9.0), shares=[0.1], own=0.0)
@example(ends=(0.25, 0.25 + 2.0**-52), shares=[], own=1.0)
@settings(max_examples=80, deadline=None)
def test_lines_enclose_in_exact_arithmetic(
    name: str, ends: tuple[float, float], shares: list[float], own: float
) -> None:
    operator, truth = CURVES[name]
    lower, upper = (np.array([[end]]) for end in sorted(ends))
    for slope in (*slopes(operator, lower, upper), np.array([[own]]), np.zeros((1, 1))):
        floor, ceiling = (float(v[0, 0]) for v in curves.extremes(operator, slope, slope, lower, upper))
        with localcontext() as context:
            context.prec = DIGITS
            for share in (0.0, 1.0, 1 / 128, 77 / 128, *shares):
                x = float(np.clip(lower + share * (upper - lower), lower, upper)[0, 0])
                gap = Fraction(truth(Decimal(x))) - Fraction(float(slope.flat[0])) * Fraction(x)
                assert Fraction(floor) - Fraction(SPARE) <= gap <= Fraction(ceiling) + Fraction(SPARE)


@by_name
def test_lines_are_no_looser_than_the_grid_allows(name: str) -> None:
    operator, _ = CURVES[name]
    rng = np.random.default_rng(4)
    lower = rng.uniform(-4, 3, 300)
    upper = lower + rng.uniform(0, 2, 300)
    for slope in (*slopes(operator, lower, upper), np.zeros(300)):
        floor, ceiling = curves.extremes(operator, slope, slope, lower, upper)
        shares = np.linspace(0, 1, 2001)[:, None]
        x = np.clip(np.append(lower + shares * (upper - lower), np.zeros((1, 300)), axis=0), lower, upper)
        gap = np.mean(curves.enclose(operator, x), axis=0) - slope * x
        allowed = 2 * curves.STORED + 2 * 2.5 * ((upper - lower) / curves.CELLS) ** 2 / 8
        assert (gap.min(axis=0) - floor <= allowed).all()
        assert (ceiling - gap.max(axis=0) <= allowed).all()


def test_the_curvature_is_bounded() -> None:
    """f'' of both GELUs on a grid; between its points it changes by 1e-4 times |f'''| < 3 at most."""
    x = np.linspace(-9, 9, 90_001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    u, du = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x)
    t, ddu = np.tanh(u), math.sqrt(2 / math.pi) * 0.26829 * x
    approximated = (1 - t * t) * (du + x / 2 * (ddu - 2 * t * du * du))
    for operator, second in ((ops.Gelu(), density * (2 - x * x)), (ops.Gelu(tanh=True), approximated)):
        assert np.abs(second).max() + 3e-4 < curves.shape(operator)[2]
    for operator in (ops.Gelu(), ops.Gelu(tanh=True)):
        left, right, _, apart = curves.shape(operator)
        with localcontext() as context:
            context.prec = DIGITS
            tails = Decimal(right) - gelu(Decimal(right)), -gelu(Decimal(left))
            assert 0 < max(tails) <= apart - curves.STORED


def test_bounds_that_are_not_finite_never_prove() -> None:
    for operator, _ in CURVES.values():
        for ends in ((-np.inf, 1.0), (0.0, np.inf), (np.nan, 1.0)):
            lower, upper = (np.array([[end]]) for end in ends)
            with np.errstate(all="ignore"):
                floor, ceiling = curves.extremes(operator, np.array([[0.5]]), np.array([[0.5]]), lower, upper)
            assert not (np.isfinite(floor).all() and np.isfinite(ceiling).all())


@pytest.fixture(scope="module", params=["elu", "elu steep", "gelu", "gelu tanh"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> rs.Network:
    activation = {
        "elu": nn.ELU(0.7), "elu steep": nn.ELU(2.0), "gelu": nn.GELU(), "gelu tanh": nn.GELU("tanh"),
    }[request.param]  # fmt: skip
    path = tmp_path_factory.mktemp("curves") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        onnx.save(exported(activation), path)
    return rs.load_network(path)


def test_proofs_have_certificates(network: rs.Network) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (50_000, 3))
    least = float(rs.replay(network, x)[:, 0].min())
    prop = at_least(network, least - 0.05)
    found = rs.verify(network, prop, certificate=True, limits=rs.Limits(seconds=20))
    assert found.status is rs.VerifyStatus.HOLDS
    assert found.certificate is not None
    assert check(found.certificate, network=network, property=prop).valid
    # The same proof of a property that does not hold.
    wrong = at_least(network, least + 1e-4)
    forged = replace(found.certificate, property=property_sha256(wrong))
    assert not check(forged, network=network, property=wrong, seconds=10).valid
