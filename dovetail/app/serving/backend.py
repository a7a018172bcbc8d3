"""The HTTP side of the socket to an engine: who asked what, and what comes back for them."""

from __future__ import annotations

import asyncio
import pickle
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from dovetail.app.serving.metrics import Metrics
from dovetail.app.serving.problem import ApiError
from dovetail.runtime.serving.frames import HEADER, packed
from dovetail.runtime.serving.request import CANCELLED, FAILED, STOP, Facts, Made, Request, State

_FULL = 64  # steps that wait for a client: with more it is slow


class LeftError(Exception):
    """The client left, or did not read for too long."""


@dataclass(slots=True, eq=False)
class Ticket:
    """What comes back for one HTTP request: of all its texts, in order.

    Parameters
    ----------
    requests : tuple of int
        Ids at the engine; their places are the indices of the choices.
    """

    requests: tuple[int, ...]
    began: float
    open: set[int] = field(default_factory=set)  # requests that are not over
    taken: float = 0.0  # when the client was last ready for more, or the oldest that is unread came
    gone: bool = False
    task: asyncio.Task[None] | None = None
    _made: deque[Made] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def late(self) -> bool:
        """Whether a client leaves much unread."""
        return len(self._made) >= _FULL or (not self.open and bool(self._made))

    def put(self, made: Made) -> None:
        if not self._made:  # a client that waited for this, however long, has not left it unread
            self.taken = time.monotonic()
        self._made.append(made)
        self._wake.set()

    def leave(self) -> None:
        self.gone = True
        self._wake.set()

    async def take(self) -> list[Made]:
        """Everything that has come, once something has. Raises `LeftError`."""
        self.taken = time.monotonic()
        while not self._made and not self.gone:
            self._wake.clear()
            await self._wake.wait()
        if self.gone:
            raise LeftError
        found = list(self._made)
        self._made.clear()
        return found


class Backend:
    """Asks an engine, from an event loop: `start`, then `ready`."""

    facts: Facts

    def __init__(self) -> None:
        self.queue, self.stall_s, self.metrics, self.alive = 0, 0.0, Metrics(), False
        self.state = State(0, 0, 0, 0, 0)
        self._ids, self._tickets = count(), dict[int, Ticket]()
        self._jobs: list[asyncio.Task[None]] = []
        self.writing: set[Ticket] = set()  # those that a client is being written to

    async def start(self, end: socket.socket) -> Any:
        """The first message of the engine's process: what its front has to know."""
        self._reader, self._writer = await asyncio.open_connection(sock=end)
        return (await self._received())[1]

    async def ready(self, queue: int, stall_s: float) -> None:
        """Wait for the engine, then listen to it.

        Parameters
        ----------
        queue : int
            Requests that may wait beside those that are decoded.
        stall_s : float
            How long a client may leave its text unread, before it is given up.
        """
        self.queue, self.stall_s = queue, stall_s
        _, self.facts = await self._received()
        self.alive = True
        self._jobs = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]

    def stop(self) -> None:
        """Close the socket: the engine's end sees that."""
        for job in self._jobs:
            job.cancel()
        self._writer.close()

    def say(self, verb: str, what: object) -> None:
        """Send the engine's process a message."""
        self._writer.write(packed(verb, what))

    def submit(self, requests: Sequence[Request]) -> Ticket:
        """Ask for texts. Raises `ApiError` where the queue is full, or the engine gone."""
        if not self.alive:
            raise ApiError(503, "The engine has stopped.", code="engine_stopped")
        if len(self._tickets) + len(requests) > self.facts.places + self.queue:
            self.metrics.refused += 1
            what = f"{len(self._tickets)} texts are under way or wait, {self.facts.places + self.queue} may."
            raise ApiError(429, f"The server is busy: {what} Try: later.", code="queue_full")
        named = [replace(request, id=next(self._ids)) for request in requests]
        now = time.monotonic()
        ticket = Ticket(tuple(one.id for one in named), now, {one.id for one in named}, now)
        for one in named:
            self._tickets[one.id] = ticket
            self.say("submit", one)
            self.metrics.prompt_tokens += len(one.prompt)
        return ticket

    def finish(self, ticket: Ticket, request: int | None = None) -> None:
        """What is still made for a request, or for one of its texts, is no longer wanted."""
        for one in [request] if request is not None else list(ticket.open):
            if self._tickets.pop(one, None) is not None:
                self.metrics.ended(one, CANCELLED if request is None else STOP)
                if self.alive:
                    self.say("cancel", one)
            ticket.open.discard(one)

    async def _received(self) -> tuple[Any, ...]:
        (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        found: tuple[Any, ...] = pickle.loads(await self._reader.readexactly(size))
        return found

    async def _listen(self) -> None:
        try:
            while True:
                _, every, self.state = await self._received()
                now = time.monotonic()
                for made in every:
                    self._hand(made, now)
        except (asyncio.IncompleteReadError, OSError):
            self._lost()

    def _hand(self, made: Made, now: float) -> None:
        if (ticket := self._tickets.get(made.id)) is None:  # was cancelled
            return
        self.metrics.made(made, now, ticket.began)
        if made.reason is not None:
            del self._tickets[made.id]
            ticket.open.discard(made.id)
        ticket.put(made)

    def _lost(self) -> None:
        """The engine is gone: so is hope for those who wait."""
        self.alive = False
        for request in list(self._tickets):
            self._hand(Made(request, (), FAILED, (), "the engine has stopped"), time.monotonic())

    async def _watch(self) -> None:
        """Give up clients that do not read what is there for them."""
        while True:
            await asyncio.sleep(min(1.0, self.stall_s / 4))
            now = time.monotonic()
            for ticket in list(self.writing):
                if ticket.late and now - ticket.taken > self.stall_s and ticket.task is not None:
                    self.metrics.slow += 1
                    ticket.leave()
                    ticket.task.cancel()
