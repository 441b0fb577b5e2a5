r"""Affine layers: with constant weights, or with the weights as unknowns at constant inputs.

Symbols: x is a layer's input, y = W x + b its output, both flat; an affine layer needs no row and no
column of its own, its output is an expression in the unknowns. Every function here is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from layerwise.expression import Array, Expr, ProgramError, stack


def dense(x: Expr, weight: ArrayLike | sparse.sparray, bias: ArrayLike = 0.0) -> Expr:
    r"""$y = W x + b$ for constant W [r, n] (dense or sparse) and b [r] or one number."""
    return weight @ x + bias


def dense_unknown(
    weight: Expr, bias: Expr, inputs: Array, readout: ArrayLike | sparse.sparray | None = None
) -> Expr:
    r"""A dense layer whose weights are expressions in the unknowns, at k constant inputs.

    $$ y^{(p)}_j = \sum_i W_{ji}\, h^{(p)}_i + b_j, \qquad p = 1 \dots k, $$

    or $C y^{(p)}$ for a constant C: with few entries in C, far fewer nonzeros than all outputs have,
    e.g. for rows $y_i - y_j$. The product of unknown and input is linear because h is constant: so the
    last layer of a network (or any one layer, up to the next activation) is repaired by linear programs.
    Row (p, j) has one entry per unknown weight of the outputs in $C_j$ and nonzero $h^{(p)}_i$.

    Args:
        weight: W, [r * n], row by row (`W.ravel()` of the constant case).
        bias: b, [r].
        inputs: h, [k, n].
        readout: C, [q, r]; the identity if None.

    Returns:
        [k * q], point by point.

    Source: Goldberger, Katz, Adi and Keshet, Minimal modifications of deep neural networks using
    verification, LPAR 2020, section 3.
    """
    points = np.asarray(inputs, dtype=np.float64)
    outputs = len(bias)
    if points.ndim != 2 or len(weight) != outputs * points.shape[1]:
        raise ProgramError(
            f"{len(weight)} weights and {outputs} biases do not fit inputs of shape {points.shape}: "
            f"expected inputs [k, n] and outputs * n weights"
        )
    matrix = sparse.csr_array(
        sparse.eye_array(outputs) if readout is None else np.atleast_2d(_plain(readout))
    )
    if matrix.shape[1] != outputs:
        raise ProgramError(f"the readout has shape {matrix.shape}, but the layer {outputs} outputs")
    width = points.shape[1]
    order = np.arange(outputs * width).reshape(outputs, width)
    order = np.hstack([order, outputs * width + np.arange(outputs)[:, None]])
    augmented = sparse.csr_array(np.column_stack([points, np.ones(len(points))]))
    return _outer_rows(augmented, matrix) @ stack([weight, bias])[order.ravel()]


def convolution_matrix(
    weight: Array,
    shape: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int = 1,
) -> sparse.csr_array:
    r"""The matrix of a cross-correlation over flat tensors.

    $$ y_{o,t} = \sum_{c,k} W_{o,c,k}\; x_{g(o)+c,\; t \cdot stride + k \cdot dilation - pad}, $$

    over any number of spatial axes, terms outside the tensor dropped.

    Args:
        weight: W, [o, c / groups, *k].
        shape: of the input, (c, *s).
        pads: zeros before and after each spatial axis.

    Returns:
        [o * prod(t), c * prod(s)].
    """
    patches = patch_indices(
        shape, weight.shape[2:], strides=strides, pads=pads, dilations=dilations, groups=groups
    )
    size = int(np.prod(shape))
    filters, positions = weight.shape[0], patches.shape[1]
    if weight.shape[1] * groups != shape[0] or filters % groups:
        raise ProgramError(f"filters {weight.shape} in {groups} groups do not fit an input {tuple(shape)}")
    group = np.arange(filters) // (filters // groups)
    columns = patches[group]
    data = np.broadcast_to(weight.reshape(filters, 1, -1), columns.shape)
    rows = np.broadcast_to(np.arange(filters * positions).reshape(filters, positions, 1), columns.shape)
    inside = columns >= 0
    entries = (data[inside], (rows[inside], columns[inside]))
    return sparse.csr_array(entries, shape=(filters * positions, size))


def convolution(
    x: Expr,
    weight: Array,
    bias: ArrayLike,
    shape: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int = 1,
) -> Expr:
    """y = W * x + b with constant filters, flat; see `convolution_matrix`. bias: [o]."""
    matrix = convolution_matrix(weight, shape, strides=strides, pads=pads, dilations=dilations, groups=groups)
    return matrix @ x + np.repeat(np.asarray(bias, dtype=np.float64), matrix.shape[0] // len(weight))


def patch_indices(
    shape: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int = 1,
) -> NDArray[np.int64]:
    """Which flat input entries each output position sees, -1 in the padding.

    Returns:
        [groups, positions, c / groups * prod(k)].
    """
    reach = [(width - 1) * dilation + 1 for width, dilation in zip(kernel, dilations, strict=True)]
    index = np.pad(
        np.arange(int(np.prod(shape))).reshape(shape), [(0, 0), *(tuple(p) for p in pads)], constant_values=-1
    )
    if any(size < wide for size, wide in zip(index.shape[1:], reach, strict=True)):
        raise ProgramError(f"a kernel reaching {reach} does not fit a padded input {index.shape[1:]}")
    windows = np.lib.stride_tricks.sliding_window_view(index, reach, tuple(range(1, index.ndim)))
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    windows = windows[(slice(None), *steps)]
    channels, positions = shape[0], int(np.prod(windows.shape[1 : index.ndim]))
    grouped = windows.reshape(groups, channels // groups, positions, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(groups, positions, -1)


def convolution_unknown(
    weight: Expr,
    bias: Expr,
    inputs: Array,
    shape: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    groups: int = 1,
) -> Expr:
    r"""A convolution whose filters are expressions in the unknowns, at k constant inputs.

    Every output position is a dense layer on its patch (im2col), with the same unknowns everywhere:
    see `dense_unknown`.

    Args:
        weight: W, [o * c / groups * prod(kernel)], flat in this order.
        bias: b, [o].
        inputs: [k, c * prod(s)].
        shape: of an input, (c, *s).

    Returns:
        [k * o * prod(t)], point by point.
    """
    patches = patch_indices(shape, kernel, strides=strides, pads=pads, dilations=dilations, groups=groups)
    points = np.asarray(inputs, dtype=np.float64).reshape(len(inputs), -1)
    _, positions, width = patches.shape
    filters = len(bias) // groups
    if len(weight) != len(bias) * width or filters * groups != len(bias):
        raise ProgramError(f"{len(weight)} weights do not fit {len(bias)} filters of {width} entries each")
    outputs = []
    for group, patch in enumerate(patches):
        seen = np.where(patch >= 0, points[:, patch], 0.0).reshape(-1, width)
        mine = np.arange(group * filters, (group + 1) * filters)
        block = np.arange(group * filters * width, (group + 1) * filters * width)
        outputs.append(dense_unknown(weight[block], bias[mine], seen))
    order = np.arange(groups * len(points) * positions * filters)
    order = order.reshape(groups, len(points), positions, filters).transpose(1, 0, 3, 2)
    return stack(outputs)[order.ravel()]


def _plain(matrix: ArrayLike | sparse.sparray) -> Array:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)


def _outer_rows(points: sparse.csr_array, readout: sparse.csr_array) -> sparse.csr_array:
    """All Kronecker products of a row of the readout [q, r] with a point [n]: [k * q, r * n]."""
    k, width = points.shape
    # One row per point and entry of the readout: the segments of the result, in its order.
    segments = points[np.repeat(np.arange(k), readout.nnz)]
    lengths = np.diff(segments.indptr)
    segments.indices += np.repeat(np.tile(readout.indices * width, k), lengths)
    segments.data *= np.repeat(np.tile(readout.data, k), lengths)
    indptr = segments.indptr[np.add.outer(np.arange(k) * readout.nnz, readout.indptr[:-1]).ravel()]
    indptr = np.append(indptr, segments.nnz)
    shape = (k * readout.shape[0], width * readout.shape[1])
    return sparse.csr_array((segments.data, segments.indices, indptr), shape)
