"""Perplexity of a text over sliding windows, with a bootstrap interval over its documents.

Each window reads `context` tokens, predicts the token after each, and starts `stride` after the one before; only tokens
that no earlier window scored count. Every token but a text's first is scored once, from the second window on with more
than ``context - stride`` tokens before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.bootstrap import interval, resampled
from dovetail.runtime.load import Loaded

if TYPE_CHECKING:
    from torch import Tensor


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

    @classmethod
    def of(cls, pieces: Sequence[tuple[float, int]], scored_bytes: int, arithmetic: str = "dense") -> Quality:
        """From the sums of each document (or window) and the bytes of what was scored.

        Raises
        ------
        DovetailError
            A sum is not finite: the model overflows on the text.
        """
        nats, tokens = np.array([n for n, _ in pieces]), np.array([t for _, t in pieces], float)
        if not np.isfinite(nats).all():
            raise DovetailError(
                "logits are not finite", where="perplexity", why="the model overflows on this text",
                hint="a recipe with more bits, or a checkpoint that is not broken", exit_code=CHECK_FAILED,
            )  # fmt: skip
        mean = float(nats.sum() / tokens.sum())
        low, high = interval(resampled(nats[:, None], tokens, lambda means: means[:, 0]), mean)
        bits = float(nats.sum()) / math.log(2) / max(1, scored_bytes)
        return cls(mean, low, high, bits, int(tokens.sum()), tuple(pieces), arithmetic)

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
    context, stride = window_of(loaded, context, stride)
    texts = [text] if isinstance(text, str) else text
    pieces: list[tuple[float, int]] = []
    scored_bytes = 0
    for ids, size in encoded(loaded, texts):
        windows = [(float(nats.sum()), len(nats)) for nats in _scores(loaded, ids, context, stride)]
        pieces += windows if len(texts) == 1 else [(sum(n for n, _ in windows), sum(t for _, t in windows))]
        scored_bytes += size
    return Quality.of(pieces, scored_bytes, loaded.arithmetic)


def window_of(loaded: Loaded, context: int | None, stride: int | None) -> tuple[int, int]:
    """The window and how far apart windows are, as `perplexity` has them. Raises `DovetailError`."""
    context = min(512, loaded.max_context) if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    _check_windows(loaded, context, stride)
    return context, stride


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


def encoded(loaded: Loaded, texts: Sequence[str]) -> list[tuple[list[int], int]]:
    """Tokens of each document with a begin token where there is one, and the bytes of the tokens that get scored.

    Documents without two tokens are left out. Raises `DovetailError` when none is left.
    """
    both = [_encoded(loaded, document) for document in texts]
    found = [(ids, size) for ids, size in both if len(ids) > 1]
    if not found:
        raise DovetailError("the text is too short", where="text", why="it has no two tokens", hint="some kilobytes")
    return found


def _encoded(loaded: Loaded, document: str) -> tuple[list[int], int]:
    tokenizer = loaded.tokenizer
    ids: list[int] = tokenizer(document, add_special_tokens=False, verbose=False).input_ids
    size = len(document.encode())
    if tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id, *ids], size
    return ids, size - len(tokenizer.decode(ids[:1]).encode())


def windows(ids: Sequence[int], context: int, stride: int) -> Iterator[tuple[list[int], list[int]]]:
    """What is read, and the last of its successors that no earlier window predicted, window by window."""
    done = 1
    for begin in range(0, len(ids) - 1, stride):
        end = min(begin + context, len(ids) - 1)  # inputs [begin, end) predict tokens begin + 1 … end
        if end < done:
            break
        yield list(ids[begin:end]), list(ids[done : end + 1])
        done = end + 1


def logits_of(loaded: Loaded, read: Sequence[int], keep: int) -> Tensor:
    """Logits (keep, vocabulary) of the tokens after the last `keep` of what is read, fp32 or wider."""
    torch = require("torch", "torch", to="measure perplexity")
    with torch.inference_mode():
        ids = torch.tensor([list(read)], device=loaded.device)
        logits: Tensor = loaded.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0]
    return logits if logits.dtype == torch.float64 else logits.float()


def _scores(loaded: Loaded, ids: Sequence[int], context: int, stride: int) -> Iterator[np.ndarray]:
    """Nats of the newly scored tokens, window by window."""
    torch = require("torch", "torch", to="measure perplexity")
    for read, wanted in windows(ids, context, stride):
        logits = logits_of(loaded, read, len(wanted))
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(wanted, device=loaded.device), reduction="none")
        yield nats.double().cpu().numpy()
