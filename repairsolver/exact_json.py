"""JSON that can be read in one way only: where a name stands twice in an object, readers take either."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value, as `json.loads` reads it.

    Raises:
        ValueError: the text is no JSON (`json.JSONDecodeError`), or a name stands twice in one object.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the entry {twice!r} more than once, so that its meaning is open")
    return found
