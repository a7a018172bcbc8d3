"""Perplexity of what follows a prompt, over the cache that a plan leaves of it: what a recipe for the cache costs.

A document's first tokens are read as a prompt, and its cache is cut; the tokens after it are then predicted as decoding
would come to them, each of the true ones taking its place in the cache, which is cut again when it is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.load import Loaded
from dovetail.runtime.perplexity import Quality, encoded

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.decoding.runner import Runner

_MOST = 64  # tokens of a pass


def cached_perplexity(
    loaded: Loaded, documents: Sequence[str], plan: CachePlan | None = None, *, length: int = 2048,
    read: int | None = None, most: int | None = None,
) -> Quality:  # fmt: skip
    """Quality over the cache of a plan, on every stretch of `length` tokens that documents hold.

    Parameters
    ----------
    documents : sequence of str
        Each is cut into stretches of `length` tokens; what is left over, and documents that are shorter, are left out.
    plan : CachePlan or None
        What the cache keeps; None: everything, as floats.
    length : int
        Tokens of a stretch.
    read : int or None
        Of these, the prompt; the others are scored. By default half.
    most : int or None
        Stretches of each document that count, its first ones; None: all.

    Raises
    ------
    DovetailError
        No tokenizer, no document of that length, nothing to read or to score, or more tokens than the model's context
        holds; a model whose cache cannot be cut.
    """
    read = length // 2 if read is None else read
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(loaded.folder), hint="a folder with tokenizer.json")
    if not 1 <= read < length <= loaded.max_context:
        why = f"the model holds {loaded.max_context} tokens"
        raise DovetailError(
            f"{read} tokens read of {length}", where="perplexity", why=why, hint="length=2048,read=1024"
        )
    whole = [ids for ids, _ in encoded(loaded, documents) if len(ids) >= length]
    if not whole:
        why = f"none of {len(documents)} documents has {length} tokens"
        raise DovetailError("nothing to score", where="perplexity", why=why, hint="a shorter length")
    pieces, size = [], 0
    for ids in whole:
        found = []
        for begin in range(0, len(ids) - length + 1, length)[:most]:
            found.append(cached_nats(loaded, ids[begin : begin + length], read, plan))
            size += len(loaded.tokenizer.decode(ids[begin + read : begin + length]).encode())
        pieces.append((float(sum(map(np.sum, found))), sum(map(len, found))))
    return Quality.of(pieces, size, loaded.arithmetic)


def cached_nats(loaded: Loaded, ids: Sequence[int], read: int, plan: CachePlan | None = None) -> np.ndarray:
    """Negative log likelihood of ``ids[read:]``, each over the cache of those before it: (len(ids) - read,) float64."""
    torch = require("torch", "torch", to="measure perplexity")
    from dovetail.runtime.decoding.runner import runner_of

    with torch.inference_mode():
        parts = list(_scored(runner_of(loaded), torch.tensor(ids, device=loaded.device), read, plan or CachePlan()))
    return np.concatenate(parts)


def _scored(runner: Runner, ids: Tensor, read: int, plan: CachePlan) -> Iterator[np.ndarray]:
    cache, states = plan.prefilled(runner, ids[:read])
    yield _nats(runner, states[-1:], ids[read : read + 1])
    begin = read
    while begin < len(ids) - 1:
        cache.settle()
        end = min(begin + min(_MOST, cache.undisturbed), len(ids) - 1)
        states = runner.forward(ids[None, begin:end], cache)[0]
        cache.keep([end - begin])
        yield _nats(runner, states, ids[begin + 1 : end + 1])
        begin = end


def _nats(runner: Runner, states: Tensor, wanted: Tensor) -> np.ndarray:
    from torch.nn import functional

    logits = runner.logits(states).float()
    found: np.ndarray = functional.cross_entropy(logits, wanted, reduction="none").double().cpu().numpy()
    return found
