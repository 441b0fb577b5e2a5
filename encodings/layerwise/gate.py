r"""Gates: which neurons of a layer are overridden, and by what, with the same override at several points.

Symbols: $h_{pi}$ is neuron i at point p (known), $h'_{pi}$ after the gate. A gated neuron gets an affine
correction with a slope from 0 to 1; slope 0 makes it a constant, slope 1 moves it by a constant:

$$ h'_{pi} = (1 - z_i)\, h_{pi} + s_i, \qquad 0 \le z_i \le g_i, \qquad -R_i g_i \le s_i \le R_i g_i, $$

with a binary $g_i$ for each candidate. It is linear because $h_{pi}$ is known, so that no big-M beyond the
reach R of the shifts is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise import interval
from layerwise.program import Array, Expr, Program, ProgramError


@dataclass(frozen=True, slots=True, eq=False)
class Gated:
    """The unknowns of gates.

    Args:
        chosen: g, binary, one for each candidate, [c].
        lost: z, [c]; the slope is 1 - z.
        shift: s, [c].
        values: h' at all points, [k * m], point by point.
    """

    chosen: Expr
    lost: Expr
    shift: Expr
    values: Expr


def affine_gates(
    program: Program, values: Array, candidates: NDArray[np.integer], reach: Array | float
) -> Gated:
    r"""Add the gates of the module's formula; neurons that are no candidates keep their values.

    Size: one binary, two columns and three rows for each candidate, whatever the number of points.

    Args:
        values: h, [k, m].
        candidates: numbers of neurons that may be gated, [c].
        reach: R, the largest shift, one number or [c]; finite.

    Raises:
        ProgramError: a reach is not finite, or a candidate is no neuron.
    """
    points, size = values.shape
    count = len(candidates)
    limit, _ = interval.checked(reach, reach, count, "the reach of gates")
    if count and not (candidates.min() >= 0 and candidates.max() < size):
        raise ProgramError(
            f"candidates are neurons 0 to {size - 1}, got {candidates.min()} to {candidates.max()}"
        )
    chosen = program.columns(count, 0.0, 1.0, integer=True, name="gate")
    lost = program.columns(count, 0.0, 1.0, name="lost")
    shift = program.columns(count, -limit, limit, name="shift")
    program.rows(lost - chosen, upper=0.0)
    program.rows(shift - chosen * limit, upper=0.0)
    program.rows(shift + chosen * limit, lower=0.0)
    place = (np.arange(points)[:, None] * size + candidates).ravel()
    which = np.tile(np.arange(count), points)
    shape = (points * size, count)
    moved = sparse.csr_array((np.ones(len(place)), (place, which)), shape=shape)
    faded = sparse.csr_array((-values[:, candidates].ravel(), (place, which)), shape=shape)
    return Gated(chosen, lost, shift, moved @ shift + faded @ lost + values.ravel())
