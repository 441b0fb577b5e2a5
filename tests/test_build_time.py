"""Encodings are built from whole layers: a model takes milliseconds to build, not seconds."""

from __future__ import annotations

import time

import highspy
import numpy as np
import pytest
from milp import encode_net, random_net

from layerwise import relu
from layerwise.program import Matrices, Program


def build(sizes: list[int]) -> tuple[Matrices, float]:
    """A big-M model with interval bounds, flattened; and the seconds that it took."""
    net = random_net(np.random.default_rng(0), sizes)
    start = time.perf_counter()
    program = Program()
    y = encode_net(program, program.columns(sizes[0], -1.0, 1.0), net, relu.big_m)
    program.minimise(y[[0]])
    return program.matrices(), time.perf_counter() - start


def hand_to_highs(flat: Matrices) -> float:
    """Seconds to pass a model to HiGHS."""
    start = time.perf_counter()
    model = highspy.HighsLp()
    model.num_row_, model.num_col_ = flat.rows.shape
    model.col_cost_, model.col_lower_, model.col_upper_ = flat.cost, flat.lower, flat.upper
    model.row_lower_, model.row_upper_ = flat.row_lower, flat.row_upper
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    model.integrality_ = [kinds[int(i)] for i in flat.integer]
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_ = flat.rows.indptr, flat.rows.indices
    model.a_matrix_.value_ = flat.rows.data
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.passModel(model) == highspy.HighsStatus.kOk
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("sizes", "limit"), [([784, 256, 256, 10], 0.15), ([5, *[50] * 6, 5], 0.03)], ids=["mnist", "acas"]
)
def test_building_a_big_m_model(sizes, limit):
    """The best of ten runs, since other processes share the machine."""
    assert min(build(sizes)[1] for _ in range(10)) <= limit


def test_building_and_handing_over_to_highs():
    flat, _ = build([784, 256, 256, 10])
    assert flat.rows.nnz > 200_000
    assert min(build([784, 256, 256, 10])[1] + hand_to_highs(flat) for _ in range(5)) <= 0.3
