"""Which network and property a certificate names; what is proved is about those given, whatever it names."""

from __future__ import annotations

import hashlib
from typing import get_args

from repairsolver.certificate.statement import InvalidError
from repairsolver.network.graph import Network
from repairsolver.property import write_property
from repairsolver.property.specification import Property
from repairsolver.results import Arithmetic, Certificate


def identify(found: Certificate, network: Network, prop: Property) -> None:
    """That a certificate is about this network and property, in an arithmetic that is known.

    Raises:
        InvalidError: naming what differs.
    """
    text = prop.text or write_property(prop)
    for what, stated, actual in (
        ("network", found.network, network.sha256),
        ("property", found.property, hashlib.sha256(text.encode()).hexdigest()),
    ):
        if stated != actual:
            raise InvalidError(
                f"The certificate is about another {what}: it names SHA-256 {stated}, the {what} given has "
                f"{actual}."
            )
    if found.arithmetic not in get_args(Arithmetic):
        raise InvalidError(
            f"The certificate claims {found.arithmetic!r} arithmetic, not one of {get_args(Arithmetic)}."
        )
