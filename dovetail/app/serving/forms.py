"""Answers in the forms of OpenAI's API: completions and chats, whole and in pieces."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from dovetail.app.serving.writing import Chance, Piece

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_LEAST = -9999.0  # what clients take for the logarithm of no chance at all


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of an answer, all choices together."""

    prompt: int
    completion: int

    @property
    def json(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}


class Form(Protocol):
    """How pieces of text become JSON."""

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """Chunks before any text."""
        ...

    def chunk(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """A chunk of a stream."""
        ...

    def whole(self, choices: Sequence[Piece], usage: Usage) -> dict[str, Any]:
        """An answer at once."""
        ...

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last chunk of a stream that tells its usage."""
        ...


@dataclass(slots=True)
class _Named:
    """What every object of one answer begins with."""

    model: str
    with_usage: bool = False  # whether chunks have the field, null but in the last
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    _prefix: ClassVar[str]

    def _object(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {"id": f"{self._prefix}-{self.id}", "object": kind, "created": self.created}
        found |= {"model": self.model, "choices": choices}
        if usage is not None or self.with_usage:
            found["usage"] = None if usage is None else usage.json
        return found


class CompletionForm(_Named):
    """``text_completion`` objects."""

    _prefix = "cmpl"

    def opening(self, choices: int) -> list[dict[str, Any]]:
        return []

    def chunk(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return self._object("text_completion", [_completion(piece) for piece in pieces])

    def whole(self, choices: Sequence[Piece], usage: Usage) -> dict[str, Any]:
        return self._object("text_completion", [_completion(piece) for piece in choices], usage)

    def usage(self, usage: Usage) -> dict[str, Any]:
        return self._object("text_completion", [], usage)


class ChatForm(_Named):
    """``chat.completion`` objects, and chunks of them."""

    _prefix = "chatcmpl"

    def opening(self, choices: int) -> list[dict[str, Any]]:
        first = {"role": "assistant", "content": ""}
        rows = [{"index": i, "delta": first, "logprobs": None, "finish_reason": None} for i in range(choices)]
        return [self._object("chat.completion.chunk", rows)]

    def chunk(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        rows = [
            {"index": p.index, "delta": {"content": p.text} if p.text or p.chances else {},
             "logprobs": _chat_logprobs(p.chances), "finish_reason": p.reason} for p in pieces
        ]  # fmt: skip
        return self._object("chat.completion.chunk", rows)

    def whole(self, choices: Sequence[Piece], usage: Usage) -> dict[str, Any]:
        rows = [
            {"index": p.index, "message": {"role": "assistant", "content": p.text, "refusal": None},
             "logprobs": _chat_logprobs(p.chances), "finish_reason": p.reason} for p in choices
        ]  # fmt: skip
        return self._object("chat.completion", rows, usage)

    def usage(self, usage: Usage) -> dict[str, Any]:
        return self._object("chat.completion.chunk", [], usage)


def event(found: dict[str, Any]) -> bytes:
    """One event of a stream."""
    return f"data: {_encode(found)}\n\n".encode()


def body(found: dict[str, Any]) -> bytes:
    """JSON as it is sent."""
    return _encode(found).encode()


DONE = b"data: [DONE]\n\n"


def _completion(piece: Piece) -> dict[str, Any]:
    logprobs = _logprobs(piece.chances)
    return {"index": piece.index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.reason}


def _logprobs(chances: Sequence[Chance]) -> dict[str, Any] | None:
    if not chances:
        return None
    return {
        "tokens": [one.token for one in chances],
        "token_logprobs": [_finite(one.logprob) for one in chances],
        "top_logprobs": [{token: _finite(value) for token, value in one.top} for one in chances],
        "text_offset": [one.offset for one in chances],
    }


def _chat_logprobs(chances: Sequence[Chance]) -> dict[str, Any] | None:
    if not chances:
        return None
    rows = [
        _token(one.token, one.logprob) | {"top_logprobs": [_token(token, value) for token, value in one.top]}
        for one in chances
    ]
    return {"content": rows, "refusal": None}


def _token(token: str, logprob: float) -> dict[str, Any]:
    """Bytes are those of whole characters; a token that is a part of one has none to show."""
    known = None if "\N{REPLACEMENT CHARACTER}" in token else list(token.encode())
    return {"token": token, "logprob": _finite(logprob), "bytes": known}


def _finite(value: float) -> float:
    return max(value, _LEAST)
