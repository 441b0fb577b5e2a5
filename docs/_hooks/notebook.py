"""Notebooks: run when the site is built, and shown with what their cells gave.

A page asks for one by `<!-- notebook: FILE.ipynb -->`. The committed file has no outputs; a cell that raises
fails the build.
"""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

MARK = re.compile(r"<!-- notebook: (\S+\.ipynb) -->")
DOCS = Path(__file__).parents[1]
SECONDS = 120
"""For one cell."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put a notebook where a page asks for it."""
    return MARK.sub(lambda found: rendered(executed((DOCS / found[1]).read_text(encoding="utf-8"))), markdown)


@cache
def executed(text: str) -> Any:
    """The notebook with the outputs that its cells have now, run in an empty folder.

    Raises:
        CellExecutionError: a cell raises.
    """
    notebook = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        manager = client.create_kernel_manager()
        # files instead of ports, which others on the machine could listen to
        manager.transport, manager.ip = "ipc", f"{folder}/kernel"
        client.execute()
    return notebook


def rendered(notebook: Any) -> str:
    """A notebook with its outputs, as Markdown."""
    return "\n\n".join(part for cell in notebook.cells for part in _cell(cell)) + "\n"


def _cell(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stdout":
                yield f"```text\n{output.text.rstrip()}\n```"
        else:
            yield _shown(output.data, output.get("metadata", {}))


def _shown(data: Any, metadata: Any) -> str:
    """The richest form of an output that a page can hold."""
    if "image/png" in data:
        text = html.escape(str(metadata.get("alt") or "the figure that the code above draws"), quote=True)
        return f'<p><img alt="{text}" src="data:image/png;base64,{data["image/png"].strip()}"></p>'
    if "text/html" in data:
        # one line: a blank one would end the block, and what follows be taken for Markdown
        return " ".join(data["text/html"].split())
    return f"```text\n{data['text/plain'].rstrip()}\n```"
