"""Texts decoded side by side: prompts are read in pieces, then steps make one token of each, or a path of guesses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text, agreed, side_by_side
from dovetail.runtime.decoding.runner import Runner

CHUNK = 512  # tokens of a prompt in one pass: bounds the memory of masks and scores


class Batch:
    """The texts of one cache, a row each.

    `read` until there is nothing left to read, then `step` while there are texts; those that are done leave by
    `leave`. Another batch whose prompts are read may `join`: what a text becomes does not depend on its neighbours, but
    for the order of floating-point sums.

    Parameters
    ----------
    texts : sequence of Text
        With a prompt and nothing made. `Text.hidden` need not be known.
    capacity : int
        Tokens of the longest text to make room for.
    proposer : Proposer or None
        Guesses the tokens to come. Batches that join have the same one.
    plan : CachePlan or None
        What the cache keeps, the same in batches that join; None: everything. With one, prompts are read one after the
        other and each in one piece: no more than one layer of one of them is ever held whole.
    """

    def __init__(
        self, runner: Runner, texts: Sequence[Text], capacity: int, proposer: Proposer | None = None,
        plan: CachePlan | None = None,
    ) -> None:  # fmt: skip
        self.runner, self.proposer, self.plan, self.texts = runner, proposer, plan, list(texts)
        self.cache = self._empty(0 if plan else len(texts), capacity)

    @property
    def unread(self) -> int:
        """Tokens of the longest prompt that are not in the cache; 0 as well where all texts are gone."""
        rows = zip_longest(self.texts, self.cache.lengths, fillvalue=0)  # with a plan, sequences come as they are read
        return max((text.prompt - length for text, length in rows), default=0)  # type: ignore[union-attr]

    def begin(self, known: KVCache) -> None:
        """Before anything is read, without a plan: keys and values of what the only text begins with."""
        capacity = self.cache.capacity
        self.cache = self._empty(0, capacity)
        self.cache.join(known)

    def read(self, most: int) -> None:
        """One pass over up to `most` further tokens of each prompt; the last one makes the first token of each text.

        Prompts lie side by side, padded behind: what a shorter one leaves in the cache is overwritten, never seen.
        """
        if self.plan is not None:
            self._read_one(self.texts[len(self.cache.lengths)], self.plan)
        else:
            self._read_all(most)
        if not self.unread:
            logits = self.runner.logits(torch.stack([text.hidden for text in self.texts]))
            for row, text in enumerate(self.texts):
                text.grow([text.choose(logits[row])], logits[row : row + 1])

    def _read_one(self, text: Text, plan: CachePlan) -> None:
        one, states = plan.prefilled(self.runner, torch.tensor(text.tokens, device=self.runner.device))
        self.cache.join(one)
        text.hidden = states[-1].clone()
        self._observe(text, states)

    def _read_all(self, most: int) -> None:
        lengths = self.cache.lengths
        pieces = [t.tokens[n : min(n + most, t.prompt)] for t, n in zip(self.texts, lengths, strict=True)]
        width = max(map(len, pieces))
        states = self.runner.forward(self._ids([p + [0] * (width - len(p)) for p in pieces]), self.cache)
        self.cache.keep([len(piece) for piece in pieces])
        for row, (text, piece) in enumerate(zip(self.texts, pieces, strict=True)):
            if piece:
                text.hidden = states[row, len(piece) - 1]
                self._observe(text, states[row, : len(piece)])

    def step(self) -> None:
        """One pass: the next token of each text, and those after it that were guessed."""
        clock = clock_of(self.runner.device)
        began = clock()
        proposals = self._proposed()
        kept = self._verified(proposals) if any(one.tokens for one in proposals) else self._plain()
        self.cache.settle()
        if self.proposer:
            self.proposer.learn(self.texts, kept, clock() - began)

    def _plain(self) -> list[int]:
        """A token of each text where nothing is guessed: without trees, and without states that nobody looks at."""
        newest = torch.tensor([text.tokens[-1] for text in self.texts], device=self.runner.device).unsqueeze(1)
        states = self.runner.forward(newest, self.cache)
        logits, kept = self.runner.logits(states), [1] * len(self.texts)
        likeliest = self._likeliest(logits)
        self.cache.keep(kept)
        for row, text in enumerate(self.texts):
            if self.proposer:
                text.hidden = states[row, 0]
                self._observe(text, states[row])
            text.steps += 1
            token = likeliest[row][0] if text.choose.sampling.greedy else text.choose(logits[row, 0])
            text.grow((token,), None if text.scored is None else logits[row])
        return kept

    def _verified(self, proposals: Sequence[Proposal]) -> list[int]:
        """The tokens that a path of guesses and the model agree on; how many of each text."""
        nodes, depths, visible = side_by_side(proposals, [text.tokens[-1] for text in self.texts], self.runner.device)
        positions = None if depths is None else self.cache.positions(depths)
        states = self.runner.forward(nodes, self.cache, positions, visible)
        logits, kept = self.runner.logits(states), []
        relaxed = self.proposer.relaxed if self.proposer else None
        likeliest = self._likeliest(logits)
        for row, (text, proposal) in enumerate(zip(self.texts, proposals, strict=True)):
            if text.choose.sampling.greedy:
                path, made = agreed(proposal, likeliest[row].__getitem__)
            elif relaxed is not None:
                path, made = relaxed.accepted(proposal, logits[row], text.choose)
            else:
                path, made = agreed(proposal, lambda node, row=row, text=text: text.choose(logits[row, node]))  # type: ignore[misc]
            self.cache.keep_path(row, path)
            straight = path[-1] == len(path) - 1
            text.hidden = states[row, path[-1]]
            text.steps += 1
            self._observe(text, states[row, : len(path)] if straight else states[row, path])
            text.grow(made, logits[row, : len(path)] if straight or text.scored is None else logits[row, path])
            kept.append(len(made))
        return kept

    def _likeliest(self, logits: Tensor) -> list[list[int]]:
        """The token of the largest of the logits (B, T, vocabulary), of several the first; none where all are drawn."""
        if not any(text.choose.sampling.greedy for text in self.texts):
            return []
        plain = logits.device.type == "cpu" and logits.dtype is torch.float32
        found = logits.numpy().argmax(-1) if plain else logits.argmax(-1)  # torch has no vectors for it
        made: list[list[int]] = found.tolist()
        return made

    def join(self, other: Batch) -> None:
        """Go on with the texts of another batch as well, whose prompts are read."""
        if not self.texts:
            self.cache = other.cache
        elif other.texts:
            self.cache.join(other.cache)
        self.texts += other.texts

    def leave(self) -> list[Text]:
        """Let go of the texts that are done, and say which; the last ones take their places."""
        done = [text for text in self.texts if text.done]
        if not done:
            return []
        kept = _moved([not text.done for text in self.texts])
        if kept:
            self.cache.drop(kept)
        else:
            self.cache = self._empty(0)
        self.texts = [self.texts[row] for row in kept]
        if self.proposer:
            self.proposer.leave(done)
        return done

    def _proposed(self) -> list[Proposal]:
        """Guesses for each text, none beyond what is still wanted of it: that may be the end of the context."""
        if self.proposer is None:
            return [Proposal()] * len(self.texts)
        found = self.proposer.propose(self.texts)
        return [one.within(text.left - 1) for one, text in zip(found, self.texts, strict=True)]

    def _observe(self, text: Text, states: Tensor) -> None:
        if self.proposer and self.proposer.observes:
            self.proposer.observe(text, states)

    def _empty(self, batch: int, capacity: int = 1) -> KVCache:
        if self.plan is not None:
            return self.plan.cache(self.runner)
        return KVCache(len(self.runner.layers), batch, capacity, self.runner.device)

    def _ids(self, tokens: list[list[int]]) -> Tensor:
        return torch.tensor(tokens, device=self.runner.device)


def _moved(staying: Sequence[bool]) -> list[int]:
    """Rows that stay, as few as can be in another place: the last ones fill the holes of the others."""
    count = sum(staying)
    late = [row for row in range(count, len(staying)) if staying[row]]
    return [row if staying[row] else late.pop() for row in range(count)]
