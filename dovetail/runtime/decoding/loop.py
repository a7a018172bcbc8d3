"""The decode loop: a prefill of all prompts, then steps over those that are not done, of one token or of a tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text, agreed, side_by_side
from dovetail.runtime.decoding.runner import Runner
from dovetail.runtime.decoding.sampling import Chooser, Sampling

OnToken = Callable[[int, int], None]  # sequence, token
_CHUNK = 512  # tokens of a prompt in one pass: bounds the memory of masks and scores


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


@dataclass(slots=True)
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
    _texts: list[Text] = field(default_factory=list)

    def run(self, prompts: Sequence[Sequence[int]]) -> Decoded:
        """Decode all prompts.

        Raises
        ------
        DovetailError
            No prompt, one without a token, or no token to make; relaxed acceptance where the likeliest token is taken.
        """
        if not prompts or not all(prompts) or self.max_new < 1:
            what = f"{len(prompts)} prompts, the shortest of {min(map(len, prompts), default=0)} tokens"
            hint = "at least one prompt of at least one token, and one token to make"
            raise DovetailError(f"{what}, {self.max_new} tokens to make", where="decoding", hint=hint)
        began = time.perf_counter()
        if self.proposer:
            if self.proposer.relaxed is not None:
                self.proposer.relaxed.check(self.sampling)
            self.proposer.begin()
        with torch.inference_mode():
            cache = self._begun(prompts)
            every, filled, passes = list(self._texts), time.perf_counter(), 0
            self._drop_done(cache)
            while self._texts:
                self._step(cache)
                passes += 1
                last = cache.bytes
                self._drop_done(cache)
            ended = time.perf_counter()
        made = tuple(tuple(text.made) for text in every)
        steps = tuple(text.steps for text in every)
        return Decoded(made, steps, filled - began, ended - filled, last if passes else cache.bytes, passes)

    def _begun(self, prompts: Sequence[Sequence[int]]) -> KVCache:
        """The cache of all prompts; texts have their first token."""
        nothing = torch.empty(0, device=self.runner.device)
        self._texts = [Text(i, list(p), len(p), Chooser(self.sampling, i), nothing) for i, p in enumerate(prompts)]
        layers = len(self.runner.layers)
        if self.plan is not None:
            cache: KVCache = self._one_by_one(prompts, self.plan)
        else:
            cache = KVCache(layers, len(prompts), max(map(len, prompts)) + self.max_new, self.runner.device)
            self._side_by_side(prompts, cache)
        logits = self.runner.logits(torch.stack([text.hidden for text in self._texts]))
        for text in self._texts:
            self._add(text, [text.choose(logits[text.index])])
        return cache

    def _one_by_one(self, prompts: Sequence[Sequence[int]], plan: CachePlan) -> KVCache:
        """One prompt after the other: no more than one layer of one of them is ever held whole."""
        cache = plan.cache(self.runner)
        for text, prompt in zip(self._texts, prompts, strict=True):
            one, states = plan.prefilled(self.runner, torch.tensor(prompt, device=self.runner.device))
            cache.join(one)
            text.hidden = states[-1].clone()
            if self.proposer and self.proposer.observes:
                self.proposer.observe(text, states)
        return cache

    def _side_by_side(self, prompts: Sequence[Sequence[int]], cache: KVCache) -> None:
        """Prompts side by side, padded behind: what a shorter one leaves in the cache is overwritten, never seen."""
        observes = self.proposer is not None and self.proposer.observes
        longest = max(map(len, prompts))
        for begin in range(0, longest, _CHUNK):
            pieces = [list(prompt[begin : begin + _CHUNK]) for prompt in prompts]
            width = max(map(len, pieces))
            states = self.runner.forward(self._ids([p + [0] * (width - len(p)) for p in pieces]), cache)
            cache.keep([len(piece) for piece in pieces])
            for text, piece in zip(self._texts, pieces, strict=True):
                if piece:
                    text.hidden = states[text.index, len(piece) - 1]
                    if observes and self.proposer:
                        self.proposer.observe(text, states[text.index, : len(piece)])

    def _step(self, cache: KVCache) -> None:
        clock = clock_of(self.runner.device)
        began = clock()
        proposals, observes = self._proposed(), self.proposer is not None and self.proposer.observes
        nodes, depths, visible = side_by_side(proposals, [text.tokens[-1] for text in self._texts], self.runner.device)
        positions = None if depths is None else cache.positions(depths)
        states = self.runner.forward(nodes, cache, positions, visible)
        logits, kept = self.runner.logits(states), []
        likeliest = logits.argmax(-1).tolist() if self.sampling.greedy else None
        relaxed = self.proposer.relaxed if self.proposer else None
        for row, (text, proposal) in enumerate(zip(self._texts, proposals, strict=True)):
            if likeliest is not None:
                path, made = agreed(proposal, likeliest[row].__getitem__)
            elif relaxed is not None:
                path, made = relaxed.accepted(proposal, logits[row], text.choose)
            else:
                path, made = agreed(proposal, lambda node, row=row, text=text: text.choose(logits[row, node]))  # type: ignore[misc]
            cache.keep_path(row, path)
            text.hidden = states[row, path[-1]]
            text.steps += 1
            if observes and self.proposer:
                straight = path[-1] == len(path) - 1
                self.proposer.observe(text, states[row, : len(path)] if straight else states[row, path])
            self._add(text, made)
            kept.append(len(made))
        cache.settle()
        if self.proposer:
            self.proposer.learn(self._texts, kept, clock() - began)

    def _proposed(self) -> list[Proposal]:
        """Guesses for each sequence, none beyond what is still wanted of it: that may be the end of the context."""
        if self.proposer is None:
            return [Proposal()] * len(self._texts)
        found = self.proposer.propose(self._texts)
        wanted = (self.max_new - len(text.tokens) + text.prompt for text in self._texts)
        return [one.within(most - 1) for one, most in zip(found, wanted, strict=True)]

    def _ids(self, tokens: list[list[int]]) -> Tensor:
        return torch.tensor(tokens, device=self.runner.device)

    def _add(self, text: Text, tokens: Sequence[int]) -> None:
        for token in tokens:
            text.tokens.append(token)
            if self.on_token:
                self.on_token(text.index, token)
            over = self.ended is not None and self.ended(text.made)
            if token in self.ends or len(text.tokens) - text.prompt == self.max_new or over:
                text.done = True
                return

    def _drop_done(self, cache: KVCache) -> None:
        kept = [row for row, text in enumerate(self._texts) if not text.done]
        if kept and len(kept) < len(self._texts):
            cache.drop(kept)
        self._texts = [self._texts[row] for row in kept]
