"""An engine at one end of a socket: what is asked comes in, what each step made goes out."""

from __future__ import annotations

import pickle
import select
import socket
import traceback
from collections.abc import Callable
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.runtime.serving.engine import Engine
from dovetail.runtime.serving.frames import HEADER, packed
from dovetail.runtime.serving.request import FAILED, Made, Request


class Link:
    """The engine's end.

    Parameters
    ----------
    end : socket
        A connected stream; it is made blocking, and its other end is expected to read at any time.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._end, self._poll = end, select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, *message: Any) -> None:
        """Raises `OSError` when the other end is gone."""
        self._end.sendall(packed(*message))

    def receive(self, *, wait: bool) -> tuple[Any, ...] | None:
        """The next message; None where none is there, and it is not waited for. `EOFError`: the other end is gone."""
        if not self._poll.poll(None if wait else 0):
            return None
        (size,) = HEADER.unpack(self._exactly(HEADER.size))
        found: tuple[Any, ...] = pickle.loads(self._exactly(size))
        return found

    def _exactly(self, size: int) -> bytes:
        data = self._end.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise EOFError
        return data


def serve(engine: Engine, link: Link, serving: Callable[[], None] = lambda: None) -> None:
    """Do what is asked through a link until its other end is closed.

    Messages that come: ``("submit", Request)``, ``("cancel", id)``, and ``("serving", None)``, of which `serving` is
    told. Messages that go: ``("ready", Facts)`` first, then ``("made", list of Made, State)`` after each step.
    """
    try:
        link.send("ready", engine.facts)
        while True:
            refused: list[Made] = []
            while (message := link.receive(wait=not engine.busy and not refused)) is not None:
                verb, what = message
                if verb == "serving":
                    serving()
                else:
                    refused += _done(engine, verb, what)
            link.send("made", refused + engine.step(), engine.state)
    except (EOFError, OSError):
        return


def _done(engine: Engine, verb: str, what: Any) -> list[Made]:
    if verb == "cancel":
        engine.cancel(what)
        return []
    request: Request = what
    try:
        engine.submit(request)
    except Exception as error:  # what its front let through, which it should not have
        if not isinstance(error, DovetailError):
            traceback.print_exception(error)
        return [Made(request.id, (), FAILED, (), str(error) or type(error).__name__)]
    return []
