"""How fast a loaded model runs here: prefill and decode, with their memory and energy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.decode import new_cache, step
from dovetail.runtime.energy import EnergyMeter
from dovetail.runtime.load import Loaded
from dovetail.runtime.memory import PeakMemory
from dovetail.runtime.timing import MIN_REPEATS, Timing, repeat

if TYPE_CHECKING:
    from torch import Tensor

Clock = Callable[[], float]
"""Seconds now: of the wall, or of this process where others disturb it."""

_CHUNK = 512  # tokens of the untimed prefill that fills a cache: bounds the memory of its scores
_STEPS = 8  # decode steps that are timed as one repeat


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of all sequences together, at a batch and context, with `threads` CPU threads.

    Parameters
    ----------
    tokens_per_s, low, high : float
        Median and quartiles.
    step_s : float
        Median time of one forward pass.
    peak_bytes : int or None
        Growth of this process's resident memory, or of what torch holds on a GPU, while it was measured; None where the
        kernel does not say.
    j_per_token : float or None
        Energy of the package or GPU, idle draw included; None where no counter is readable.
    """

    tokens_per_s: float
    low: float
    high: float
    step_s: float
    batch: int
    context: int
    tokens: int
    repeats: int
    threads: int
    peak_bytes: int | None
    j_per_token: float | None


def prefill_speed(
    loaded: Loaded, tokens: int, *, batch: int = 1, budget_s: float = 2.0, seed: int = 0, least: int = MIN_REPEATS,
    clock: Clock = time.perf_counter,
) -> Speed:  # fmt: skip
    """Measure the prefill of `batch` prompts of `tokens` random tokens, logits of the last position only.

    Raises
    ------
    DovetailError
        No token, or more than the model's context holds.
    """
    _check(loaded, tokens, batch, 0)
    ids = _random_tokens(loaded, batch, tokens, seed)
    return _measured(
        loaded, lambda: step(loaded, ids, new_cache(loaded)), None, budget_s, least, batch, 0, tokens, 1, clock
    )


def decode_speed(
    loaded: Loaded, context: int, *, batch: int = 1, budget_s: float = 2.0, seed: int = 0, least: int = MIN_REPEATS,
    clock: Clock = time.perf_counter,
) -> Speed:  # fmt: skip
    """Measure decode steps of `batch` sequences that hold `context` tokens, the choice of the likeliest token included.

    The cache is filled with random keys and values, and cut back to `context` before each repeat of few steps.

    Raises
    ------
    DovetailError
        A context below one token, or without room for the steps in the model's context.
    """
    steps = min(_STEPS, loaded.max_context - context)
    _check(loaded, context, batch, max(1, steps))
    ids = _random_tokens(loaded, batch, context, seed)
    cache = random_cache(loaded, batch, context, seed)

    def decode() -> None:
        newest = ids[:, -1:]
        for _ in range(steps):
            newest = step(loaded, newest, cache)[0].argmax(-1)

    def rewind() -> None:
        if excess := cache.get_seq_length() - context:
            cache.crop(-excess)

    return _measured(loaded, decode, rewind, budget_s, least, batch, context, 1, steps, clock)


def random_cache(loaded: Loaded, batch: int, context: int, seed: int = 0) -> Any:
    """A KV cache of `batch` sequences of `context` tokens whose keys and values are random: no prefill is run.

    Layers that keep more state than keys and values (sliding windows) are filled by a prefill of random tokens instead.
    """
    torch = require("torch", "torch", to="run a model")
    with torch.inference_mode():
        cache = step(loaded, _random_tokens(loaded, batch, 1, seed), new_cache(loaded))[1]
        if any(type(layer).__name__ != "DynamicLayer" for layer in cache.layers):
            return filled_cache(loaded, _random_tokens(loaded, batch, context, seed))
        for layer in cache.layers:
            for name in ("keys", "values"):
                heads, width = getattr(layer, name).shape[1], getattr(layer, name).shape[3]
                setattr(layer, name, torch.randn(batch, heads, context, width).to(getattr(layer, name)))
    return cache


def filled_cache(loaded: Loaded, ids: Tensor) -> Any:
    """A KV cache that holds `ids` (B, T), by a prefill in chunks."""
    torch = require("torch", "torch", to="run a model")
    cache = new_cache(loaded)
    with torch.inference_mode():
        for piece in torch.split(ids, _CHUNK, dim=1):
            cache = step(loaded, piece, cache)[1]
    return cache


def _measured(
    loaded: Loaded, work: Callable[[], object], before: Callable[[], object] | None, budget_s: float, least: int,
    batch: int, context: int, tokens: int, steps: int, clock: Clock,
) -> Speed:  # fmt: skip
    torch, graphics = require("torch", "torch", to="run a model"), loaded.device.type == "cuda"

    def synchronised() -> None:
        work()
        if graphics:
            torch.cuda.synchronize(loaded.device)

    if graphics:
        torch.cuda.reset_peak_memory_stats(loaded.device)
        held = torch.cuda.memory_allocated(loaded.device)
    with torch.inference_mode(), PeakMemory() as peak, EnergyMeter(loaded.device.type) as meter:
        found: Timing = repeat(synchronised, budget_s, before=before, least=least, clock=clock)
    made = batch * tokens * steps
    most = torch.cuda.max_memory_allocated(loaded.device) - held if graphics else peak.bytes
    joules = None if meter.joules is None else meter.joules / (made * (found.repeats + 1))
    return Speed(
        made / found.median_s, made / found.high_s, made / found.low_s, found.median_s / steps, batch, context, tokens,
        found.repeats, torch.get_num_threads(), most, joules,
    )  # fmt: skip


def _random_tokens(loaded: Loaded, batch: int, tokens: int, seed: int) -> Tensor:
    torch = require("torch", "torch", to="run a model")
    source = torch.Generator().manual_seed(seed)
    ids: Tensor = torch.randint(loaded.vocabulary, (batch, tokens), generator=source).to(loaded.device)
    return ids


def _check(loaded: Loaded, tokens: int, batch: int, more: int) -> None:
    if tokens < 1 or batch < 1:
        raise DovetailError(f"{batch} sequences of {tokens} tokens", where="speed", hint="at least one of each")
    if tokens + more > loaded.max_context:
        why = f"{tokens + more} tokens, the model holds {loaded.max_context}"
        raise DovetailError("beyond the model's context", where=str(loaded.folder), why=why, hint="a shorter context")
