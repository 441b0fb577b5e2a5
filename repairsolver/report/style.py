"""The one style of all reports."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


def style() -> str:
    """The style sheet."""
    return (TEMPLATES / "report.css").read_text(encoding="utf-8")


def style_hash() -> str:
    """Its source as a Content-Security-Policy that allows this style alone has it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()}"
