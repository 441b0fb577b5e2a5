"""Whether a program is an earlier one grown: what sessions rest on."""

from __future__ import annotations

import numpy as np

from layerwise.program import Matrices


def extends(new: Matrices, old: Matrices) -> bool:
    """Whether the new program has the old one's columns and rows first, and is linear in its objective.

    Bounds, costs and right-hand sides may differ; new columns have no entries in old rows.
    """
    width, height, entries = len(old.cost), len(old.row_lower), old.rows.nnz
    if len(new.cost) < width or len(new.row_lower) < height or new.rows.nnz < entries:
        return False
    if new.quadratic.any() or old.quadratic.any():
        return False
    pairs = (
        (new.integer[:width], old.integer),
        (new.rows.indptr[: height + 1], old.rows.indptr),
        (new.rows.indices[:entries], old.rows.indices),
        (new.rows.data[:entries], old.rows.data),
    )
    return all(np.array_equal(now, then) for now, then in pairs)
