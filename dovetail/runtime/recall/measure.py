"""Recall, measured: whether a model finds a note thousands of tokens back in the cache that a policy leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require
from dovetail.runtime.load import Loaded
from dovetail.runtime.recall.prompts import DEPTHS, Prompt, prompts
from dovetail.runtime.recall.words import VALUE_WORDS, WORDS

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.decoding.cache import KVCache
    from dovetail.runtime.decoding.runner import Runner

QUESTIONS = ("inside", "after")
_CHUNK = 512  # tokens of a prompt in one pass


class Plan(Protocol):
    """What makes the cache of a prompt, and cuts it."""

    def prefilled(self, runner: Any, ids: Tensor) -> tuple[KVCache, Tensor]:
        """The cache of a prompt (tokens,), and hidden states (any, hidden) of which the last is its last token's."""
        ...


@dataclass(frozen=True, slots=True)
class AtDepth:
    """Prompts asked about a note at one depth, and those of them answered right, word for word."""

    depth: float
    asked: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.asked


@dataclass(frozen=True, slots=True)
class Recall:
    """What `recall` found.

    `tokens` is the length of a prompt, `question` where it stands, `cache_bytes` the most that a cache held when the
    answer began.
    """

    tokens: int
    question: str
    depths: tuple[AtDepth, ...]
    cache_bytes: int

    @property
    def asked(self) -> int:
        return sum(row.asked for row in self.depths)

    @property
    def share(self) -> float:
        """Answers that are right, word for word, of all; a guess is right one time in 260,000."""
        return sum(row.right for row in self.depths) / self.asked


def recall(
    loaded: Loaded,
    *,
    length: int = 4096,
    depths: Sequence[float] = DEPTHS,
    each: int = 8,
    count: int | None = None,
    question: str = "inside",
    plan: Plan | None = None,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Recall:
    """Ask a model for notes in long texts.

    Parameters
    ----------
    loaded : Loaded
        The model ``recall``, or one made from it: the words are its own.
    length, depths, each, count, seed
        Of the prompts, as `prompts.prompts` has them.
    question : {"inside", "after"}
        ``inside``: the prompt ends with the question, so a policy that watches the end of a prompt knows what is
        wanted. ``after``: the question comes when the cache of the text has been cut already, which is harder.
    plan : Plan or None
        Makes and cuts the cache; None keeps all of it.

    Raises
    ------
    DovetailError
        A model of another vocabulary, prompts beyond its context or out of range, an unknown `question`.
    """
    if question not in QUESTIONS:
        raise DovetailError(f"no question '{question}'", where="question", hint=did_you_mean(question, list(QUESTIONS)))
    _check(loaded, length)
    given = prompts(length, depths=depths, each=each, count=count, seed=seed)
    require("torch", "torch", to="run a model")
    from dovetail.runtime.decoding.runner import runner_of

    runner, right, most = runner_of(loaded), dict.fromkeys(depths, 0), 0
    for number, prompt in enumerate(given, 1):
        said, held = answered(runner, prompt, question, plan)
        right[prompt.depth] += said == prompt.answer
        most = max(most, held)
        if number % each == 0:
            report(f"depth {prompt.depth:.0%}: {right[prompt.depth]} of {each} right")
    return Recall(length, question, tuple(AtDepth(depth, each, right[depth]) for depth in depths), most)


def answered(runner: Runner, prompt: Prompt, question: str, plan: Plan | None) -> tuple[tuple[int, ...], int]:
    """The likeliest words after a prompt, as many as its answer has; bytes of the cache when they began."""
    import torch

    with torch.inference_mode():
        first = prompt.ids if question == "inside" else prompt.context
        ids = torch.tensor(first, device=runner.device)
        cache, states = _whole(runner, ids) if plan is None else plan.prefilled(runner, ids)
        if question == "after":
            states = _fed(runner, cache, prompt.question)
        held, said = cache.bytes, [_likeliest(runner, states)]
        while len(said) < len(prompt.answer):
            said.append(_likeliest(runner, _fed(runner, cache, said[-1:])))
    return tuple(said), held


def _whole(runner: Runner, ids: Tensor) -> tuple[KVCache, Tensor]:
    """All of a prompt, in passes of some tokens."""
    from dovetail.runtime.decoding.cache import KVCache

    cache = KVCache(len(runner.layers), 1, len(ids) + 1 + VALUE_WORDS, runner.device)
    for begin in range(0, len(ids), _CHUNK):
        states = _fed(runner, cache, ids[begin : begin + _CHUNK].tolist())
    return cache, states


def _fed(runner: Runner, cache: KVCache, ids: Sequence[int]) -> Tensor:
    """Hidden states (tokens, hidden) of more tokens of the text, which the cache then holds."""
    import torch

    states = runner.forward(torch.tensor([ids], device=runner.device), cache)[0]
    cache.keep([len(ids)])
    return states


def _likeliest(runner: Runner, states: Tensor) -> int:
    return int(runner.logits(states[-1:]).argmax())


def _check(loaded: Loaded, length: int) -> None:
    words = loaded.tokenizer.get_vocab() if loaded.tokenizer is not None else {}
    if {word: index for index, word in enumerate(WORDS)}.items() - words.items():
        why = "recall is measured in words that a model has to be trained on"
        hint = "the model 'recall', or a folder that was made from it"
        raise DovetailError("another vocabulary", where=str(loaded.folder), why=why, hint=hint)
    if length + VALUE_WORDS > loaded.max_context:
        why = f"the model's context is {loaded.max_context} tokens"
        hint = f"--length {loaded.max_context - VALUE_WORDS}"
        raise DovetailError(f"prompts of {length} tokens", where="recall", why=why, hint=hint)
