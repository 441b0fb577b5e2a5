"""Certificates and reports that `verify` and `repair` were asked to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from repairsolver.errors import CertificateError, ReportError
from repairsolver.targets import file_target

if TYPE_CHECKING:
    from repairsolver.network import Network
    from repairsolver.property import Property
    from repairsolver.results import Verdict
    from repairsolver.sampling.statement import Statement


def proof_paths(path: Path, count: int) -> list[Path]:
    """Where the certificates of that many properties go: FILE, or FILE with .1, .2, ... before its ending."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}.{index}{path.suffix}") for index in range(1, count + 1)]


def check_report(path: Path | None) -> None:
    """Refuse, before the work, a path to which a report could not be written.

    Raises:
        ReportError: the name does not end in .html.
        OSError: the path is a folder or a device, or cannot be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise ReportError(f"{path}: a report is one HTML file; choose a name that ends in .html")
    file_target(path)


def write_report(
    record: dict[str, Any], network: Network, repaired: Network | None, props: Sequence[Property], path: Path
) -> None:
    """Write the report of a result; say so on stderr, as stdout is the result's."""
    from repairsolver.report.page import result_page, write_page
    from repairsolver.report.subject import Subject

    write_page(result_page(Subject(record, network, repaired, tuple(props))), path)
    typer.echo(f"Report: {path}", err=True)


def write_proof(verdict: Verdict | None, path: Path) -> None:
    """Write a verdict's certificate; say so on stderr, as stdout is the verdict's.

    Without a proof there is nothing to write, which is said.

    Raises:
        CertificateError: there is a proof, but none that the checker can check.
    """
    if verdict is None or verdict.status.value != "holds":
        typer.echo(f"No certificate was written to {path}: nothing is proved.", err=True)
        return
    if verdict.certificate is None:
        tried = ", ".join(verdict.methods)
        raise CertificateError(
            f"{path}: no certificate was written. The property holds, but the proof rests on more than input "
            f"splitting with linear bounds (methods: {tried}), which certificates do not cover"
        )
    from repairsolver.certificate import write_certificate
    from repairsolver.results import counted

    path.parent.mkdir(parents=True, exist_ok=True)
    write_certificate(verdict.certificate, path)
    boxes = counted(len(verdict.certificate.axis), "box", "boxes")
    typer.echo(f"Certificate: {path}, {boxes}", err=True)


def write_statement(found: Statement, path: Path) -> None:
    """Write a statement's certificate, and say so on stderr; nothing if nothing is stated.

    Raises:
        CertificateError: something is stated that no file can hold.
    """
    if found.status.value == "undecided":
        typer.echo(f"No certificate was written to {path}: nothing is stated.", err=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save(path)
    typer.echo(f"Certificate: {path}", err=True)
