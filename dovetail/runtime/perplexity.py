"""Perplexity of a text over sliding windows, with a bootstrap interval over its documents.

Each window reads `context` tokens, predicts the token after each, and starts `stride` after the one before; only tokens
that no earlier window scored count. Every token but a text's first is scored once, from the second window on with more
than ``context - stride`` tokens before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.load import Loaded

_RESAMPLES = 2000
_SEED = 2410


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a model predicts a text.

    Parameters
    ----------
    nats_per_token : float
        Mean negative log likelihood; `low` and `high` bound its 95 % interval (bootstrap over `documents`).
    bits_per_byte : float
        Comparable between tokenizers: bits over the UTF-8 bytes of the scored tokens.
    tokens : int
        Tokens scored.
    documents : tuple of (nats, tokens)
        Sums for each document; for each window where the text was one document.
    arithmetic : str
        How the measured model's linear layers multiply, as `Loaded` has it.
    """

    nats_per_token: float
    low: float
    high: float
    bits_per_byte: float
    tokens: int
    documents: tuple[tuple[float, int], ...]
    arithmetic: str = "dense"

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats_per_token)

    @property
    def perplexity_interval(self) -> tuple[float, float]:
        """The 95 % interval of `perplexity`."""
        return math.exp(self.low), math.exp(self.high)


def perplexity(
    loaded: Loaded, text: str | Sequence[str], context: int | None = None, stride: int | None = None
) -> Quality:
    """Measure the quality of a model on text it should not have seen.

    Parameters
    ----------
    text : str or sequence of str
        One text, or documents: each is scored on its own, after a begin token where the tokenizer has one.
    context : int
        Window in tokens; by default the model's, at most 512.
    stride : int
        Tokens between window starts, at most `context`; by default half of it.

    Raises
    ------
    DovetailError
        No tokenizer, a text of fewer than two tokens, a window beyond the model's context.
    """
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(loaded.folder), hint="a folder with tokenizer.json")
    context = min(512, loaded.max_context) if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    _check_windows(loaded, context, stride)
    pieces: list[tuple[float, int]] = []
    scored_bytes = 0
    texts = [text] if isinstance(text, str) else text
    for document in texts:
        ids, size = _encoded(loaded, document)
        if len(ids) > 1:
            windows = [(float(nats.sum()), len(nats)) for nats in _scores(loaded, ids, context, stride)]
            pieces += windows if len(texts) == 1 else [(sum(n for n, _ in windows), sum(t for _, t in windows))]
            scored_bytes += size
    if not pieces:
        raise DovetailError("the text is too short", where="text", why="it has no two tokens", hint="some kilobytes")
    return _quality(pieces, scored_bytes, loaded.arithmetic)


def token_nats(loaded: Loaded, ids: Sequence[int], context: int, stride: int) -> np.ndarray:
    """Negative log likelihood of ``ids[1:]``, each in the first window that reaches it: (len(ids) - 1,) float64."""
    _check_windows(loaded, context, stride)
    return np.concatenate(list(_scores(loaded, ids, context, stride)) or [np.empty(0)])


def _check_windows(loaded: Loaded, context: int, stride: int) -> None:
    if not 1 <= context <= loaded.max_context:
        why = f"the model holds {loaded.max_context} tokens"
        raise DovetailError(f"a window of {context} tokens", where="context", why=why, hint="1 up to that")
    if not 1 <= stride <= context:
        raise DovetailError(f"windows {stride} tokens apart", where="stride", hint=f"1 to {context}, the window itself")


def _encoded(loaded: Loaded, document: str) -> tuple[list[int], int]:
    """Tokens of a document with a begin token where there is one, and the bytes of the tokens that get scored."""
    tokenizer = loaded.tokenizer
    ids: list[int] = tokenizer(document, add_special_tokens=False, verbose=False).input_ids
    size = len(document.encode())
    if tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id, *ids], size
    return ids, size - len(tokenizer.decode(ids[:1]).encode())


def _scores(loaded: Loaded, ids: Sequence[int], context: int, stride: int) -> Iterator[np.ndarray]:
    """Nats of the newly scored tokens, window by window."""
    torch = require("torch", "torch", to="measure perplexity")
    done = 1
    for begin in range(0, len(ids) - 1, stride):
        end = min(begin + context, len(ids) - 1)  # inputs [begin, end) predict tokens begin + 1 … end
        if end < done:
            break
        window = torch.tensor([list(ids[begin:end])], device=loaded.device)
        wanted = torch.tensor(list(ids[done : end + 1]), device=loaded.device)
        with torch.inference_mode():
            logits = loaded.model(input_ids=window, use_cache=False, logits_to_keep=len(wanted)).logits[0]
            wide = logits if logits.dtype == torch.float64 else logits.float()
            nats = torch.nn.functional.cross_entropy(wide, wanted, reduction="none")
        yield nats.double().cpu().numpy()
        done = end + 1


def _quality(pieces: list[tuple[float, int]], scored_bytes: int, arithmetic: str) -> Quality:
    nats, tokens = np.array([n for n, _ in pieces]), np.array([t for _, t in pieces], float)
    picks = np.random.default_rng(_SEED).integers(len(pieces), size=(_RESAMPLES, len(pieces)))
    means = nats[picks].sum(1) / tokens[picks].sum(1)
    mean = float(nats.sum() / tokens.sum())
    low, high = (float(q) for q in np.quantile(means, (0.025, 0.975)))
    bits = float(nats.sum()) / math.log(2) / max(1, scored_bytes)
    found = tuple(pieces)
    return Quality(mean, min(low, mean), max(high, mean), bits, int(tokens.sum()), found, arithmetic)
