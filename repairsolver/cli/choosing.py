"""Neurons and entries as people write them on the command line."""

from __future__ import annotations

import re

from repairsolver.errors import EditError

ENTRY = re.compile(r"\s*([^\[\],]+)\[([\d,\s]+)\]\s*(?:,|$)")


def chosen_neurons(text: str) -> list[int]:
    """The indices in a text such as `3,7`.

    Raises:
        EditError: something in it is no whole number.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise EditError(f"--neurons {text!r}: expected whole numbers with commas, such as 3,7") from None


def chosen_entries(text: str) -> dict[str, list[tuple[int, ...]]]:
    """Index tuples by tensor, from a text such as `W2[3,7],b2[0]`.

    Raises:
        EditError: the text has another form.
    """
    found: dict[str, list[tuple[int, ...]]] = {}
    position = 0
    try:
        while position < len(text) or not found:
            match = ENTRY.match(text, position)
            if match is None:
                raise ValueError
            index = tuple(int(part) for part in match[2].split(","))
            found.setdefault(match[1].strip(), []).append(index)
            position = match.end()
    except ValueError:
        raise EditError(
            f"--entries {text!r}: expected names of stored tensors with indices, such as W2[3,7],b2[0]"
        ) from None
    return found
