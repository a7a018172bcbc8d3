"""How near a model stays to the one it was made from: both read the same windows of a text, one pass over it.

Over the next-token distributions p of the original and q of the changed model:

- ``KL(p || q)``, the mean over tokens of ``sum p log(p / q)`` in nats: what is lost by reading q where p was meant. It
  is the one that papers call "KL to the original".
- ``KL(q || p)``: large where the changed model believes in tokens that the original excludes.
- top-1 agreement: the share of tokens whose likeliest successor is the same.

All are smooth in what changed where perplexity is not: a change that happens to favour the text lowers perplexity, and
never KL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.bootstrap import interval, resampled
from dovetail.runtime.load import Loaded
from dovetail.runtime.perplexity import Quality, encoded, logits_of, window_of, windows

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 1 << 22  # logits whose logarithms are taken together: 16 MB for each of a few temporaries

Interval = tuple[float, float, float]
"""A value and the ends of its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on one text.

    Parameters
    ----------
    before, after : Quality
        Of the original and of the changed model.
    sums : tuple of (kl, kl_back, same)
        Of each document (each window where the text was one document), over its tokens: nats of ``KL(p || q)`` and of
        ``KL(q || p)``, and how many likeliest tokens are the same.
    """

    before: Quality
    after: Quality
    sums: tuple[tuple[float, float, float], ...]

    @property
    def kl(self) -> Interval:
        """``KL(original || changed)`` in nats a token."""
        return self._mean(0)

    @property
    def kl_back(self) -> Interval:
        """``KL(changed || original)`` in nats a token."""
        return self._mean(1)

    @property
    def top1(self) -> Interval:
        """Share of tokens after which both models find the same token likeliest."""
        return self._mean(2)

    @property
    def ratio(self) -> Interval:
        """Perplexity after over before; the interval draws the same documents for both."""
        value = math.exp(self.after.nats_per_token - self.before.nats_per_token)
        sums = np.array([[n for n, _ in quality.documents] for quality in (self.before, self.after)]).T
        draws = resampled(sums, self._tokens(), lambda means: np.exp(means[:, 1] - means[:, 0]))
        return value, *interval(draws, value)

    def _tokens(self) -> np.ndarray:
        return np.array([t for _, t in self.before.documents], float)

    def _mean(self, column: int) -> Interval:
        sums, tokens = np.array(self.sums)[:, column : column + 1], self._tokens()
        value = float(sums.sum() / tokens.sum())
        return value, *interval(resampled(sums, tokens, lambda means: means[:, 0]), value)


def compare(
    original: Loaded, changed: Loaded, text: str | Sequence[str], context: int | None = None, stride: int | None = None
) -> Comparison:
    """Perplexity of both models, and how far the changed one is from the original, in one pass over the text.

    No logits are kept beyond a window.

    Parameters
    ----------
    text, context, stride
        As for `perplexity`.

    Raises
    ------
    DovetailError
        As `perplexity`; models of different vocabularies.
    """
    if original.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(original.folder), hint="a folder with tokenizer.json")
    if original.vocabulary != changed.vocabulary:
        why = f"{original.vocabulary:,} tokens and {changed.vocabulary:,}"
        raise DovetailError("models of different vocabularies", where=str(changed.folder), why=why)
    context, stride = window_of(original, context, stride)
    texts = [text] if isinstance(text, str) else text
    rows: list[np.ndarray] = []
    scored_bytes = 0
    for ids, size in encoded(original, texts):
        parts = [
            np.array([*_sums(original, changed, read, wanted), len(wanted)])
            for read, wanted in windows(ids, context, stride)
        ]
        rows += parts if len(texts) == 1 else [np.sum(parts, axis=0)]
        scored_bytes += size
    before, after = (
        Quality.of([(float(row[i]), int(row[5])) for row in rows], scored_bytes, model.arithmetic)
        for i, model in enumerate((original, changed))
    )
    return Comparison(before, after, tuple((float(r[2]), float(r[3]), float(r[4])) for r in rows))


def _sums(original: Loaded, changed: Loaded, read: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
    """Nats of both models, both divergences and the agreement, summed over the tokens that a window scores."""
    torch = require("torch", "torch", to="measure perplexity")
    one, two = (logits_of(model, read, len(wanted)).cpu() for model in (original, changed))
    rows = max(1, _AT_ONCE // one.shape[1])
    total = np.zeros(5)
    for begin in range(0, len(wanted), rows):
        part = slice(begin, begin + rows)
        total += _of_rows(one[part], two[part], torch.tensor(list(wanted[part])))
    return total


def _of_rows(one: Tensor, two: Tensor, wanted: Tensor) -> np.ndarray:
    p, q = one.log_softmax(-1), two.log_softmax(-1)
    gap = p - q
    said = (-x.gather(-1, wanted[:, None]).double().sum() for x in (p, q))
    # a token that both models exclude (a logit of minus infinity) adds nothing
    forth, back = ((x.exp() * gap).nan_to_num(0.0, float("inf"), -float("inf")).double().sum() for x in (p, q))
    same = (one.argmax(-1) == two.argmax(-1)).sum()
    return np.array([float(x) for x in (*said, forth, -back, same)])
