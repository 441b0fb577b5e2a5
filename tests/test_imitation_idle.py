"""How far a detour is lifted: against what each lift loses, counted point by point, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import dense_network
from test_imitation_points import half_wrong

from repairsolver.repairing.imitation.behaviour import Behaviours, collect
from repairsolver.repairing.imitation.idle import (
    AFFORDED,
    ASSURED,
    BEYOND,
    PADS,
    SURE,
    _fitted,
    between,
)
from repairsolver.repairing.imitation.options import Imitation
from repairsolver.results import Array

NETWORK = dense_network(0, (2, 8, 8, 3))
KEPT = 10_000


def _behaviours() -> Behaviours:
    return collect(
        NETWORK, half_wrong(NETWORK, 0.05), None, None, Imitation(samples=400), decision="max", seed=0
    )


# Fresh negatives.


def test_fresh_negatives_violate_and_lie_on_lines_through_two() -> None:
    made = _behaviours()
    pair = made.negatives[[0, int(np.abs(made.negatives - made.negatives[0]).sum(axis=1).argmax())]]
    fresh = between(NETWORK, replace(made, negatives=pair), np.random.default_rng(0)).negatives
    fresh = fresh[(fresh != pair[0]).any(axis=1)]
    way = pair[1] - pair[0]
    share = (fresh - pair[0]) @ way / (way @ way)
    assert np.abs(fresh - pair[0] - share[:, None] * way).max() < 1e-6
    assert share.min() >= -BEYOND - 1e-6
    assert share.max() <= 1 + BEYOND + 1e-6
    assert share.min() < 0 or share.max() > 1
    assert np.array_equal(fresh, fresh.astype(NETWORK.element))
    assert (made.prop.violation(fresh, NETWORK(fresh)) >= 0).all()


def test_fresh_negatives_are_unseen_and_the_rest_stays() -> None:
    made = _behaviours()
    fresh = between(NETWORK, made, np.random.default_rng(0))
    seen = {point.tobytes() for point in made.negatives}
    assert sum(point.tobytes() in seen for point in fresh.negatives) < 0.05 * len(fresh.negatives)
    assert len(fresh.negatives) > 1000
    assert fresh.kept is made.kept or np.array_equal(fresh.kept, made.kept)


def test_labelled_negatives_have_no_fresh_ones() -> None:
    made = _behaviours()
    labelled = replace(made, labels=np.zeros(len(made.negatives), dtype=np.int64))
    fresh = between(NETWORK, labelled, np.random.default_rng(0))
    assert fresh.negatives.shape == (0, 2)
    assert fresh.labels is None


# The lift.


def _points(value: float, level: float, count: int) -> tuple[Array, Array]:
    return np.full((count, 1), value), np.full(count, level)


def _lift(fresh: float, tight: int, positives: int = 0) -> tuple[float, float]:
    """By how much negatives exceed their needs at the least, and how much of it fresh ones take.

    100 negatives at 1 need 1, fresh ones at `fresh` too. Points to keep are at 0; the first `tight`
    tolerate 1, so that a lift beyond 1 loses them, and the rest tolerates 100.
    """
    wrong, (kept, tolerance) = _points(1.0, 1.0, 100), _points(0.0, 100.0, KEPT)
    tolerance[:tight] = 1.0
    more = _points(fresh, 1.0, 50)
    weight, bias, _ = _fitted(wrong, (kept, tolerance), more, positives, np.random.default_rng(0))
    pad = float((wrong[0] @ weight + bias - wrong[1]).min())
    return pad, pad - float((more[0] @ weight + bias - more[1]).min())


def test_where_nothing_is_lost_the_lift_is_the_largest() -> None:
    pad, taken = _lift(fresh=0.5, tight=0)
    assert taken > 0.005
    assert pad == pytest.approx(taken + PADS[-1])


def test_few_points_are_given_up_for_the_largest_lift() -> None:
    assert round(AFFORDED * KEPT) == 3
    assert _lift(fresh=1.0, tight=3)[0] == pytest.approx(PADS[-1])
    assert _lift(fresh=1.0, tight=4)[0] == pytest.approx(0.8)


def test_more_points_are_given_up_for_fresh_negatives() -> None:
    assert round(ASSURED * KEPT) == 5
    pad, taken = _lift(fresh=0.25, tight=5)
    assert pad == pytest.approx(taken + SURE)
    assert pad > 1  # all five are lost
    pad, taken = _lift(fresh=0.25, tight=6)
    assert pad <= 1
    assert pad == pytest.approx(max(p for p in (*PADS, *(taken + PADS)) if p <= 1))


def test_positives_have_a_limit_of_their_own() -> None:
    assert _lift(fresh=1.0, tight=1)[0] == pytest.approx(PADS[-1])
    assert _lift(fresh=1.0, tight=1, positives=100)[0] == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(6))
def test_the_next_larger_lift_would_lose_too_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong = rng.normal(2.0, 0.3, (200, 3)), rng.choice([0.5, 1.0, 1.5], 200)
    kept = rng.normal(-1.0, 0.6, (4000, 3)), rng.choice([0.25, 1.0, 2.0, np.inf], 4000)
    fresh = rng.normal(2.0, 0.4, (300, 3)), rng.choice([0.5, 1.0, np.inf], 300)
    weight, bias, _ = _fitted(wrong, kept, fresh, 2000, np.random.default_rng(0))
    least = min(float(h @ weight) - need for h, need in zip(*wrong, strict=True))
    lowest = min(float(h @ weight) - need for h, need in zip(*fresh, strict=True) if need < np.inf)
    unseen = max(0.0, least - lowest)

    def fine(pad: float) -> bool:
        def lost(pad: float, count: int) -> float:
            pairs = list(zip(*kept, strict=True))[:count]
            return sum(max(float(h @ weight) + pad - least, 0.0) > t for h, t in pairs) / count

        limit = max(lost(0.0, 4000) + AFFORDED / 3, AFFORDED)
        limit = max(limit, ASSURED) if pad <= unseen + SURE else limit
        return lost(pad, 4000) <= limit and lost(pad, 2000) <= max(lost(0.0, 2000), AFFORDED / 3)

    pad = least + bias
    choices = sorted({*PADS, *(unseen + PADS)})
    assert pad == pytest.approx(max(p for p in choices if fine(p)), abs=1e-9)


def test_an_outlier_is_given_up_for_the_points_to_keep() -> None:
    wrong, kept = _points(1.0, 1.0, 1000), _points(0.0, 1.0, KEPT)
    wrong[0][0] = -1.0
    weight, bias, misjudged = _fitted(wrong, kept, _points(1.0, 1.0, 10), 0, np.random.default_rng(0))
    assert misjudged == pytest.approx(1e-3)
    assert (kept[0] @ weight + bias <= kept[1]).all()
    assert (wrong[0][1:] @ weight + bias >= 1).all()


def test_negatives_that_no_multiple_helps() -> None:
    wrong = _points(1.0, np.inf, 10)
    weight, bias, misjudged = _fitted(
        wrong, _points(0.0, 1.0, 10), _points(1.0, 1.0, 10), 0, np.random.default_rng(0)
    )
    assert not weight.any()
    assert bias == 0
    assert misjudged == np.inf
