"""A smaller model guesses for a larger one (arXiv 2211.17192); so do the first layers of a model for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.drafting import DraftedPass, Drafter, DraftSizing, Rows, unknown
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.modules import ModuleRunner
from dovetail.runtime.decoding.padded import PaddedRunner
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import Runner, runner_of
from dovetail.runtime.decoding.sizing import PassTime
from dovetail.runtime.load import Loaded

_CHUNK = 512  # tokens of a text in one pass


@dataclass(slots=True, kw_only=True)
class DraftModel(Drafter):
    """Guesses what a model of the same vocabulary says is likeliest.

    Its cache holds the texts, and the guesses that it went on from in the last step; what the texts did not become is
    forgotten before the next guesses.

    Parameters
    ----------
    runner : Runner
        Of the draft.
    context : int
        Longest text that the draft can read; longer ones go on without guesses.
    """

    runner: Runner
    context: int
    _rows: Rows = field(init=False)
    _held: list[list[int]] = field(default_factory=list)  # texts that rows of the cache were given
    _asked: list[Tensor] = field(default_factory=list)  # and the guesses (B,) after them

    def __post_init__(self) -> None:
        self._rows = Rows(len(self.runner.layers), self.runner.device)

    @classmethod
    def of(
        cls, base: Loaded, draft: Loaded, *, deepest: int = 8, ranks: int = 1, always: int = 0
    ) -> DraftModel:  # fmt: skip
        """A draft for a model.

        Parameters
        ----------
        base, draft : Loaded
            The model, and the smaller one.
        deepest : int
            Guesses after one another at most.
        ranks : int
            Guesses of each place at most: 1 gives chains.
        always : int
            So many guesses in every step; 0: as many as pay.

        Raises
        ------
        DovetailError
            A draft of another vocabulary; a model that cannot be decoded here.
        """
        _check_vocabulary(base, draft)
        runner = runner_of(draft)
        if draft.vocabulary != base.vocabulary:
            runner = PaddedRunner(runner, draft.vocabulary, base.vocabulary)
        return cls._sized(base, runner, draft.max_context, max(deepest, always), ranks, always)

    @classmethod
    def _sized(
        cls, base: Loaded, runner: Runner, context: int, deepest: int, ranks: int, always: int
    ) -> DraftModel:  # fmt: skip
        rates = unknown(deepest, ranks)
        seconds = DraftedPass.by(PassTime.of(runner_of(base)), PassTime.of(runner), deepest)
        return cls(sizing=DraftSizing(seconds, always=always), rates=rates, runner=runner, context=context)

    def able(self, text: Text) -> int:
        """Up to the end of the draft's context."""
        return self.context - len(text.tokens)

    def start(self, texts: Sequence[Text]) -> Tensor:
        """What the draft says after each text, once it has read all of it."""
        held = self._given()
        cache = self._rows.follow(texts)
        cache.shorten([_alike(held.get(id(text), []), text.tokens[:-1]) for text in texts])
        self._read(texts, cache)
        self._held, self._asked = [list(text.tokens) for text in texts], []
        pieces = [text.tokens[length:] for text, length in zip(texts, cache.lengths, strict=True)]
        states = self._pass(pieces, cache)
        newest = torch.tensor([len(piece) - 1 for piece in pieces], device=self.runner.device)
        return self.runner.logits(states[torch.arange(len(pieces), device=self.runner.device), newest])

    def _given(self) -> dict[int, list[int]]:
        """What the cache holds for each text: guesses that it was asked to go on from among it."""
        guesses = torch.stack(self._asked, 1).tolist() if self._asked else [[]] * len(self._held)
        rows = zip(self._rows.texts, self._held, guesses, strict=False)  # a run that was stopped leaves some undone
        return {id(text): tokens + more for text, tokens, more in rows}

    def _read(self, texts: Sequence[Text], cache: KVCache) -> None:
        """Texts but for their last tokens; its time is none that every step takes."""
        clock = clock_of(self.runner.device)
        began = clock()
        while max(behind := [len(t.tokens) - n for t, n in zip(texts, cache.lengths, strict=True)]) > self._usual:
            ends = [n + min(_CHUNK, late - 1) for n, late in zip(cache.lengths, behind, strict=True)]
            pieces = [t.tokens[n:end] for t, n, end in zip(texts, cache.lengths, ends, strict=True)]
            float(self._pass(pieces, cache)[0, 0, 0])  # waits until it is done
            self.sizing.aside_s = clock() - began

    @property
    def _usual(self) -> int:
        """Tokens that a step may add."""
        return len(self.rates) + 1

    def _pass(self, pieces: list[list[int]], cache: KVCache) -> Tensor:
        """States (B, T, hidden) of the next tokens of texts: the shorter ones are followed by nothing of meaning."""
        width = max(map(len, pieces))
        ids = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=self.runner.device)
        positions = cache.following(width).clamp_max(self.context - 1)  # of meaning none lies beyond
        states = self.runner.forward(ids, cache, positions)
        cache.keep([len(piece) for piece in pieces])
        return states

    def go_on(self, tokens: Tensor) -> Tensor:
        """What the draft says after its own guess."""
        cache = self._rows.cache
        states = self.runner.forward(tokens.unsqueeze(1), cache)
        cache.keep([1] * len(tokens))
        self._asked.append(tokens)
        return self.runner.logits(states[:, 0])


def early_exit(
    loaded: Loaded, layers: int, *, deepest: int = 8, ranks: int = 1, always: int = 0
) -> DraftModel:  # fmt: skip
    """The first layers of a model, its last norm and its head, as a draft for it: no weight is held twice.

    Parameters
    ----------
    layers : int
        From 1 to all of them.
    deepest, ranks, always : int
        As of `DraftModel.of`.
    """
    runner = runner_of(loaded)
    every = len(runner.layers)
    if not 1 <= layers <= every:
        what = f"an exit after {layers} of {every} layers"
        raise DovetailError(what, where=str(loaded.folder), hint=f"1 to {every} layers; a quarter is common")
    if not isinstance(runner, LlamaRunner | ModuleRunner):
        why = f"{type(runner).__name__} has no part of its layers"
        raise DovetailError("no early exit", where=str(loaded.folder), why=why, exit_code=INFEASIBLE)
    first = runner.shallow(layers)
    return DraftModel._sized(loaded, first, loaded.max_context, max(deepest, always), ranks, always)


def _check_vocabulary(base: Loaded, draft: Loaded) -> None:
    """Raise `DovetailError` for other tokens; of the same ones, models may have other numbers of rows."""
    where, hint = str(draft.folder), "a draft of the same family, with the same tokenizer"
    if base.tokenizer is not None and draft.tokenizer is not None:
        mine, other = base.tokenizer.get_vocab(), draft.tokenizer.get_vocab()
        if mine != other:
            token = min(mine.items() ^ other.items(), key=lambda item: (item[1], item[0]))
            why = f"token {token[1]} is not the same in both"
            raise DovetailError("a draft with another tokenizer", where=where, why=why, hint=hint)
        if max(mine.values(), default=0) < min(base.vocabulary, draft.vocabulary):
            return
    if base.vocabulary != draft.vocabulary:
        why = f"{draft.vocabulary} tokens, those of {base.folder} are {base.vocabulary}"
        raise DovetailError("a draft with another vocabulary", where=where, why=why, hint=hint)


def _alike(held: Sequence[int], tokens: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    pairs = enumerate(zip(held, tokens, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(held), len(tokens)))
