r"""Which positive behaviour each negative imitates.

With outputs \(y_i\) of negatives and \(y_j\) of positives, the label of negative i is \(y_{j^*}\),
\(j^* = \arg\min_j \lVert y_i - y_j \rVert_2\) (Source: Sun et al., BIRDNN: behavior-imitation based repair
for deep neural networks, Neural Networks 2025, arXiv 2305.03365); or the nearest in another space; or the
average of the k nearest ones. A label must itself be right at the negative's input; where the first
candidate is not, the nearest that is takes its place.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from repairsolver.errors import PointSetError
from repairsolver.repairing.imitation.behaviour import Behaviours, Ids
from repairsolver.repairing.imitation.options import Retraining
from repairsolver.results import Array

ROWS = 512
"""Negatives whose distances to all positives are held at once."""

FEW, TREE_DIMENSIONS = 8, 16
"""Nearest positives that are looked at where none are averaged; and up to where trees of points pay."""


def relabelled(
    behaviours: Behaviours, outputs: tuple[Array, Array], features: tuple[Array, Array], how: Retraining
) -> Array:
    """The behaviours to imitate, [k, m].

    Args:
        outputs: of negatives [k, m] and of positives [p, m].
        features: of both, in the space of `relabel="feature"`.

    Raises:
        PointSetError: negatives for which no positive behaviour is right.
    """
    negatives, positives = features if how.relabel == "feature" else outputs
    count = how.neighbours if how.relabel == "average" else FEW
    order = _nearest(negatives, positives, min(count, len(positives)))
    choices = outputs[1][order]
    fine = _right(behaviours, choices)
    missing = np.flatnonzero(~fine.any(axis=1))
    first = fine.argmax(axis=1)
    labels = np.take_along_axis(choices, first[:, None, None], axis=1)[:, 0]
    if missing.size:
        labels[missing] = _searched(behaviours, missing, negatives, positives, outputs[1])
    if how.relabel == "average":
        weight = fine[:, :, None]
        mean = (choices * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
        good = _right(behaviours, mean[:, None])[:, 0] & fine.any(axis=1)
        labels = np.where(good[:, None], mean, labels)
    return labels


def _nearest(negatives: Array, positives: Array, count: int) -> Ids:
    """The nearest positives of every negative, nearest first, [k, count]."""
    if positives.shape[1] <= TREE_DIMENSIONS:
        return np.asarray(KDTree(positives).query(negatives, k=np.arange(1, count + 1))[1])
    parts = []
    for start in range(0, len(negatives), ROWS):
        distance = cdist(negatives[start : start + ROWS], positives, "sqeuclidean")
        if count < len(positives):
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        else:
            near = np.broadcast_to(np.arange(count), (len(distance), count))
        rank = np.take_along_axis(distance, near, axis=1).argsort(axis=1, kind="stable")
        parts.append(np.take_along_axis(near, rank, axis=1))
    return np.concatenate(parts)


def _right(behaviours: Behaviours, choices: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which of the outputs [k, c, m] would be right at their negatives, [k, c]."""
    columns = [behaviours.lack(choices[:, c]) < 0 for c in range(choices.shape[1])]
    return np.stack(columns, axis=1)


def _searched(
    behaviours: Behaviours, missing: Ids, negatives: Array, positives: Array, labels: Array
) -> Array:
    """For negatives whose nearest positives are all wrong for them: the nearest of all that is right."""
    found = []
    for index in missing:
        alone = Behaviours(
            behaviours.prop,
            np.repeat(behaviours.negatives[index : index + 1], len(labels), axis=0),
            None if behaviours.labels is None else np.repeat(behaviours.labels[index], len(labels)),
            positives[:0],
            positives[:0],
            behaviours.decision,
        )
        distance = cdist(negatives[index : index + 1], positives, "sqeuclidean")[0]
        distance[alone.lack(labels) >= 0] = np.inf
        if not np.isfinite(distance).any():
            raise PointSetError(
                f"no positive behaves as negative {index} must: give points to keep that do"
                + ("" if behaviours.labels is None else f" (with decision {behaviours.labels[index]})")
            )
        found.append(labels[distance.argmin()])
    return np.array(found)
