"""What stands before the routes: Host, token, Origin, limits, headers, in this order."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from earthwords.serve.errors import Problem, busy

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from earthwords.serve.state import ServeSettings

COOKIE = "earthwords"
MOST_BODY = 2**20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CSP = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/api/session"})
"""Answered to everybody."""
_GUARDED = ("/api/", "/metrics")
_SAFE = ("GET", "HEAD", "OPTIONS")
_MOST_CLIENTS = 1024
_PORTS = {"http": 80, "https": 443}


class Guard:
    """An ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, *, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings
        self.names = allowed_names(settings)
        self.cookie = cookie_of(settings.token)
        self.writes = Rate(settings.writes_per_s, burst=5)
        self.reads = Rate(settings.reads_per_s, burst=3)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer with a problem."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = headers_of(scope)
        sent = _with_headers(send, scope["path"])
        try:
            self._check(scope, headers)
            receive = await self._body(scope, headers, receive)
        except Problem as problem:
            await problem.response()(scope, receive, sent)
            return
        await self.app(scope, receive, sent)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise a `Problem` for who may not ask."""
        path, method = scope["path"], scope["method"]
        if not self._knows(headers.get("host", ""), scope.get("scheme", "http")):
            raise Problem(403, "The server is not known by that name; start it with --allow-host NAME.")
        client = str((scope.get("client") or ("?",))[0])
        rate = self.reads if method in _SAFE else self.writes
        wait = rate.take(client)
        if wait:
            raise busy("Too many requests at once; ask again later.", seconds=max(1, round(wait)), status=429)
        guarded = path.startswith(_GUARDED) and path not in OPEN
        if guarded and not self.authenticated(headers):
            raise Problem(
                401, "The token is missing or wrong; it stands in the address that the server printed.",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin):
            raise Problem(403, "Another site may not ask this server.")
        if path.startswith("/api/") and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Problem(403, "Another site may not ask this server.")

    def authenticated(self, headers: dict[str, str]) -> bool:
        """Whether a request carries the token, or the cookie that was given for it."""
        token = self.settings.token
        if token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), token):
            return True
        return any(same(value, self.cookie) for value in _cookies(headers.get("cookie", "")))

    def _knows(self, host: str, scheme: str) -> bool:
        name, port = split_host(host, scheme)
        return (name, port) in self.names or (name, None) in self.names

    def _is_own(self, origin: str) -> bool:
        scheme, _, rest = origin.partition("://")
        if scheme not in _PORTS or not rest or "/" in rest:
            return False
        name, port = split_host(rest, scheme)
        return (name, port) in self.names or ((name, None) in self.names and port in _PORTS.values())

    async def _body(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Receive:
        """The whole body, read within bounds, for the routes to read again."""
        length = headers.get("content-length", "")
        chunked = "transfer-encoding" in headers
        if length and not length.isdecimal():
            raise Problem(400, "The length of the body is no number.")
        if not chunked and not int(length or 0):
            return receive
        if int(length or 0) > MOST_BODY:
            raise _too_large()
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "The body must be application/json.")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > MOST_BODY:
                        raise _too_large()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Problem(
                408, f"The body did not come within {self.settings.body_s:g} s.", headers={"Connection": "close"}
            ) from None
        return _replay(b"".join(parts), receive)


class Rate:
    """So many requests of a client a second, and a burst."""

    def __init__(self, per_s: float, *, burst: float) -> None:
        """`burst`: in seconds of the rate."""
        self.per_s = per_s
        self.most = per_s * burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Of a client, what is left and when that was."""

    def take(self, client: str) -> float:
        """Seconds to wait; 0: go on."""
        now = time.monotonic()
        left, then = self._left.pop(client, (self.most, now))
        left = min(self.most, left + (now - then) * self.per_s)
        wait = 0.0 if left >= 1 else (1 - left) / self.per_s
        self._left[client] = (left - (not wait), now)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return wait


def allowed_names(settings: ServeSettings) -> set[tuple[str, int | None]]:
    """Names and ports that the server is known by; without a port any of the usual ones."""
    names: set[tuple[str, int | None]] = {(name, settings.port) for name in LOOPBACK}
    if settings.host not in ("0.0.0.0", "::"):
        names.add((settings.host.lower(), settings.port))
    for entry in settings.hosts:
        name, port = split_host(entry, None)
        names |= {(name, port)} if port else {(name, settings.port), (name, 80), (name, 443)}
    return names


def split_host(host: str, scheme: str | None) -> tuple[str, int | None]:
    """`NAME:PORT` or `[ADDRESS]:PORT` as a name in lower case and a port, else the scheme's."""
    usual = _PORTS.get(scheme or "")
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdecimal()):
        return "", None
    return name.lower().rstrip("."), int(port) if port else usual


def cookie_of(token: str | None) -> str:
    """What the cookie holds: follows from the token, which does not follow from it."""
    return hmac.new((token or "").encode(), b"earthwords cookie", hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def headers_of(scope: Scope) -> dict[str, str]:
    """Names in lower case to values; of a header that comes twice the last, but all cookies."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}; {text}" if key == "cookie" and key in found else text
        if key == "host" and [n for n, _ in scope["headers"]].count(name) > 1:
            found[key] = ""
    return found


def _cookies(text: str) -> list[str]:
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return []
    return [] if morsel is None else [morsel.value]


def _too_large() -> Problem:
    return Problem(413, f"The body is larger than {MOST_BODY:,} bytes.", headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then what else comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send, path: str) -> Send:
    """Add the headers that every answer has."""

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            named = {name.lower() for name, _ in own}
            more = {**HEADERS, **({"Cache-Control": "no-store"} if path.startswith(_GUARDED) else {})}
            own += [(k.lower().encode(), v.encode()) for k, v in more.items() if k.lower().encode() not in named]
            message = {**message, "headers": own}
        await send(message)

    return sent
