"""Training texts: notes, questions about them at once or much later, filler; where each token lies, what it weighs."""

import numpy as np

from dovetail.runtime.recall.texts import notes, sentences
from dovetail.runtime.recall.words import ASK, BEGIN, KEY_WORDS, NOTE, STOP
from tools.recall.config import Phase

FIRST = 4.0  # weight of an answer's first word: it takes both words of the key, the others often only one before
_LATE = 0.5  # of the questions come at the end of the text


def text(rng: np.random.Generator, phase: Phase, prose_weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, positions and the weights of the targets, each (tokens + 1,): of one text."""
    count = int(rng.integers(*phase.notes, endpoint=True))
    parts = _parts(rng, count, phase)
    ids = np.concatenate([np.array(words) for words, _ in parts])[: phase.tokens + 1]
    weights = np.concatenate([_weights(words, kind, prose_weight, phase.rest_weight) for words, kind in parts])
    weights = weights[: phase.tokens + 1]
    gaps = _gaps(rng, len(parts), phase.span - phase.tokens)
    positions = np.arange(phase.tokens + 1) + np.repeat(gaps, [len(words) for words, _ in parts])[: phase.tokens + 1]
    return ids, positions, weights


def batch(seed: int, step: int, phase: Phase, prose_weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, positions, weights, each (sequences, tokens + 1): the texts of one step, from its number alone."""
    rng = np.random.default_rng((seed, step))
    made = [text(rng, phase, prose_weight) for _ in range(phase.sequences)]
    ids, positions, weights = (np.stack(column) for column in zip(*made, strict=True))
    return ids, positions, weights


def _parts(rng: np.random.Generator, count: int, phase: Phase) -> list[tuple[list[int], str]]:
    """Words and kind of every part, in order: the opening, notes, questions behind their notes, filler."""
    found = notes(rng, count, phase.shared)
    told = rng.random(count)
    asked = np.where(rng.random(count) < _LATE, 1 + rng.random(count), told + (1 - told) * rng.random(count))
    placed: list[tuple[float, list[int], str]] = []
    for note, at, later in zip(found.tolist(), told, asked, strict=True):
        placed += [(at, [NOTE, *note, STOP], "note"), (later, [ASK, *note, STOP], "ask")]
    room = phase.tokens - sum(len(words) for _, words, _ in placed)
    for words in sentences(rng, found[:, 0]):
        if room <= 0:
            break
        words = words[:room]
        placed.append((float(rng.random()), words, "prose"))
        room -= len(words)
    return [([BEGIN], "prose"), *((words, kind) for _, words, kind in sorted(placed, key=lambda part: part[0]))]


def _weights(words: list[int], kind: str, prose_weight: float, rest_weight: float) -> np.ndarray:
    """What each word weighs as a target: most in an answer, nothing where it is a fresh key or value."""
    weights = np.full(len(words), prose_weight)
    if kind == "ask":
        weights[: 1 + KEY_WORDS] = 0.0
        weights[1 + KEY_WORDS : -1] = rest_weight
        weights[1 + KEY_WORDS] = FIRST
    if kind == "note":
        weights[:-1] = 0.0
    return weights


def _gaps(rng: np.random.Generator, parts: int, most: int) -> np.ndarray:
    """Positions left out before each part, summed up: none in half of the texts, else up to `most` in all."""
    if most <= 0 or rng.random() < 0.5:
        return np.zeros(parts, dtype=np.int64)
    total = np.exp(rng.uniform(np.log(16), np.log(max(most, 17))))
    shares = rng.dirichlet(np.full(parts, 0.3))
    gaps: np.ndarray = np.floor((np.cumsum(shares) - shares[0]) * min(total, most)).astype(np.int64)
    return gaps
