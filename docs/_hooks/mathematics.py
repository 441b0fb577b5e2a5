"""Mathematics as MathML, made when the site is built: readers need no script and no network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    """Replace every formula of a page.

    Raises:
        ValueError: a command is not known to the converter, which would print it as it is.
    """
    return FORMULA.sub(_formula, content)


def _formula(match: re.Match[str]) -> str:
    latex = html.unescape(match["latex"]).strip()
    display = "block" if match["open"] == "[" else "inline"
    mathml = convert(latex, display=display)
    if "\\" in mathml:
        raise ValueError(f"a formula uses a command that cannot be shown: {latex}")
    tag = match["tag"]
    return f'<{tag} class="mathematics">{mathml}</{tag}>'
