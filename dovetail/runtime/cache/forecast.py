"""What a prompt will take beside the weights, known before it is read: one that does not fit is refused."""

from __future__ import annotations

from pathlib import Path

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.runner import Runner

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


def prompt_bytes(runner: Runner, plan: CachePlan | None, length: int) -> int:
    """Keys, values and hidden states of a prompt at the peak of its prefill.

    With a plan that is what all layers keep, one layer whole and the hidden states; without one the whole cache. 0 for
    a model that is executed by its own module.
    """
    from dovetail.runtime.decoding.llama import LlamaRunner

    if not isinstance(runner, LlamaRunner):
        return 0
    element, width, layers = int(runner.embedding.element_size()), int(runner.embedding.shape[1]), len(runner.layers)
    token = int(2 * runner.kv_heads * runner.head_dim * element)  # of a layer
    if plan is None:
        return length * token * layers
    kept = [length if plan.policy is None else int(plan.policy.kept(length, layer, layers)) for layer in range(layers)]
    held = sum(map(float, kept)) * token
    if plan.groups is not None:
        channels = runner.head_dim
        held = sum(float(plan.groups.bytes(n, channels, channels, element)) for n in kept) * runner.kv_heads
    return int(held) + length * (token + _STATES * width * element)


def check_prompt(runner: Runner, plan: CachePlan | None, length: int, free: int | None) -> None:
    """Raise `DovetailError` for a text beyond the memory that is free, with the longest that fits."""
    if free is None or (needed := prompt_bytes(runner, plan, length)) <= free:
        return
    low, high = 0, length  # the longest that fits is in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if prompt_bytes(runner, plan, middle) <= free else (low, middle)
    why = f"it needs {needed / 1e9:.1f} GB beside the weights, {free / 1e9:.1f} GB are free; {low:,} tokens fit"
    hint = (
        "a recipe that keeps less, such as snapkv:keep=1024"
        if plan is None or plan.policy is None
        else "a shorter text"
    )
    raise DovetailError(f"a text of {length:,} tokens", where="memory", why=why, hint=hint, exit_code=INFEASIBLE)
