"""What a cache is kept with here that is slower than it could be: known before a prompt is read, and told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.runtime.cache.plan import CachePlan

if TYPE_CHECKING:
    from dovetail.runtime.decoding.llama import LlamaRunner
    from dovetail.runtime.decoding.runner import Runner


def fallbacks(runner: Runner, plan: CachePlan | None) -> tuple[str, ...]:
    """A sentence for each thing that a plan needs and the kernels for this model here do not give.

    The text stays what it is: what is asked for is computed in another way.
    """
    from dovetail.runtime.decoding.llama import LlamaRunner

    if plan is None or not isinstance(runner, LlamaRunner):
        return ()
    found = []
    if plan.policy is not None and plan.policy.sums:
        why = "fused attention of prompts does not give the weights that this policy sums"
        found.append(f"{why}: their two products are computed instead, which takes longer")
    if (missing := _missing(runner)) is not None:
        found.append(f"no kernel attends over the cut cache ({missing}): torch does, text by text, which takes longer")
    return tuple(found)


def _missing(runner: LlamaRunner) -> str | None:
    """Why the kernel of attention does not take what this runner asks; None where it does."""
    import torch

    from dovetail.runtime.cache.attention import takes
    from dovetail.runtime.kernels.library import Missing, find

    if isinstance(found := find(), Missing):
        return found.why
    kind, device = runner.embedding.dtype, runner.device
    if takes(torch.empty(1, runner.heads, 1, runner.head_dim, dtype=kind, device=device)):
        return None
    return f"heads of {runner.head_dim} channels in {str(kind).removeprefix('torch.')} on {device.type}"
