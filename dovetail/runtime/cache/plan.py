"""What a recipe makes of the cache: which tokens stay, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.policy import Policy

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.cache.held import HeldCache
    from dovetail.runtime.decoding.runner import Runner


@dataclass(frozen=True, slots=True)
class CachePlan:
    """How a cache is kept.

    Parameters
    ----------
    policy : Policy or None
        Which tokens stay; None: all.
    groups : KVGroups or None
        How older tokens are packed; None: floats.
    """

    policy: Policy | None = None
    groups: KVGroups | None = None

    def cache(self, runner: Runner) -> HeldCache:
        """A cache for this model, without a sequence yet."""
        from dovetail.runtime.cache.held import HeldCache

        return HeldCache(len(runner.layers), self, runner.device)

    def prefilled(self, runner: Runner, ids: Tensor) -> tuple[HeldCache, Tensor]:
        """The cache of one prompt (tokens,), and its hidden states (tokens, hidden); see `prefill.prefilled`.

        Raises
        ------
        DovetailError
            A model whose layers are executed by its own module, or see no more than a window.
        """
        from dovetail.runtime.cache.prefill import prefilled
        from dovetail.runtime.decoding.llama import LlamaRunner

        if not isinstance(runner, LlamaRunner):
            hint = "a model of the Llama, Mistral or Qwen families, on a CPU or a CUDA device"
            raise DovetailError("the cache of this model cannot be cut", where="cache", hint=hint, exit_code=INFEASIBLE)
        if any(layer.window is not None for layer in runner.layers):
            why = "its layers see no more than a window, which bounds their cache already"
            raise DovetailError(
                "the cache of this model cannot be cut", why=why, hint="no cache policy", exit_code=INFEASIBLE
            )
        return prefilled(runner, ids, self)
