"""The server as a program: it listens, tells its address, and ends on Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn

from repairsolver.service.app import create_app
from repairsolver.service.settings import Settings

CONNECTIONS = 500
"""At once; further ones are told to come back later."""


def run(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until told to end.

    Args:
        tell: called with the address of the page, which holds the token behind a `#` that browsers keep to
            themselves, as soon as it can be opened.

    Raises:
        ServiceError: another server uses the folder of the data.
        OSError: the address cannot be listened on.
    """
    app = create_app(settings)
    listening = _socket(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listening.getsockname()[1]}/#token={settings.token}"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=True,
        limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=3, ws="none",
    )  # fmt: skip

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                tell(address)

    # uvicorn ends in good order, then raises the signal that it was ended by once more
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listening])


def _socket(settings: Settings) -> socket.socket:
    """A socket that listens, so that a port taken is an error before anything starts."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((settings.host.strip("[]"), settings.port))
    listening.listen(1024)
    listening.set_inheritable(False)
    return listening
