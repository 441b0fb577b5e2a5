"""S-expressions with positions: the layer of syntax that both versions of VNN-LIB share.

A text becomes a tuple of `Form`s, each with its items (`Atom`s and nested forms) and the offset at
which it starts; line and column are computed only when an error needs them. The reader keeps its own
stack, so that nesting is limited by memory and not by Python's recursion limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from repairsolver.errors import PropertyError

_TOKEN = re.compile(
    r"""[\s\ufeff]*+
      (?:(?P<open>\()
        |(?P<close>\))
        |(?P<atom>"[^"\n]*"|[A-Za-z]\w*\s*\[[\d\s,]*\]|\[[\d\s,]*\]|[^\s()\[\]";]+)
        |(?P<comment>;[^\n]*)
        |(?P<end>\Z)
        |(?P<bad>.))""",
    re.VERBOSE,
)
_SHOWN = 60


class Atom(NamedTuple):
    """A word, number, quoted name or indexed variable such as `X[0,3]`, at an offset of the text."""

    text: str
    offset: int


class Form(NamedTuple):
    """A parenthesised list that starts at an offset of the text."""

    items: tuple[Expression, ...]
    offset: int


Expression = Atom | Form


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the name that messages call it by."""

    text: str
    name: str

    def position(self, offset: int) -> str:
        """`name:line:column`, both counted from 1."""
        line = self.text.count("\n", 0, offset) + 1
        column = offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        return f"{self.name}:{line}:{column}"

    def error(self, where: int | Expression, message: str) -> PropertyError:
        """An error at an offset or expression; the expression is quoted as the offending text."""
        if isinstance(where, int):
            return PropertyError(f"{self.position(where)}: {message}")
        return PropertyError(f"{self.position(where.offset)}: {message}; got `{show(where)}`")


def show(expression: Expression) -> str:
    """The expression on one line, cut to about 60 characters."""
    words: list[str] = []
    length = 0
    stack: list[Expression | str] = [expression]
    while stack and length <= _SHOWN:
        item = stack.pop()
        if isinstance(item, Form):
            stack.append(")")
            stack.extend(reversed(item.items[:_SHOWN]))
            item = "("
        word = item if isinstance(item, str) else item.text
        words.append(word)
        length += len(word) + 1
    line = " ".join(words).replace("( ", "(").replace(" )", ")")
    return line if not stack and len(line) <= _SHOWN else line[:_SHOWN] + " ..."


def read_forms(source: Source) -> tuple[Form, ...]:
    """All top-level forms of a text, in order.

    Raises:
        PropertyError: unbalanced parentheses, text outside parentheses, unknown characters; with
            file, line and column.
    """
    stack: list[list[Expression]] = [[]]
    opened: list[int] = []
    for match in _TOKEN.finditer(source.text):
        kind = match.lastgroup or "bad"
        start = match.start(kind)
        if kind == "atom":
            if not opened:
                raise source.error(Atom(match[kind], start), "expected `(` to start a command")
            stack[-1].append(Atom(match[kind], start))
        elif kind == "open":
            opened.append(start)
            stack.append([])
        elif kind == "close":
            if not opened:
                raise source.error(start, "this `)` closes nothing: remove it")
            form = Form(tuple(stack.pop()), opened.pop())
            stack[-1].append(form)
        elif kind == "bad":
            raise source.error(start, f"unexpected character {match[kind]!r}")
    if opened:
        raise source.error(opened[-1], f"this `(` is never closed ({len(opened)} still open at the end)")
    return tuple(form for form in stack[0] if isinstance(form, Form))


def head(form: Form) -> str:
    """The first word of a form, or an empty string where it has none."""
    first = form.items[0] if form.items else None
    return first.text if isinstance(first, Atom) else ""
