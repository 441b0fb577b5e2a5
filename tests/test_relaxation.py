"""The lines of every activation enclose it on dense grids of all kinds of intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repairsolver.bounds.relaxation import relax, unstable
from repairsolver.bounds.tensors import TensorNode, apply_activation
from repairsolver.network import operators as ops

ACTIVATIONS: dict[str, ops.Activation] = {
    "relu": ops.Relu(),
    "leaky": ops.LeakyRelu(np.array([0.01])),
    "leaky flat": ops.LeakyRelu(np.array([0.0])),
    "leaky straight": ops.LeakyRelu(np.array([1.0])),
    "leaky steep": ops.LeakyRelu(np.array([1.7])),
    "leaky very steep": ops.LeakyRelu(np.array([50.0])),
    "leaky negative": ops.LeakyRelu(np.array([-0.4])),
    "leaky very negative": ops.LeakyRelu(np.array([-3.0])),
    "clip": ops.Clip(-1.0, 2.0),
    "clip positive": ops.Clip(0.5, 6.0),
    "clip above": ops.Clip(-np.inf, 0.3),
    "clip below": ops.Clip(-0.3, np.inf),
    "clip to a point": ops.Clip(0.25, 0.25),
    "sigmoid": ops.Sigmoid(),
    "tanh": ops.Tanh(),
}


def node_of(operator: ops.Activation, size: int = 1) -> TensorNode:
    parameters = {"slope": torch.tensor(operator.slope)} if isinstance(operator, ops.LeakyRelu) else {}
    return TensorNode("a", operator, (0,), (1, size), parameters)


def grid(lower: float, upper: float) -> np.ndarray:
    """Points of [lower, upper], dense at the ends and around the kinks."""
    inner = np.concatenate([[-1.0, -0.3, 0.0, 0.25, 0.3, 0.5, 2.0, 6.0], np.geomspace(1e-12, 1e3, 40)])
    near = np.concatenate([inner, -inner, lower + np.abs(inner), upper - np.abs(inner)])
    return np.clip(np.concatenate([np.linspace(lower, upper, 401), near, [lower, upper]]), lower, upper)


def gaps(operator: ops.Activation, lower: float, upper: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activation minus lower line, upper line minus activation, and what rounding may cost, on a grid."""
    node = node_of(operator)
    ends = torch.tensor([[lower]], dtype=torch.float64), torch.tensor([[upper]], dtype=torch.float64)
    lines = relax(node, *ends)
    x = torch.tensor(grid(lower, upper)).unsqueeze(1)
    value = apply_activation(node, x)
    below = value - (lines.lower_slope * x + lines.lower_shift)
    above = lines.upper_slope * x + lines.upper_shift - value
    rounding = 4e-16 * (1 + 4 * max(abs(lower), abs(upper)) * (1 + abs(float(value.abs().max()))))
    return below.numpy(), above.numpy(), np.full(len(x), rounding)


def test_a_steep_chord_over_a_hair_below_zero_is_no_steeper_than_it_is() -> None:
    node = node_of(ops.LeakyRelu(np.array([1e8])))
    ends = torch.tensor([[-1e-17]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)
    lines = relax(node, *ends)
    assert abs(float(lines.lower_slope) - (1 + 1e-9)) < 1e-15


def assert_encloses(operator: ops.Activation, lower: float, upper: float) -> None:
    below, above, rounding = gaps(operator, lower, upper)
    assert np.isfinite(below).all()
    assert np.isfinite(above).all()
    assert below.min() >= -rounding[0], (lower, upper, below.min())
    assert above.min() >= -rounding[0], (lower, upper, above.min())


ends = st.one_of(
    st.floats(-3, 3),
    st.floats(-50, 50),
    st.floats(-1e6, 1e6),
    st.sampled_from(
        [0.0, -0.0, 1e-9, -1e-9, 1e-300, 40.0, -40.0, 1000.0, -1000.0, 0.3, -0.3, 0.25, 2.0, -1.0]
    ),
)
widths = st.one_of(st.just(0.0), st.floats(0, 1e-5), st.floats(0, 4), st.floats(0, 1e6))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lines_enclose_the_activation(name: str) -> None:
    @given(ends, widths)
    @settings(max_examples=250, deadline=None, database=None)
    def encloses(lower: float, width: float) -> None:
        assert_encloses(ACTIVATIONS[name], lower, lower + width)

    encloses()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("lower", "upper"),
    [(-745.0, 745.0), (30.0, 45.0), (-45.0, -30.0), (1e3, 1e9), (-1e9, -1e3), (-1e12, 1e12), (0, 0), (-1, 0),
     (0, 1), (-1e-7, 1e-7), (-5e-324, 5e-324), (5.0, np.nextafter(5.0, 6.0)), (-2.0, 1e-320)],
)  # fmt: skip
def test_extreme_intervals(name: str, lower: float, upper: float) -> None:
    assert_encloses(ACTIVATIONS[name], lower, upper)


@pytest.mark.parametrize(
    ("name", "lower", "upper", "slope"),
    [("relu", 0.5, 2, 1.0), ("relu", -2, -0.5, 0.0), ("leaky", -2, -0.5, 0.01), ("leaky steep", -2, 0, 1.7),
     ("leaky negative", 0, 3, 1.0), ("clip", -0.5, 1.5, 1.0), ("clip", 3, 4, 0.0), ("clip", -4, -1, 0.0),
     ("clip above", -9, 0.25, 1.0), ("clip below", -9, -1, 0.0)],
)  # fmt: skip
def test_stable_neurons_are_exact(name: str, lower: float, upper: float, slope: float) -> None:
    node = node_of(ACTIVATIONS[name])
    box = torch.tensor([[lower]], dtype=torch.float64), torch.tensor([[upper]], dtype=torch.float64)
    lines = relax(node, *box)
    assert float(lines.lower_slope) == pytest.approx(slope)
    assert float(lines.upper_slope) == pytest.approx(slope)
    assert float(lines.lower_shift) == pytest.approx(float(lines.upper_shift))
    assert not bool(unstable(node, *box))


@pytest.mark.parametrize("name", ["relu", "leaky", "leaky steep", "leaky negative", "clip"])
def test_upper_and_lower_line_touch_the_activation(name: str) -> None:
    """Lines that enclose could be anywhere: the best ones touch on both sides."""
    for lower, upper in [(-1.5, 0.5), (-0.5, 1.5), (-3.0, 3.0), (-1.2, 2.2)]:
        below, above, rounding = gaps(ACTIVATIONS[name], lower, upper)
        assert below.min() <= rounding[0]
        assert above.min() <= rounding[0]


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_smooth_lines_close_in_on_narrow_intervals(name: str) -> None:
    for middle in (-3.0, -0.2, 0.0, 0.7, 4.0):
        widths_ = (0.4, 0.1, 0.025)
        spread = []
        for width in widths_:
            below, above, _ = gaps(ACTIVATIONS[name], middle - width / 2, middle + width / 2)
            spread.append(float((below + above).max()))
        assert spread[0] > spread[1] > spread[2]
        assert spread[2] < 0.06 * spread[0]


def test_a_batch_is_its_entries() -> None:
    rng = np.random.default_rng(0)
    lower = rng.normal(size=(5, 3))
    upper = lower + rng.random((5, 3))
    operator = ops.LeakyRelu(np.array([0.1, 2.0, -1.0]))
    whole = relax(node_of(operator, 3), torch.tensor(lower), torch.tensor(upper))
    for i in range(5):
        for j in range(3):
            part = relax(
                node_of(ops.LeakyRelu(operator.slope[j : j + 1])),
                torch.tensor(lower[i : i + 1, j : j + 1]),
                torch.tensor(upper[i : i + 1, j : j + 1]),
            )
            for field in ("lower_slope", "lower_shift", "upper_slope", "upper_shift"):
                assert float(getattr(part, field)) == float(getattr(whole, field)[i, j])
