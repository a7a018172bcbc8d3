"""What a prompt will take beside the weights, known before it is read: one that does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.core.lazy import require
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.runner import Runner

if TYPE_CHECKING:
    import torch

    from dovetail.runtime.decoding.llama import LlamaRunner

_MEMINFO = Path("/proc/meminfo")
_STATES = 2  # hidden states of a prompt, and those that a proposer or the next layer is given


def free_bytes(meminfo: Path = _MEMINFO) -> int | None:
    """Memory that a process could take now without swapping; None where the kernel does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def free_on(device: torch.device) -> int | None:
    """Memory that is free where a model computes: of a GPU, what its driver and torch's pool have; else the host's."""
    if device.type != "cuda":
        return free_bytes()
    torch = require("torch", "torch")
    pooled = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + int(pooled)


def token_bytes(runner: LlamaRunner) -> int:
    """Keys and values of one token in one layer, as floats."""
    return int(2 * runner.kv_heads * runner.head_dim * runner.embedding.element_size())


def held_bytes(runner: LlamaRunner, plan: CachePlan, length: Number) -> NDArray[np.float64]:
    """Keys and values that a plan holds of texts of these lengths, in all layers."""
    layers, one = len(runner.layers), token_bytes(runner)
    lengths = np.asarray(length)
    found = np.zeros(lengths.shape)
    for layer in range(layers):
        kept = lengths if plan.policy is None else np.asarray(plan.policy.kept(lengths, layer, layers))
        if plan.groups is None:
            found += kept * float(one)
        else:
            channels, size = runner.head_dim, runner.embedding.element_size()
            found += np.asarray(plan.groups.bytes(kept, channels, channels, size)) * float(runner.kv_heads)
    return found


def most_held_bytes(runner: LlamaRunner, plan: CachePlan, length: int) -> float:
    """The most that a text comes to hold on its way to a length: what is held falls where it is selected from."""
    period = max(plan.policy.budget.slack if plan.policy else 1, plan.groups.size if plan.groups else 1)
    return float(held_bytes(runner, plan, np.arange(max(0, length - period), length + 1)).max())


def prompt_bytes(runner: Runner, plan: CachePlan | None, length: int) -> int:
    """Keys, values and hidden states of a prompt at the peak of its prefill.

    With a plan that is what all layers keep, one layer whole and the hidden states; without one the whole cache. 0 for
    a model that is executed by its own module.
    """
    from dovetail.runtime.decoding.llama import LlamaRunner

    if not isinstance(runner, LlamaRunner):
        return 0
    if plan is None:
        return length * token_bytes(runner) * len(runner.layers)
    return int(held_bytes(runner, plan, length)) + length * _passing_bytes(runner)


def _passing_bytes(runner: LlamaRunner) -> int:
    """Of a token of a prompt while it is read: a layer's keys and values, and hidden states."""
    return token_bytes(runner) + _STATES * int(runner.embedding.shape[1] * runner.embedding.element_size())


def texts_bytes(runner: Runner, plan: CachePlan | None, lengths: Sequence[int]) -> int:
    """Keys, values and hidden states of texts that are decoded together, at their peak.

    Parameters
    ----------
    lengths : sequence of int
        Of each text, with what is made of it. Without a plan all have the memory of the longest; with one, prompts are
        read one after the other, the longest perhaps last.
    """
    from dovetail.runtime.decoding.llama import LlamaRunner

    if not isinstance(runner, LlamaRunner):
        return 0
    if plan is None:
        return len(lengths) * prompt_bytes(runner, None, max(lengths))
    held = {length: most_held_bytes(runner, plan, length) for length in set(lengths)}
    return int(sum(held[length] for length in lengths)) + max(lengths) * _passing_bytes(runner)


def longest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where 0 does and each does that is below one that does."""
    low, high = 0, most + 1  # the answer is in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def check_texts(runner: Runner, plan: CachePlan | None, lengths: Sequence[int], free: int | None) -> None:
    """Raise `DovetailError` for texts beyond the memory that is free, with the longest length that fits."""
    if free is None or (needed := texts_bytes(runner, plan, lengths)) <= free:
        return
    fit = longest(lambda length: texts_bytes(runner, plan, [min(own, length) for own in lengths]) <= free, max(lengths))
    what = (
        f"a text of {lengths[0]:,} tokens" if len(lengths) == 1 else f"{len(lengths)} texts of {max(lengths):,} tokens"
    )
    verb = "it needs" if len(lengths) == 1 else "they need"
    why = f"{verb} {needed / 1e9:.1f} GB beside the weights, {free / 1e9:.1f} GB are free; {fit:,} tokens fit"
    whole = plan is None or plan.policy is None
    hint = "a recipe that keeps less, such as snapkv:keep=1024" if whole else "a shorter text"
    raise DovetailError(what, where="memory", why=why, hint=hint, exit_code=INFEASIBLE)
