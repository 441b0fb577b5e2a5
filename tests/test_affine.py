from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from layerwise import affine
from layerwise.program import Program, ProgramError

CONVOLUTIONS = [
    # channels, filters, groups, spatial, kernel, strides, pads, dilations
    (1, 1, 1, (5,), (3,), (1,), ((0, 0),), (1,)),
    (2, 3, 1, (6,), (2,), (2,), ((1, 2),), (2,)),
    (3, 4, 1, (5, 4), (3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1)),
    (4, 6, 2, (6, 7), (2, 3), (2, 3), ((0, 1), (2, 0)), (2, 1)),
    (3, 3, 3, (4, 4), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    (2, 2, 1, (3, 4, 3), (2, 2, 1), (1, 2, 1), ((1, 0), (0, 0), (0, 1)), (1, 1, 1)),
]


def torch_convolution(x, weight, bias, strides, pads, dilations, groups):
    flat = list(itertools.chain.from_iterable(reversed(pads)))
    padded = torch.nn.functional.pad(torch.from_numpy(x), flat)
    run = getattr(torch.nn.functional, f"conv{len(strides)}d")
    arrays = (padded, torch.from_numpy(weight), torch.from_numpy(bias))
    return run(*arrays, strides, 0, dilations, groups).numpy()


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions_agree_with_torch(case):
    channels, filters, groups, spatial, kernel, strides, pads, dilations = case
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(filters, channels // groups, *kernel)), rng.normal(size=filters)
    inputs = rng.normal(size=(3, channels, *spatial))
    geometry = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
    expected = torch_convolution(inputs, weight, bias, strides, pads, dilations, groups).reshape(3, -1)

    program = Program()
    x = program.columns(channels * int(np.prod(spatial)))
    y = affine.convolution(x, weight, bias, (channels, *spatial), **geometry)
    np.testing.assert_allclose([y.value(point.ravel()) for point in inputs], expected, atol=1e-12)

    program = Program()
    unknown = program.columns(weight.size), program.columns(filters)
    y = affine.convolution_unknown(*unknown, inputs, (channels, *spatial), kernel, **geometry)
    got = y.value(np.concatenate([weight.ravel(), bias]))
    np.testing.assert_allclose(got.reshape(3, -1), expected, atol=1e-12)


@given(
    seed=st.integers(0, 10**6), points=st.integers(1, 4), width=st.integers(1, 4), outputs=st.integers(1, 3)
)
@settings(max_examples=40, deadline=None)
def test_unknown_weights_give_the_layer_at_every_point(seed, points, width, outputs):
    rng = np.random.default_rng(seed)
    inputs = np.maximum(rng.normal(size=(points, width)), 0.0)
    program = Program()
    program.columns(2)
    bias = program.columns(outputs)
    weight = program.columns(outputs * width)
    values = rng.normal(size=program.n_columns)
    b, w = values[2 : 2 + outputs], values[2 + outputs :].reshape(outputs, width)
    expected = inputs @ w.T + b
    np.testing.assert_allclose(affine.dense_unknown(weight, bias, inputs).value(values), expected.ravel())

    base = rng.normal(size=w.shape)
    shifted = affine.dense_unknown(weight * 2.0 + base.ravel(), bias - 1.0, inputs)
    np.testing.assert_allclose(
        shifted.value(values), (inputs @ (2 * w + base).T + b - 1.0).ravel(), atol=1e-12
    )

    readout = rng.normal(size=(2, outputs)) * rng.integers(0, 2, (2, outputs))
    for form in (readout, sparse.csr_array(readout)):
        some = affine.dense_unknown(weight, bias, inputs, form)
        np.testing.assert_allclose(some.value(values), (expected @ readout.T).ravel(), atol=1e-12)


def test_unknown_weights_stay_sparse():
    program = Program()
    weight, bias = program.columns(50 * 50), program.columns(50)
    inputs = np.ones((200, 50))
    readout = np.zeros((1, 50))
    readout[0, [3, 7]] = 1.0, -1.0
    assert affine.dense_unknown(weight, bias, inputs, readout).matrix.nnz == 200 * 2 * 51
    assert affine.dense_unknown(weight, bias, inputs).matrix.nnz == 200 * 50 * 51


@pytest.mark.parametrize(
    "weight", [np.array([[1.0, -2.0], [0.0, 3.0]]), sparse.csr_array([[1.0, -2.0], [0.0, 3.0]])]
)
def test_dense(weight):
    x = Program().columns(2)
    y = affine.dense(x, weight, [1.0, -1.0])
    np.testing.assert_array_equal(y.value(np.array([5.0, 7.0])), [5 - 14 + 1, 21 - 1])


def test_misfits_are_named():
    program = Program()
    weight, bias = program.columns(6), program.columns(2)
    with pytest.raises(ProgramError, match="6 weights and 2 biases do not fit"):
        affine.dense_unknown(weight, bias, np.ones((1, 4)))
    with pytest.raises(ProgramError, match=r"readout has shape \(1, 3\)"):
        affine.dense_unknown(weight, bias, np.ones((1, 3)), np.ones((1, 3)))
    plain = {"strides": (1,), "pads": ((0, 0),), "dilations": (1,)}
    with pytest.raises(ProgramError, match="do not fit an input"):
        affine.convolution_matrix(np.ones((2, 3, 2)), (2, 5), **plain)
    with pytest.raises(ProgramError, match="does not fit a padded input"):
        affine.convolution_matrix(np.ones((2, 2, 7)), (2, 5), **plain)
    with pytest.raises(ProgramError, match="4 weights do not fit 2 filters"):
        affine.convolution_unknown(program.columns(4), bias, np.ones((1, 5)), (1, 5), (3,), **plain)
