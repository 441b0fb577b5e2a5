"""The kinds of jobs as data: for the page's forms, and for the description of the interface."""

from __future__ import annotations

import json
from typing import Any

from repairsolver.service.kinds import KINDS
from repairsolver.service.kinds.kind import Kind, Slot
from repairsolver.service.settings import Settings


def kinds_record(settings: Settings) -> list[dict[str, Any]]:
    """Every kind with its files and the schema of its options."""
    limits = {"upload": settings.upload, "longest": settings.longest, "memory_gb": settings.memory_gb}
    return [
        {
            "name": kind.name,
            "title": kind.title,
            "about": kind.about,
            "slots": [_slot(slot) for slot in kind.slots],
            "options": kind.options.model_json_schema(),
            "limits": limits,
        }
        for kind in KINDS.values()
    ]


def body_of(kind: Kind) -> dict[str, Any]:
    """The form of a submission, for OpenAPI."""
    binary = {"type": "string", "format": "binary"}
    fields: dict[str, Any] = {
        slot.name: binary | {"description": f"{slot.title}: {', '.join(slot.endings)}"}
        if slot.most == 1
        else {"type": "array", "items": binary, "maxItems": slot.most, "description": slot.title}
        for slot in kind.slots
    }
    schema = kind.options.model_json_schema()
    about = f"JSON; fields: {', '.join(schema['properties'])}."
    fields["options"] = {"type": "string", "description": about, "example": json.dumps(dict(kind.example))}
    form = {
        "type": "object",
        "properties": fields,
        "required": [slot.name for slot in kind.slots if slot.required],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "name": slot.name,
        "title": slot.title,
        "endings": list(slot.endings),
        "required": slot.required,
        "most": slot.most,
    }
