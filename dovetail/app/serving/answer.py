"""Answers that come while an engine works: whole, or as a stream of events; given up when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from dovetail.app.serving.backend import Backend, LeftError, Ticket
from dovetail.app.serving.forms import DONE, Form, Usage, body, event
from dovetail.app.serving.problem import ApiError
from dovetail.app.serving.writing import Choice, Piece

TRANSPORT = "transport"  # of the connection, in the state of a request
_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


@dataclass(slots=True)
class Answer:
    """One HTTP answer, as an ASGI application.

    Parameters
    ----------
    choices : sequence of Choice
        One for each request of the ticket, in order.
    echoes : sequence of str
        What stands before the text of each choice.
    stream, usage : bool
        Whether it comes in events, and whether these tell the usage at the end.
    """

    backend: Backend
    ticket: Ticket
    form: Form
    choices: Sequence[Choice]
    prompt_tokens: int
    echoes: Sequence[str]
    stream: bool
    usage: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(self._left(receive))
        self.ticket.task = asyncio.current_task()
        self.backend.writing.add(self.ticket)
        try:
            await (self._events(send) if self.stream else self._whole(send))
        except ApiError as problem:  # of an answer that was not begun
            self.backend.metrics.answers[problem.status] += 1
            await JSONResponse(problem.body, problem.status, problem.headers)(scope, receive, send)
        except LeftError:  # nobody is there to be told
            pass
        except asyncio.CancelledError:
            if not self.ticket.gone:
                raise
            scope["state"][TRANSPORT].abort()  # the client did not read for too long: nor would it read an end
        finally:
            leaving.cancel()
            self.backend.writing.discard(self.ticket)
            self.backend.finish(self.ticket)

    async def _left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ticket.leave()

    async def _pieces(self) -> list[Piece]:
        """What is new, of each choice at most one piece."""
        found: dict[int, list[Piece]] = {}
        for made in await self.ticket.take():
            choice = self.choices[self.ticket.requests.index(made.id)]
            if choice.reason is None:
                found.setdefault(choice.index, []).append(piece := choice.add(made))
                if piece.reason is not None:
                    self.backend.finish(self.ticket, made.id)  # a stop string is none of the engine's business
        return [_joined(pieces) for pieces in found.values()]

    @property
    def _over(self) -> bool:
        return all(choice.reason is not None for choice in self.choices)

    @property
    def _used(self) -> Usage:
        return Usage(self.prompt_tokens, sum(choice.tokens for choice in self.choices))

    async def _events(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        self.backend.metrics.answers[200] += 1
        echoed = [Piece(i, text, (), None) for i, text in enumerate(self.echoes) if text]
        opening = self.form.opening(len(self.choices)) + ([self.form.chunk(echoed)] if echoed else [])
        if opening:
            await send(_body(b"".join(map(event, opening)), more=True))
        try:
            while not self._over:
                pieces = [one for one in await self._pieces() if one.text or one.chances or one.reason]
                if pieces:
                    await send(_body(b"".join(event(self.form.chunk([one])) for one in pieces), more=True))
        except ApiError as problem:
            await send(_body(event(problem.body) + DONE, more=False))
            return
        last = event(self.form.usage(self._used)) if self.usage else b""
        await send(_body(last + DONE, more=False))

    async def _whole(self, send: Send) -> None:
        found = [[Piece(i, text, (), None)] for i, text in enumerate(self.echoes)]
        while not self._over:
            for piece in await self._pieces():
                found[piece.index].append(piece)
        text = body(self.form.whole([_joined(pieces) for pieces in found], self._used))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        self.backend.metrics.answers[200] += 1
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(_body(text, more=False))


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one choice as one."""
    if len(pieces) == 1:
        return pieces[0]
    chances = [chance for piece in pieces for chance in piece.chances]
    return Piece(pieces[0].index, "".join(piece.text for piece in pieces), chances, pieces[-1].reason)
