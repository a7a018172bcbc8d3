"""Notes and filler, drawn: what a text of recall is made of, in training and in measurement alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from dovetail.runtime.recall.words import KEY_WORDS, NAMES, PROSE, STOP, VALUE_WORDS, WORDS

_SUCCESSORS, _CHAIN = 6, 7  # words that may follow a word of prose; seed of the chain, which all texts share
_SENTENCE = (5, 14)  # words
_PHRASES, _PHRASE = 6, 5  # phrases that come back in a text, their words
_QUOTES, _MENTIONS = 0.3, 0.15  # sentences with a phrase; with one word of a key, which asks nothing and tells nothing
_SHARED = 4  # notes whose keys share a word, about


def notes(rng: np.random.Generator, count: int, shared: float = _SHARED) -> np.ndarray:
    """Draw notes: ids (count, 5), two of a key and three of a value.

    Keys are distinct, and about `shared` of them have the same first word, and as many the same second: one word of a
    key never tells the note. No two names that make a key stand side by side anywhere else in the notes.
    """
    few = max(round(count / shared), int(np.ceil(np.sqrt(count))))
    if few > len(NAMES):
        raise ValueError(f"{count} notes of keys that {shared} share, of {len(NAMES)} names")
    names = rng.permutation(np.array(NAMES))
    first, second = names[:few], rng.permutation(np.array(NAMES))[:few]
    chosen = rng.permutation(few * few)[:count]
    drawn = np.column_stack((first[chosen // few], second[chosen % few], np.zeros((count, VALUE_WORDS), int)))
    keys, left = _pairs(drawn[:, :KEY_WORDS]), np.arange(count)
    while len(left):
        drawn[left, KEY_WORDS:] = rng.integers(NAMES.start, NAMES.stop, (len(left), VALUE_WORDS))
        left = left[np.isin(_pairs(drawn[left][:, 1:]), keys).any(axis=1)]
    return drawn


def _pairs(words: np.ndarray) -> np.ndarray:
    """Neighbours (count, words - 1) as one number each."""
    found: np.ndarray = words[:, :-1] * len(WORDS) + words[:, 1:]
    return found


def sentences(rng: np.random.Generator, names: np.ndarray) -> Iterator[list[int]]:
    """Sentences of filler without end: a Markov chain, with phrases that come back and words of `names` among it."""
    following, word = _chain(), int(rng.integers(len(PROSE)))
    phrases = rng.integers(PROSE.start, PROSE.stop, (_PHRASES, _PHRASE)).tolist()
    known = [int(name) for name in names]
    while True:
        draws = rng.random((64, 4)).tolist()
        lengths = rng.integers(*_SENTENCE, endpoint=True, size=64).tolist()
        steps = rng.integers(0, following.shape[1], (64, _SENTENCE[1]))
        for length, (quotes, mentions, which, where), step in zip(lengths, draws, steps.tolist(), strict=True):
            made = []
            for at in step[:length]:
                word = int(following[word, at])
                made.append(word + PROSE.start)
            place = int(where * length)
            if quotes < _QUOTES:
                made[place : place + _PHRASE] = phrases[int(which * _PHRASES)]
            elif mentions < _MENTIONS and known:
                made[place] = known[int(which * len(known))]
            yield [*made, STOP]


@cache
def _chain() -> np.ndarray:
    """What follows each word of prose: (words, 32) of indices, a likely successor in many columns."""
    rng = np.random.default_rng(_CHAIN)
    shares = np.array([13, 8, 5, 3, 2, 1])  # of 32: a heavy head and a tail, as words of a language have
    following = np.stack([rng.permutation(len(PROSE))[:_SUCCESSORS] for _ in PROSE])
    return np.repeat(following, shares, axis=1)
