"""How well the integers predict a text, in the windows of `runtime.perplexity`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.accel.golden.model import IntegerModel
from dovetail.core.errors import DovetailError
from dovetail.runtime.load import Loaded
from dovetail.runtime.perplexity import Quality, encoded, windows


def quality(
    model: IntegerModel, loaded: Loaded, text: str | Sequence[str], context: int | None = None,
    stride: int | None = None,
) -> Quality:  # fmt: skip
    """Measure an integer model on text it should not have seen, as `runtime.perplexity.perplexity` measures `loaded`.

    Parameters
    ----------
    loaded : Loaded
        The model that was lowered; only its tokenizer is used.
    text : str or sequence of str
        One text, or documents: each is scored on its own.
    context, stride : int
        Window in tokens, by default the model's context, and tokens between window starts, by default half of it.

    Raises
    ------
    DovetailError
        No tokenizer, a text without two tokens, a window beyond the model's context.
    """
    context = model.context if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    _check(model, loaded, context, stride)
    texts = [text] if isinstance(text, str) else text
    pieces: list[tuple[float, int]] = []
    scored_bytes = 0
    for ids, size in encoded(loaded, texts):
        scores = [(float(nats.sum()), len(nats)) for nats in _scores(model, ids, context, stride)]
        pieces += scores if len(texts) == 1 else [(sum(n for n, _ in scores), sum(t for _, t in scores))]
        scored_bytes += size
    return Quality.of(pieces, scored_bytes, f"integers {model.weights}")


def _scores(model: IntegerModel, ids: Sequence[int], context: int, stride: int) -> Iterator[npt.NDArray[np.float64]]:
    for read, wanted in windows(ids, context, stride):
        yield nats(model.run(read)[-len(wanted) :] * model.logit_unit(), np.asarray(wanted))


def nats(logits: npt.NDArray[Any], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Negative log likelihood of each wanted token: (tokens,) for logits (tokens, vocabulary)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, wanted[:, None], axis=-1)[:, 0]
    return np.asarray(np.log(np.exp(shifted).sum(axis=-1)) - chosen, np.float64)


def _check(model: IntegerModel, loaded: Loaded, context: int, stride: int) -> None:
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(loaded.folder), hint="a folder with tokenizer.json")
    if not 1 <= context <= model.context:
        why = f"the model was lowered for {model.context}"
        raise DovetailError(f"a window of {context} tokens", where="context", why=why, hint="1 up to that")
    if not 1 <= stride <= context:
        raise DovetailError(f"windows {stride} tokens apart", where="stride", hint=f"1 to {context}, the window itself")
