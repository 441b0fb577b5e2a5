"""The examples of the documentation: run, compared, and their outputs written anew.

A `python` block is run after those above it in the same file, in one namespace; a `text` block that follows
it is what it prints. In a `console` block a line that begins with `$ ` is a command, the rest its stdout.
Everything runs in one empty folder.

    python docs/_hooks/examples.py README.md docs/tutorial.md     # write the outputs anew
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(?P<kind>python|text|console)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Example:
    """A block with the output that the document shows and the place where it stands.

    Args:
        shown: None where a block of Python is not followed by its output.
        span: of the output's text in the document.
    """

    kind: str
    code: str
    shown: str | None
    span: tuple[int, int]


def examples(text: str) -> Iterator[Example]:
    """The examples of a document, in order."""
    blocks = list(BLOCK.finditer(text))
    for block, following in zip_longest(blocks, blocks[1:]):
        if block["kind"] == "console":
            for found in re.finditer(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block["body"], re.MULTILINE):
                start = block.start("body")
                yield Example("console", found[1], found[2], (start + found.start(2), start + found.end(2)))
        if block["kind"] == "python":
            output = following if following is not None and _is_output(text, block, following) else None
            span = output.span("body") if output else (block.end(), block.end())
            yield Example("python", block["body"], output["body"] if output else None, span)


def _is_output(text: str, block: re.Match[str], following: re.Match[str]) -> bool:
    return following["kind"] == "text" and not text[block.end() : following.start()].strip()


def run_python(code: str, namespace: dict[str, Any]) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<example>", "exec"), namespace)
    return printed.getvalue()


def run_command(command: str) -> str:
    """What a command prints on stdout, at 96 columns; this environment's programs come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"COLUMNS": "96", "PATH": path}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def masked(output: str) -> str:
    """The output without its numbers and spacing, which differ from machine to machine."""
    return " ".join(NUMBER.sub("#", output).split())


def rewritten(text: str) -> str:
    """The document with the outputs that its examples have now."""
    namespace: dict[str, Any] = {}
    parts, end = [], 0
    for example in examples(text):
        run = run_command(example.code) if example.kind == "console" else run_python(example.code, namespace)
        if example.shown is not None:
            lines = "".join(f"{line.rstrip()}\n" for line in run.splitlines())
            parts += [text[end : example.span[0]], lines]
            end = example.span[1]
    return "".join([*parts, text[end:]])


def main() -> None:
    """Rewrite the documents named on the command line."""
    files = [Path(name).resolve() for name in sys.argv[1:]]
    for file in files:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            file.write_text(rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
