"""What executes a model in the decode loop: the fastest way that gives the module's own logits."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.llama import LlamaRunner, known
from dovetail.runtime.decoding.modules import ModuleRunner, agrees
from dovetail.runtime.load import Loaded


class Runner(Protocol):
    """Forward passes over a `KVCache`."""

    @property
    def layers(self) -> Sized:
        """As many as the cache has layers."""
        ...

    @property
    def device(self) -> torch.device:
        """Where token ids belong."""
        ...

    def forward(
        self, ids: Tensor, cache: KVCache, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, hidden) of new tokens (B, T)."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token."""
        ...


def runner_of(loaded: Loaded) -> Runner:
    """The runner of a model, tried on random tokens before it is used.

    Raises
    ------
    DovetailError
        The model keeps other state than keys and values (state-space layers), or its module takes no masks of ours.
    """
    if (found := _FOUND.get(loaded.model)) is None:
        _FOUND[loaded.model] = found = _tried(loaded)
    return found


_FOUND: WeakKeyDictionary[Any, Runner] = WeakKeyDictionary()


def _tried(loaded: Loaded) -> Runner:
    model, why = loaded.model, ""
    for kind in (LlamaRunner, ModuleRunner) if known(model) else (ModuleRunner,):
        try:
            runner: Runner = kind(model)
            if agrees(runner, model):
                return runner
            why = "its logits over our cache are not those of the module"
        except (AttributeError, TypeError, ValueError, RuntimeError, LookupError) as error:
            why = " ".join(str(error).split())[:200]
    hint = "a model of the Llama, Mistral, Qwen, Gemma or GPT-2 families"
    raise DovetailError("cannot be decoded here", where=str(loaded.folder), why=why, hint=hint, exit_code=INFEASIBLE)
