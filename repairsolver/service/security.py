"""Who may ask, and what browsers may do with the answers: checks around every request.

Requests of the interface carry the token in a header, which no other site can make a browser send: there are
no cookies, hence no forged requests. The Host header must be a name of this server (against DNS rebinding), a
foreign Origin is refused, and no answer allows other sites to read it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/api/health",)


def headers_of(style: str) -> list[tuple[bytes, bytes]]:
    """Headers of every answer.

    Args:
        style: hash of the style of reports, which the page shows in a frame.
    """
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'self' '{style}'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "frame-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    text = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }
    return [(name.encode(), value.encode()) for name, value in text.items()]


class TooLargeError(Exception):
    """More bytes than a submission may have."""


class Guard:
    """Token, origin, size and headers, around an application.

    Args:
        token: what requests of the interface must carry.
        most: bytes of one request.
        style: see `headers_of`.
    """

    def __init__(self, app: ASGIApp, *, token: str, most: int, style: str) -> None:
        self._app, self._most = app, most
        self._expected = f"Bearer {token}".encode()
        self._headers = headers_of(style)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"])
        refusal = self._refused(scope["path"], given)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": self._with_headers(scope["path"], message["headers"])}
            await send(message)

        try:
            await self._app(scope, self._counting(receive), sending)
        except TooLargeError:
            if not begun:
                await self._answer(send, 413, f"a submission may have at most {self._most} bytes")

    def _refused(self, path: str, given: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and reason, if a request is refused for what its head says."""
        origin = given.get(b"origin")
        if origin is not None and urlsplit(origin.decode("latin-1")).netloc != given.get(b"host", b"").decode(
            "latin-1"
        ):
            return 403, "requests from other sites are refused"
        secret = path.startswith("/api/") and path not in OPEN_PATHS
        if secret and not hmac.compare_digest(given.get(b"authorization", b""), self._expected):
            return 401, "a valid token is needed, as the header `Authorization: Bearer TOKEN`"
        length = given.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most:
            return 413, f"a submission may have at most {self._most} bytes"
        return None

    def _counting(self, receive: Receive) -> Receive:
        """Receive at most so many bytes, whatever the head said."""
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise TooLargeError
            return message

        return counted

    def _with_headers(self, path: str, own: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        cache = b"no-store" if path.startswith("/api/") else b"no-cache"
        return [*own, *self._headers, (b"cache-control", cache)]

    async def _answer(self, send: Send, status: int, reason: str) -> None:
        body = json.dumps({"detail": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": self._with_headers("/api/", headers),
        }
        await send(start)
        await send({"type": "http.response.body", "body": body})
