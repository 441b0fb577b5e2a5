"""The reference of the command line, read from the signatures that the program is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo

from repairsolver.cli.main import app

MARK = "<!-- command line -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference where a page asks for it."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """Every command with its arguments, options and defaults, as Markdown."""
    commands = [info.callback for info in app.registered_commands if info.callback is not None]
    return "\n".join("\n".join(_section(command)) for command in commands)


def _section(command: Callable[..., None]) -> Iterator[str]:
    hints = get_type_hints(command, include_extras=True)
    described = [
        (parameter, get_args(hints[name]))
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    arguments = [
        f"[{info.metavar}]" if parameter.default is None else str(info.metavar)
        for parameter, (_, info) in described
        if isinstance(info, ArgumentInfo)
    ]
    yield f"## {command.__name__}\n"
    yield f"```text\n{' '.join(['repairsolver', command.__name__, *arguments, '[OPTIONS]'])}\n```\n"
    yield f"{inspect.getdoc(command)}\n"
    panels = dict.fromkeys(getattr(info, "rich_help_panel", None) or "" for _, (_, info) in described)
    for panel in sorted(panels, key=bool):
        yield f"**{panel}**\n" if panel else ""
        yield "| argument or option | default | meaning |\n|---|---|---|"
        for parameter, (kind, info) in described:
            if (getattr(info, "rich_help_panel", None) or "") == panel:
                yield f"| {_names(parameter, kind, info)} | {_default(parameter)} | {info.help} |"
        yield ""


def _names(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    if isinstance(info, ArgumentInfo):
        return f"`{info.metavar}`"
    # in Annotated, the first name that is given lands in the place of the default
    declared = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
    names = declared or [f"--{parameter.name.replace('_', '-')}"]
    shown = ", ".join(f"`{part}`" for name in names for part in name.split("/"))
    return shown if kind is bool else f"{shown} `{info.metavar or _values(kind)}`"


def _values(kind: Any) -> str:
    """What stands for an option's value: its choices, or its type."""
    plain = next((part for part in get_args(kind) if part is not NoneType), kind)
    if issubclass(plain, Enum):
        return "` or `".join(choice.value for choice in plain)
    return {"Path": "FILE", "str": "NAME", "int": "NUMBER", "float": "NUMBER"}[plain.__name__]


def _default(parameter: inspect.Parameter) -> str:
    match parameter.default:
        case inspect.Parameter.empty:
            return "required"
        case bool(on):
            return "on" if on else "off"
        case None:
            return "none"
        case value:
            return f"`{getattr(value, 'value', value)}`"
