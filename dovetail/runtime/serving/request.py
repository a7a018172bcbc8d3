"""What an engine is asked, and what it answers: plain data, which crosses between processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

STOP, LENGTH, CANCELLED, FAILED = "stop", "length", "cancelled", "failed"  # why a request is over


@dataclass(frozen=True, slots=True)
class Request:
    """A text to continue.

    Parameters
    ----------
    id : int
        Chosen by who asks; no other request in flight has it.
    prompt : tuple of int
        At least one token.
    most : int
        Tokens to make at most, at least one.
    temperature, top_k, top_p, seed
        As `Sampling` has them.
    sequence : int
        Which of several texts of one seed: each has noise of its own (`Chooser`).
    logprobs : int or None
        Likeliest tokens to name at each place, beside the one that was chosen; None for no chances at all.
    """

    id: int
    prompt: tuple[int, ...]
    most: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    sequence: int = 0
    logprobs: int | None = None


class Scored(NamedTuple):
    """The natural logarithm of a token's chance under the model, and the likeliest tokens with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


class Made(NamedTuple):
    """What one step made of one request.

    Parameters
    ----------
    reason : str or None
        Why the request is over: ``stop`` (the model ended it), ``length``, ``cancelled``, ``failed``; None: it goes on.
    scored : tuple of Scored
        For each token, where that was asked.
    """

    id: int
    tokens: tuple[int, ...]
    reason: str | None
    scored: tuple[Scored, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine can do: its front refuses by this what the engine could not take.

    Parameters
    ----------
    context : int
        Longest text in tokens, prompt and output together.
    vocabulary : int
    longest : int
        Tokens of the longest text that there is memory for, within the context.
    cache_bytes : int
        What keys and values of all texts may take.
    places : int
        Texts that are decoded together at most.
    """

    context: int
    vocabulary: int
    longest: int
    cache_bytes: int
    places: int


class State(NamedTuple):
    """How busy an engine is: told with what its steps made.

    Parameters
    ----------
    running, waiting : int
        Requests that are decoded, and those that are not yet (a prompt that is being read among them).
    cache_bytes : int
        Keys and values of those that are decoded.
    steps, tokens : int
        Made so far.
    prefix_bytes, reused : int
        Keys and values of what prompts begin with alike, and tokens of prompts that were so not read again.
    """

    running: int
    waiting: int
    cache_bytes: int
    steps: int
    tokens: int
    prefix_bytes: int = 0
    reused: int = 0
