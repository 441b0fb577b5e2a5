"""Numbers so small that products underflow are refused, and what is not refused the checker confirms."""

from __future__ import annotations

import numpy as np
import pytest
from test_overflow import chain, identities

import repairsolver as rs
from repairsolver.errors import NetworkError, PropertyError
from repairsolver.network.graph import Network

DOUBLE = 11


def unsafe(row: str, low: str = "-1", high: str = "1") -> rs.Property:
    inputs = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} {low}))(assert (<= X_{i} {high}))" for i in range(2)
    )
    return rs.parse_property(f"{inputs}(declare-const Y_0 Real)(declare-const Y_1 Real)(assert {row})")


@pytest.mark.parametrize("size", ["1e-245", "1e-300", "1e-310", "5e-324"])
@pytest.mark.parametrize("row", ["(<= (* {0} Y_0) -{0})", "(and (<= (* {0} Y_0) -{0}) (<= Y_1 1))"])
def test_rows_of_tiny_numbers_are_refused(size: str, row: str) -> None:
    with pytest.raises(PropertyError, match=r"row 1 of case 1 .* underflow"):
        rs.verify(chain(identities(1.0, 1.0)), unsafe(row.format(size)))


@pytest.mark.parametrize("factors", [(1e-300, 1.0), (1.0, 1e-300), (1e-310, 1e300), (1e-120, 1e-130)])
def test_layers_of_tiny_numbers_are_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises((NetworkError, PropertyError), match="underflow"):
        rs.verify(chain(identities(*factors), kind=DOUBLE), unsafe("(<= Y_0 -1e-250)"))


@pytest.mark.parametrize(
    ("network", "prop"),
    [
        (chain(identities(1.0, 1.0)), unsafe("(<= (* 1e-230 Y_0) -1e-230)")),
        (chain(identities(1e-42, 1.0)), unsafe("(<= Y_0 -1e-42)")),
        (chain(identities(1e-44, 1e-40, 1e-40)), unsafe("(<= Y_0 -1e-110)")),
        (chain(identities(1e-200, 1e200), kind=DOUBLE), unsafe("(<= Y_0 -1)")),
        (chain([np.diag([1.0, 0.0]), np.eye(2)]), unsafe("(<= Y_1 -1e-5)")),
    ],
)
def test_small_numbers_are_proved_and_checked(network: Network, prop: rs.Property) -> None:
    verdict = rs.verify(network, prop, limits=rs.Limits(seconds=20), certificate=True)
    assert verdict.status == "holds"
    assert verdict.certificate is not None
    assert rs.check(verdict.certificate, network=network, property=prop).valid
