"""Which names of this server are answered: a page that makes its own name mean this computer asks under that name."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dovetail.app.serving.problem import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def names_of(address: str, also: tuple[str, ...] = ()) -> frozenset[str] | None:
    """Names that a server at an address answers to; None: to all, since others than this computer reach it."""
    if address.lower() != "localhost" and not _is_loopback(address):
        return None
    return _LOCAL | {address.lower(), *(name.lower() for name in also)}


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def name_in(host: str) -> str:
    """The name in a ``Host`` header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def only_for(app: ASGIApp, names: frozenset[str] | None, refused: Callable[[ApiError], ASGIApp]) -> ASGIApp:
    """`app`, which answers requests for these names alone: browsers always say which one they mean.

    A page whose name its owner lets resolve to this computer is, to the browser, of the same origin as this server.
    """
    if names is None:
        return app

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        host = dict(scope.get("headers", ())).get(b"host")
        name = None if host is None else name_in(host.decode("latin-1"))
        if name is None or name in names:
            await app(scope, receive, send)
            return
        what = f"This server is not called {name[:80]!r}. Try: localhost, or a server with --allow-host"
        await refused(ApiError(403, what, code="host_refused"))(scope, receive, send)

    return checked
