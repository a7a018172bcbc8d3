"""Where the texts of a training begin: documents to learn from, and others that nothing is learned from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.core.errors import DovetailError

HELD_OUT = 0.05  # of documents, tokens and texts: accuracies are measured on them
_MANY = 40  # documents of which whole ones are kept apart

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Tokens of documents, in two parts that share no window of a text.

    Parameters
    ----------
    learned, checked : sequence of sequence of int
        To learn from, and to count with how often guesses are right.
    apart : str
        What the second part is, in words.
    """

    learned: Sequence[Tokens]
    checked: Sequence[Tokens]
    apart: str

    @classmethod
    def of(cls, tokenizer: Any, documents: Sequence[str], prompt: int) -> Beginnings:
        """Of documents with at least `prompt` tokens: whole ones kept apart, or the ends of few.

        Raises
        ------
        DovetailError
            No document is long enough for that.
        """
        ids = (tuple(tokenizer(text, add_special_tokens=False, verbose=False).input_ids) for text in documents)
        found = [tokens for tokens in dict.fromkeys(ids) if len(tokens) >= prompt]
        parts = _whole(found) if len(found) >= _MANY else _ends(found, prompt)
        if not parts.checked:
            longest = max((len(tokens) for tokens in found), default=0)
            why = f"its longest document has {longest or f'fewer than {prompt}'} tokens; {3 * prompt} are needed"
            hint = "more text, or fewer --prompt-tokens"
            raise DovetailError("is too short", where="the training text", why=why, hint=hint)
        return parts


def _whole(documents: Sequence[Tokens]) -> Beginnings:
    count = round(HELD_OUT * len(documents))
    kept = set(random.Random("held out").sample(range(len(documents)), count))
    learned = [tokens for place, tokens in enumerate(documents) if place not in kept]
    apart = f"{count:,} whole documents of {len(documents):,}"
    return Beginnings(learned, [documents[place] for place in sorted(kept)], apart)


def _ends(documents: Sequence[Tokens], prompt: int) -> Beginnings:
    """The last twentieth of each, or twice a prompt where that is more; documents shorter than three are learned."""
    learned, checked = [], []
    for tokens in documents:
        size = max(2 * prompt, round(HELD_OUT * len(tokens)))
        if len(tokens) < size + prompt:
            learned.append(tokens)
            continue
        learned.append(tokens[:-size])
        checked.append(tokens[-size:])
    whose = "the document" if len(documents) == 1 else f"each of {len(documents)} documents"
    return Beginnings(learned, checked, f"the end of {whose}")
