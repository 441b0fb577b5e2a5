"""Random numbers by block: block k is the same whatever was drawn before, by how many, or where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

LARGEST_BLOCK, BLOCK_ENTRIES = 8192, 2**22


def block_size(inputs: int) -> int:
    """Samples of one block for a network with so many inputs; a statement's numbers depend on it."""
    return max(64, min(LARGEST_BLOCK, BLOCK_ENTRIES // max(inputs, 1)))


def key_of(facts: Mapping[str, object]) -> int:
    """256 bits that stand for what is sampled and why: SHA-256 of the facts as canonical JSON.

    The hash of the network is among the facts, so that the samples of a statement about a repaired network
    are others than all that were drawn for the network that it was made from, whatever the seed.
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def generator(key: int, block: int) -> np.random.Generator:
    """The generator of one block: Philox, a counter-based generator, keyed by (key, block).

    Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key, spawn_key=(block,))))
