"""Results in notebooks: what is guaranteed in plain words, and a small table, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

MOST_NUMBERS = 12
"""Of a vector, as many are shown."""

COLOURS = {"good": "#009e73", "bad": "#d55e00", "open": "#6b6b6b"}
"""Okabe and Ito's green and vermilion; the words say the same for those who do not see them."""

Rows = Mapping[str, object]


def result_html(kind: str, answer: str, guarantee: str, rows: Rows) -> str:
    """An answer, what it means, and its numbers.

    Args:
        kind: `good`, `bad` or `open`.
        rows: what is None is left out.
    """
    told = {name: value for name, value in rows.items() if value is not None}
    cells = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(shown(value))}</td></tr>'
        for name, value in told.items()
    )
    style = f"border-left:0.4em solid {COLOURS[kind]};padding-left:0.5em"
    mark = f'<strong style="{style}">{escape(answer)}</strong>'
    return f"<div><p>{mark}: {escape(guarantee)}</p><table>{cells}</table></div>"


def table_html(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of several rows."""
    titles = "".join(f'<th scope="col" style="text-align:left">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(shown(c))}</td>' for c in row) + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def shown(value: object) -> str:
    """A value as people read it: six digits, a dash for nothing, the first numbers of long vectors."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = f", ... ({len(value)} in all)" if len(value) > MOST_NUMBERS else ""
        return ", ".join(map(shown, value[:MOST_NUMBERS])) + more
    return str(value)
