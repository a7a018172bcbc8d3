"""The HTTP face: routes, keys, limits, and how requests become texts for the engine."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import product
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dovetail.app.serving import chat
from dovetail.app.serving.answer import Answer
from dovetail.app.serving.asked import Asked, AskedChat, AskedCompletion, read
from dovetail.app.serving.backend import Backend
from dovetail.app.serving.forms import ChatForm, CompletionForm, Form
from dovetail.app.serving.hosts import only_for
from dovetail.app.serving.limits import Limits
from dovetail.app.serving.problem import ApiError, of_error
from dovetail.app.serving.writing import Choice
from dovetail.core.errors import DovetailError
from dovetail.runtime.serving.admission import refuse
from dovetail.runtime.serving.request import Request

_DEFAULT_TOKENS = 16  # of a completion that does not say, as OpenAI has it
_DISCARDED = 16  # times the limit of a body that is read and thrown away, so that the client sees the answer
_LONG = 20_000  # characters whose tokens are found beside the event loop


class Front:
    """Answers HTTP requests with what a backend makes.

    Parameters
    ----------
    model : str
        The name that requests have to ask for.
    key : str or None
        What requests have to show; None: nothing.
    names : set of str or None
        Of this server, as requests have them in ``Host``; None: any.
    """

    def __init__(
        self, backend: Backend, tokenizer: Any, model: str, key: str | None, limits: Limits,
        names: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        self.backend, self.tokenizer, self.model, self.limits, self._names = backend, tokenizer, model, limits, names
        self._key = None if key is None else key.strip().encode()
        self._created = int(time.time())
        self.last = time.monotonic()  # when a request came last

    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes = [
            Route("/v1/completions", self._answered(self._completion), methods=["POST"]),
            Route("/v1/chat/completions", self._answered(self._chat), methods=["POST"]),
            Route("/v1/models", self._answered(self._models)),
            Route("/v1/models/{name:path}", self._answered(self._described)),
            Route("/metrics", self._answered(self._metrics)),
            Route("/health", self._health),
        ]
        routed = Starlette(routes=routes, exception_handlers={HTTPException: self._unrouted})
        return only_for(routed, self._names, self._refused)

    def _answered(self, make: Callable[[HttpRequest], Awaitable[ASGIApp]]) -> Callable[[HttpRequest], Awaitable[Any]]:
        """An endpoint that asks for the key first, and turns problems into answers."""

        async def answer(request: HttpRequest) -> ASGIApp:
            self.last = time.monotonic()
            try:
                self._check_key(request)
                return await make(request)
            except ApiError as problem:
                return self._refused(problem)
            except DovetailError as error:
                return self._refused(of_error(error))
            except ClientDisconnect:
                return Response(status_code=400)

        return answer

    def _refused(self, problem: ApiError) -> Response:
        self.backend.metrics.answers[problem.status] += 1
        return JSONResponse(problem.body, problem.status, problem.headers)

    async def _unrouted(self, request: HttpRequest, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = {404: "there is nothing here", 405: "another method is needed"}.get(status, str(error))
        return self._refused(ApiError(status, f"{request.method} {request.url.path}: {words}."))

    def _check_key(self, request: HttpRequest) -> None:
        if self._key is None:
            if "origin" in request.headers:  # a page in this computer's browser, whoever wrote it
                raise ApiError(403, "Pages are not answered without a key.", code="origin_refused")
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._key):
            raise ApiError(401, "No API key, or a wrong one. Try: Authorization: Bearer KEY", code="invalid_api_key")

    def _check_model(self, name: str) -> None:
        if name != self.model:
            what = f"The model {name[:80]!r} does not exist here. Try: {self.model}"
            raise ApiError(404, what, param="model", code="model_not_found")

    async def _body(self, request: HttpRequest) -> bytes:
        """The body, within its limit; more is read and thrown away, or its sender would not read the answer."""
        limit, told = self.limits.body_bytes, request.headers.get("content-length", "0")
        size = int(told) if told.isdecimal() else 0
        parts: list[bytes] = []
        got = 0
        try:
            async with asyncio.timeout(self.limits.stall_s):
                async for part in request.stream():
                    got += len(part)
                    if got <= limit:
                        parts.append(part)
                    if got > _DISCARDED * limit:
                        break
        except TimeoutError:
            raise ApiError(408, f"The body did not come within {self.limits.stall_s:g} s.") from None
        if max(got, size) > limit:
            raise ApiError(413, f"A body of {max(got, size):,} bytes; {limit:,} are taken.", code="body_too_large")
        return b"".join(parts)

    async def _completion(self, request: HttpRequest) -> ASGIApp:
        asked = read(AskedCompletion, await self._body(request))
        self._check_model(asked.model)
        prompts = [await self._tokens(one) if isinstance(one, str) else one for one in asked.prompts]
        most = asked.max_tokens or _DEFAULT_TOKENS
        for prompt in prompts:  # before a tokenizer is asked for the text of tokens that do not exist
            self._check_size(prompt, most)
        echoes = [_text(self.tokenizer, one) if asked.echo else "" for one in asked.prompts]
        form = CompletionForm(self.model, asked.stream and asked.usage_in_stream)
        return self._begun(asked, prompts, echoes, most, asked.stops, asked.logprobs, form)

    async def _chat(self, request: HttpRequest) -> ASGIApp:
        asked = read(AskedChat, await self._body(request))
        self._check_model(asked.model)
        text = chat.prompt(self.tokenizer, asked.messages)
        plain = not chat.templated(self.tokenizer)
        prompt = await self._tokens(text, special=plain)
        most = asked.max_completion_tokens or asked.max_tokens
        most = most or max(1, min(self.backend.facts.longest - len(prompt), self.limits.new_tokens))
        self._check_size(prompt, most)
        logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
        stops = [*asked.stops, *(chat.PLAIN_STOPS if plain else ())]
        form = ChatForm(self.model, asked.stream and asked.usage_in_stream)
        return self._begun(asked, [prompt], [""], most, stops, logprobs, form)

    def _begun(
        self, asked: Asked, prompts: Sequence[Sequence[int]], echoes: Sequence[str], most: int, stops: Sequence[str],
        logprobs: int | None, form: Form,
    ) -> Answer:  # fmt: skip
        """Ask the engine: `n` texts of each prompt, whose sizes were checked."""
        seed = int.from_bytes(os.urandom(7), "little") if asked.seed is None else asked.seed
        requests = [
            Request(
                0, tuple(prompt), most, asked.temperature, max(0, asked.top_k), asked.top_p, seed, sequence, logprobs
            )
            for prompt, sequence in product(prompts, range(asked.n))
        ]
        ticket = self.backend.submit(requests)
        choices = [Choice(index, one, self.tokenizer, stops) for index, one in enumerate(ticket.requests)]
        before = [echo for echo in echoes for _ in range(asked.n)]
        count = sum(map(len, prompts))
        return Answer(self.backend, ticket, form, choices, count, before, asked.stream, asked.usage_in_stream)

    def _check_size(self, prompt: Sequence[int], most: int) -> None:
        limits, facts, code = self.limits, self.backend.facts, "context_length_exceeded"
        if len(prompt) > limits.prompt_tokens:
            what = f"A prompt of {len(prompt):,} tokens; {limits.prompt_tokens:,} are taken."
            raise ApiError(400, what, param="prompt", code=code)
        if most > limits.new_tokens:
            what = f"max_tokens {most:,}; {limits.new_tokens:,} are made at most."
            raise ApiError(400, what, param="max_tokens", code="max_tokens_too_large")
        if prompt and (worst := max(prompt)) >= facts.vocabulary:
            raise ApiError(400, f"Token {worst} does not exist; there are {facts.vocabulary}.", param="prompt")
        try:
            refuse(facts, len(prompt), most)
        except DovetailError as error:
            raise of_error(error, param="prompt", code=code) from None

    async def _tokens(self, text: str, *, special: bool = True) -> list[int]:
        def found() -> list[int]:
            return list(self.tokenizer(text, add_special_tokens=special).input_ids)

        return found() if len(text) < _LONG else await asyncio.to_thread(found)

    async def _models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def _described(self, request: HttpRequest) -> Response:
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        facts = self.backend.facts
        return {"id": self.model, "object": "model", "created": self._created, "owned_by": "dovetail",
                "max_model_len": facts.longest}  # fmt: skip

    async def _metrics(self, _: HttpRequest) -> Response:
        text = self.backend.metrics.text(self.backend.state, self.backend.facts)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _health(self, _: HttpRequest) -> Response:
        alive = self.backend.alive
        return JSONResponse({"status": "ok" if alive else "the engine has stopped"}, 200 if alive else 503)


def _text(tokenizer: Any, prompt: str | Sequence[int]) -> str:
    return prompt if isinstance(prompt, str) else str(tokenizer.decode(list(prompt)))
