"""`repairsolver serve`: jobs over HTTP, and a page to use them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from repairsolver.cli.options import Debug
from repairsolver.cli.running import running
from repairsolver.errors import ServiceError

NEEDED = ("fastapi", "uvicorn", "python_multipart", "sqlalchemy")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8321,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the jobs; an existing one is gone on with.")
    ] = Path("repairsolver-jobs"),
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Jobs at once.")] = 1,
    token: Annotated[
        str,
        typer.Option(
            envvar="REPAIRSOLVER_TOKEN",
            metavar="TOKEN",
            help="What requests must carry; better in the variable REPAIRSOLVER_TOKEN than where `ps` shows "
            "it. Without one a random token is made and printed.",
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the token from the first line of a file.")
    ] = None,
    database: Annotated[
        str,
        typer.Option(metavar="URL", help="Another database than SQLite in DIR, as SQLAlchemy names it."),
    ] = "",
    memory: Annotated[
        float, typer.Option(metavar="GB", min=0.5, help="Memory of one job; a job that needs more is ended.")
    ] = 4.0,
    longest: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, help="The longest time limit that a job may ask for.")
    ] = 86400.0,
    upload: Annotated[float, typer.Option(metavar="MB", min=0.001, help="The largest submission.")] = 256.0,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A further name of this server that requests may use; repeatable."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Serve jobs over HTTP until Ctrl-C; prints **serving**, then the address with its token.

    Jobs survive the end of the server, even a sudden one: started again on the same folder, it goes on.
    """
    with running(quiet=True, debug=debug):
        _require()
        from repairsolver.service.running import run
        from repairsolver.service.settings import Settings, processors, secured

        given = _first_line(token_file) if token_file else token
        settings = Settings(
            data=data.resolve(),
            host=host,
            port=port,
            token=secured(given, host),
            workers=workers,
            database=database,
            memory_gb=memory,
            longest=longest,
            upload_mb=upload,
            names=tuple(name or ()),
            threads=max(1, processors() // workers),
        )
        run(settings, lambda address: typer.echo(f"serving\n{address}"))


def _first_line(file: Path) -> str:
    """The token in a file; an empty one would mean a random token.

    Raises:
        ServiceError: there is none in the first line, or it is no text.
        OSError: the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ServiceError(f"{file}: not ASCII text; write the token into its first line") from error
    if not lines or not lines[0].strip():
        raise ServiceError(f"{file}: its first line is empty; write the token there")
    return lines[0].strip()


def _require() -> None:
    """Refuse to go on without the packages of the service.

    Raises:
        ServiceError: naming those that are missing, and how to install them.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise ServiceError(
            f"the service needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'repairsolver[service]'"
        )
