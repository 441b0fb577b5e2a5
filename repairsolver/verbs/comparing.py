"""`fidelity`: what a changed network keeps of the original's behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from repairsolver.metrics import Fidelity
from repairsolver.metrics import fidelity as measured
from repairsolver.network import Network
from repairsolver.property import PointSet, Property
from repairsolver.signatures import typed
from repairsolver.verbs.arguments import as_network, as_points, as_properties, check_options

if TYPE_CHECKING:
    from repairsolver.results import Array


@typed
def fidelity(
    original: Network | str | Path,
    repaired: Network | str | Path,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    *,
    property: Property | str | Path | Sequence[Property | str | Path] | None = None,  # noqa: A002 - as in verify
    keep: PointSet | str | Path | None = None,
    points: PointSet | str | Path | None = None,
    unseen: PointSet | str | Path | None = None,
    decision: Literal["auto", "max", "min", "both"] = "auto",
    samples: int = 100_000,
    seconds: float | None = None,
    seed: int = 0,
) -> Fidelity:
    """Compare a repaired network with the original: on random inputs of a domain, and on points.

    Agreement is the share of uniform inputs of the box [lower, upper] where both networks choose the same
    outputs, with its exact 95 % confidence interval. Both are evaluated in float64; nothing is proved.

    Args:
        original, repaired: networks of the same sizes, or ONNX or NNet files.
        lower, upper: the domain, a box [n], or one number for all inputs; without it the bounding box of the
            property's regions.
        property: for the agreement in its regions, and to judge points without labels.
        keep: for the drawdown: the share of these that were right and are wrong now.
        points, unseen: for the efficacy and the generalisation: the share of these that are right now.
        decision: which output is chosen: the largest ("max"), the smallest ("min"), or "both": then the
            result is of the one that agrees less, and its `other` of the other one. "auto" takes what labels
            of points to keep or the property tell, and else both.
        samples: uniform draws from the domain, and as many from the regions.
        seconds: time for the samples; fewer are drawn where it does not suffice, but at least 100 of each.
        seed: the same seed gives the same samples.

    Raises:
        NetworkError: a file is malformed, or the networks differ in inputs or outputs.
        PropertyError: a file is malformed, or no domain: neither a box nor a property with regions.
        PointSetError: points do not fit the network, or cannot be judged.
    """
    check_options(seed, None)
    before, after = as_network(original), as_network(repaired)
    from repairsolver.repairing.deciding import settle
    from repairsolver.repairing.several import united

    prop = None
    if property is not None:
        prop = united(as_properties(property, before))
    kept, mended, fresh = (as_points(given, before) for given in (keep, points, unseen))
    return measured(
        before,
        after,
        _corner(lower, before),
        _corner(upper, before),
        decision=settle(decision, before, prop, (mended, fresh), kept).decision,
        samples=samples,
        seed=seed,
        prop=prop,
        keep=kept,
        points=mended,
        unseen=fresh,
        seconds=seconds,
    )


def _corner(given: ArrayLike | None, network: Network) -> Array | None:
    """[n], or one number for all inputs."""
    if given is None:
        return None
    corner = np.asarray(given, dtype=np.float64)
    return np.full(network.input_size, float(corner)) if corner.ndim == 0 else corner
