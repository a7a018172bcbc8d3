"""Prompts of an exact length, with the note that is asked for at a chosen depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.runtime.recall.texts import notes, sentences
from dovetail.runtime.recall.words import ASK, BEGIN, KEY_WORDS, NAMES, NOTE, STOP, WORDS

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SPACING = 64  # tokens of a text to one note
_NOTE = 7  # tokens of a note
_LEAST = 64
_HELD_OUT = 1  # begins every seed here; the seeds of training begin otherwise


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, a question about it, and the only right answer.

    Parameters
    ----------
    context, question, answer : tuple of int
        Ids: notes among filler; ``ask`` and a key; the value of the key's note.
    depth : float
        Where the note begins: 0 at the beginning of the context, 1 at its end.
    """

    context: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]
    depth: float

    @property
    def ids(self) -> tuple[int, ...]:
        return self.context + self.question

    @property
    def text(self) -> str:
        """The prompt in words, as the tokenizer takes it; the opening token, which it puts there itself, aside."""
        return " ".join(WORDS[word] for word in self.ids[1:])


def prompts(
    length: int, *, depths: Sequence[float] = DEPTHS, each: int = 8, count: int | None = None, seed: int = 0
) -> list[Prompt]:
    """Draw prompts: the same for the same arguments.

    Parameters
    ----------
    length : int
        Tokens of context and question together.
    depths : sequence of float
        Where the note that is asked for lies, from 0 to 1.
    each : int
        Prompts of each depth.
    count : int or None
        Notes of a context; one to 64 tokens by default. All but one are there to mislead: several share each word of
        its key.
    seed : int
        Others than those of training, whatever the seed.

    Raises
    ------
    DovetailError
        A length that does not hold the notes, a depth outside 0 to 1, no prompt.
    """
    count = max(2, length // SPACING) if count is None else count
    _check(length, depths, each, count)
    grid = [(depth, place, number) for place, depth in enumerate(depths) for number in range(each)]
    seeds = [(_HELD_OUT, seed, length, place, number) for _, place, number in grid]
    return [_prompt(np.random.default_rng(s), length, count, d) for s, (d, _, _) in zip(seeds, grid, strict=True)]


def _check(length: int, depths: Sequence[float], each: int, count: int) -> None:
    question = 1 + KEY_WORDS
    if count < 1 or length < max(_LEAST, 1 + count * _NOTE + question):
        hint = f"a length of at least {max(_LEAST, 1 + max(count, 1) * _NOTE + question)}, or fewer notes"
        raise DovetailError(f"{length} tokens for {count} notes of {_NOTE}", where="recall", hint=hint)
    if count > (most := len(NAMES) * 4):
        raise DovetailError(f"{count} notes, but keys for {most}", where="recall", hint=f"count={most}")
    if each < 1 or not depths or len(set(depths)) < len(depths) or not all(0 <= depth <= 1 for depth in depths):
        raise DovetailError(f"{each} prompts at depths {list(depths)}", where="recall", hint="8 at 0, 0.5 and 1")


def _prompt(rng: np.random.Generator, length: int, count: int, depth: float) -> Prompt:
    drawn = notes(rng, count)
    asked, others = drawn[0].tolist(), [[NOTE, *note, STOP] for note in drawn[1:].tolist()]
    room = length - 1 - (1 + KEY_WORDS) - count * _NOTE
    parts = others + _filler(rng, drawn[:, 0], room)
    parts = [parts[index] for index in rng.permutation(len(parts))]
    begins = np.cumsum([0, *map(len, parts)])
    place = int(np.abs(begins - depth * begins[-1]).argmin())
    context = (BEGIN, *chain(*parts[:place], [NOTE, *asked, STOP], *parts[place:]))
    return Prompt(context, (ASK, *asked[:KEY_WORDS]), tuple(asked[KEY_WORDS:]), depth)


def _filler(rng: np.random.Generator, names: np.ndarray, room: int) -> list[list[int]]:
    """Sentences of `room` tokens in all."""
    found: list[list[int]] = []
    for words in sentences(rng, names):
        if room <= 0:
            break
        found.append([*words[: room - 1], STOP] if len(words) > room else words)
        room -= len(found[-1])
    return found
