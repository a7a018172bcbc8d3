"""The bodies of requests: what is understood, what is refused by name, what has no effect here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dovetail.app.serving.problem import ApiError
from dovetail.core.errors import did_you_mean

MOST_CHOICES = 128  # texts of one request
_TOP_COMPLETION, _TOP_CHAT = 5, 20  # likeliest tokens that may be asked for, as OpenAI has it
_NO_EFFECT = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # what is not built, and the values that ask for nothing
    "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "suffix": ("",), "tools": ([],),
    "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "parallel_tool_calls": (True, False),
}  # fmt: skip

Token = Annotated[int, Field(ge=0)]
Kind = TypeVar("Kind", "AskedCompletion", "AskedChat")


class StreamOptions(BaseModel):
    """What a stream says beside its text."""

    model_config = ConfigDict(strict=True, extra="forbid")
    include_usage: bool = False
    include_obfuscation: bool = False  # padding against observers of an encrypted line: there is none here


class Asked(BaseModel):
    """What both kinds of requests have."""

    model_config = ConfigDict(strict=True, extra="forbid")
    model: str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | Annotated[list[str], Field(max_length=4)] = []
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> list[str]:
        found = [self.stop] if isinstance(self.stop, str) else self.stop
        if not all(found):
            raise ApiError(400, "stop: a stop string is empty.", param="stop")
        return found

    @property
    def usage_in_stream(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class AskedCompletion(Asked):
    """Body of ``/v1/completions``."""

    prompt: str | list[str] | list[Token] | list[list[Token]]
    logprobs: int | None = Field(None, ge=0, le=_TOP_COMPLETION)
    echo: bool = False
    best_of: int | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Texts or tokens, one for each text to continue."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        every: list[Any] = self.prompt
        return [every] if every and isinstance(every[0], int) else every

    def check(self) -> None:
        """Refuse what does not go together."""
        if self.best_of is not None and self.best_of != self.n:
            raise ApiError(400, "best_of: not supported; as many texts are made as n says.", param="best_of")
        if self.echo and self.logprobs is not None:
            raise ApiError(400, "echo: not supported together with logprobs.", param="echo")
        if not 1 <= len(self.prompts) * self.n <= MOST_CHOICES:
            what = f"{len(self.prompts)} prompts, {self.n} texts of each: 1 to {MOST_CHOICES} in all."
            raise ApiError(400, what, param="prompt")


class Part(BaseModel):
    """A piece of a message: text only."""

    model_config = ConfigDict(strict=True, extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(strict=True, extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @property
    def plain(self) -> dict[str, str]:
        """Role and text."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class AskedChat(Asked):
    """Body of ``/v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=_TOP_CHAT)

    def check(self) -> None:
        """Refuse what does not go together."""
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "top_logprobs: only with logprobs true.", param="top_logprobs")


def read(kind: type[Kind], body: bytes) -> Kind:
    """The request of a body. Raises `ApiError` for what is no JSON, unknown or not supported."""
    fields = {name: value for name, value in _object(body).items() if value is not None and name not in _NO_EFFECT}
    for name in [name for name in fields if name in _NEUTRAL]:
        if fields.pop(name) not in _NEUTRAL[name]:
            raise ApiError(400, f"{name}: not supported by this server.", param=name, code="unsupported_parameter")
    if unknown := [name for name in fields if name not in kind.model_fields]:
        hint = did_you_mean(unknown[0], list(kind.model_fields))
        raise ApiError(400, f"Unrecognized request argument: {unknown[0][:80]}. Try: {hint}", param=unknown[0][:80])
    try:
        found = kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}, given {first['input']!r}"[:300]
        raise ApiError(400, message, param=str(first["loc"][0]) if first["loc"] else None) from None
    found.check()
    return found


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_constant=_refused)
        if b"\\u" in body:
            json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is JSON, and no text
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is not JSON: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise ApiError(400, f"The body is a JSON {type(found).__name__}, not an object.")
    return found


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
