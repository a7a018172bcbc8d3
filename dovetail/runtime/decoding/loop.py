"""The decode loop for prompts that are all there: a prefill, then steps over the texts that are not done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache import forecast
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.batch import CHUNK, Batch
from dovetail.runtime.decoding.proposal import Proposer, Text
from dovetail.runtime.decoding.runner import Runner
from dovetail.runtime.decoding.sampling import Chooser, Sampling

OnToken = Callable[[int, int], None]  # sequence, token


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `Loop.run` made.

    Parameters
    ----------
    tokens : tuple of tuple of int
        For each prompt.
    steps : tuple of int
        Forward passes after the prefill that each sequence took part in.
    prefill_s, decode_s : float
        Wall time.
    cache_bytes : int
        Keys and values held at the end by the sequences decoded last.
    passes : int
        Forward passes after the prefill.
    """

    tokens: tuple[tuple[int, ...], ...]
    steps: tuple[int, ...]
    prefill_s: float
    decode_s: float
    cache_bytes: int
    passes: int

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that a sequence gets from a step; 1 without speculation."""
        made, steps = sum(len(t) - 1 for t in self.tokens), sum(self.steps)
        return made / steps if steps else 1.0


@dataclass(frozen=True, slots=True)
class Loop:
    """Decoding of a batch; `run` does it.

    Parameters
    ----------
    ends : frozenset of int
        Tokens that end a text, and belong to it.
    ended : callable or None
        From the tokens made, whether a text is over for another reason (a stop string).
    plan : CachePlan or None
        What the cache keeps; None: everything.
    """

    runner: Runner
    max_new: int
    sampling: Sampling
    ends: frozenset[int] = frozenset()
    ended: Callable[[list[int]], bool] | None = None
    proposer: Proposer | None = None
    on_token: OnToken | None = None
    plan: CachePlan | None = None

    def run(self, prompts: Sequence[Sequence[int]]) -> Decoded:
        """Decode all prompts.

        Raises
        ------
        DovetailError
            No prompt, one without a token, or no token to make; relaxed acceptance where the likeliest token is taken;
            more keys and values than there is memory free for.
        """
        if not prompts or not all(prompts) or self.max_new < 1:
            what = f"{len(prompts)} prompts, the shortest of {min(map(len, prompts), default=0)} tokens"
            hint = "at least one prompt of at least one token, and one token to make"
            raise DovetailError(f"{what}, {self.max_new} tokens to make", where="decoding", hint=hint)
        lengths = [len(prompt) + self.max_new for prompt in prompts]
        forecast.check_texts(self.runner, self.plan, lengths, forecast.free_on(self.runner.device))
        began = time.perf_counter()
        if self.proposer:
            if self.proposer.relaxed is not None:
                self.proposer.relaxed.check(self.sampling)
            self.proposer.begin()
        every, passes = [self._text(index, prompt) for index, prompt in enumerate(prompts)], 0
        with torch.inference_mode():
            batch = Batch(self.runner, every, max(map(len, prompts)) + self.max_new, self.proposer, self.plan)
            while batch.unread:
                batch.read(CHUNK)
            filled, held = time.perf_counter(), batch.cache.bytes
            batch.leave()
            while batch.texts:
                batch.step()
                passes, held = passes + 1, batch.cache.bytes
                batch.leave()
            ended = time.perf_counter()
        made, steps = tuple(tuple(text.made) for text in every), tuple(text.steps for text in every)
        return Decoded(made, steps, filled - began, ended - filled, held, passes)

    def _text(self, index: int, prompt: Sequence[int]) -> Text:
        nothing = torch.empty(0, device=self.runner.device)
        return Text(
            index, list(prompt), len(prompt), Chooser(self.sampling, index), nothing, most=self.max_new, ends=self.ends,
            ended=self.ended, told=self.on_token,
        )  # fmt: skip
