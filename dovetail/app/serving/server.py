"""The process that speaks HTTP: so that its work and that of the engine do not wait for each other."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dovetail.app.serving.answer import TRANSPORT
from dovetail.app.serving.backend import Backend
from dovetail.app.serving.front import Front
from dovetail.app.serving.limits import Limits
from dovetail.app.serving.problem import ApiError
from dovetail.runtime.load import tokenizer_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class Face:
    """What a front has to know.

    Parameters
    ----------
    model : str
        The name that clients ask for.
    folder : Path
        Of the tokenizer.
    key : str or None
    idle_s : float
        Stop after so long without a request; 0: never.
    names : set of str or None
        That requests may call the server by; None: any.
    """

    model: str
    folder: Path
    key: str | None
    limits: Limits
    idle_s: float
    names: frozenset[str] | None = None


class Server(uvicorn.Server):
    """Uvicorn that leaves signals to us: it would end the process by the one it got, and not with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """The first time what is in flight may finish; the second time not."""
        self.force_exit, self.should_exit = self.should_exit, True


class Protocol(H11Protocol):
    """HTTP/1.1 that lets an answer break off its connection, and gives up who does not get to ask.

    Attributes
    ----------
    most : int
        Connections that may be open.
    stall_s : float
        How long the head of a request may take.
    """

    most = 0
    stall_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        if len(self.connections) > self.most:
            transport.write(_BUSY)
            transport.close()
        else:
            self._await_head(None)

    def _await_head(self, last: object) -> None:
        """Look again after a while: what then still waits for its head, as it did before, is closed."""
        if self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        if waits and last is (self.cycle or self):
            self.transport.close()
            return
        self.loop.call_later(self.stall_s, self._await_head, (self.cycle or self) if waits else None)


def _bounded(limits: Limits) -> type[Protocol]:
    return type("Bounded", (Protocol,), {"most": limits.connections, "stall_s": limits.stall_s})


def _busy() -> bytes:
    """An answer to who is one connection too many."""
    problem = ApiError(503, "The server has no connection free. Try: later.", code="too_many_connections")
    body = json.dumps(problem.body).encode()
    head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\nconnection: close"
    return f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


_BUSY = _busy()


async def serve(listening: socket.socket, end: socket.socket, begun: Callable[[Server], None]) -> None:
    """Speak HTTP at one socket for the engine at another, until the server is stopped or the engine is gone.

    Parameters
    ----------
    begun : callable
        Given the server when it begins.
    """
    backend = Backend()
    try:
        face = Face(**await backend.start(end))
        tokenizer = tokenizer_of(face.folder)
        await backend.ready(face.limits.queue, face.limits.stall_s)
    except (asyncio.IncompleteReadError, OSError):  # there will be no engine; its process says why
        return
    front = Front(backend, tokenizer, face.model, face.key, face.limits, face.names)
    server = Server(_config(front.app(), face.limits))
    begun(server)
    watch = asyncio.create_task(_watch(server, front, face.idle_s))
    backend.say("serving", None)
    await server.serve(sockets=[listening])
    watch.cancel()
    backend.stop()


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    drain = max(1, round(limits.drain_s))
    return uvicorn.Config(
        app,
        http=_bounded(limits),
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=drain,
    )


async def _watch(server: Server, front: Front, idle_s: float) -> None:
    """Stop when the engine is gone, or when nobody has asked for anything for long."""
    while not server.should_exit:
        await asyncio.sleep(0.2)
        if front.backend.writing:  # idleness begins where an answer ends
            front.last = time.monotonic()
        idle = idle_s and time.monotonic() - front.last > idle_s
        if idle or not front.backend.alive:
            server.should_exit = True


def main() -> None:
    """Entry of the process: the listening socket and that to the engine are inherited, by number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all processes; the engine's passes it on
    listening, end = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])

    def begun(server: Server) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)

    asyncio.run(serve(listening, end, begun))


if __name__ == "__main__":
    main()
