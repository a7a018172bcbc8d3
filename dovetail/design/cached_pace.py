"""How long a decode step takes here over a cache that a recipe keeps: a pass, what it reads, and what keeping it takes.

    seconds = pass(batch) + read(bytes) + batch * keeping(plan)

A pass is timed at each batch over next to no cache; reading by the kernel of attention alone, at several sizes, since
what fits a processor's own memory is read faster; keeping (selections, votes, packing) with some short texts, beside a
pass of as many. Other batches and lengths follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.plan import CachePlan

if TYPE_CHECKING:
    from dovetail.runtime.decoding.llama import LlamaRunner
    from dovetail.runtime.decoding.runner import Runner

_SIZES = (1 << 20, 1 << 23, 1 << 25, 1 << 27)  # bytes of caches whose reading is timed
_TOKENS = 1024  # of each text there
_TEXTS = 8  # short ones that what keeping takes is timed with
_STEPS = 64  # that are timed together: a whole period of the usual policies
_FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class Pieces:
    """Seconds of a step: its pass over next to no cache, reading what is held, and selecting and packing."""

    pass_s: float
    read_s: float
    keep_s: float

    @property
    def seconds(self) -> float:
        return self.pass_s + self.read_s + self.keep_s


@dataclass(frozen=True, slots=True)
class CachedPace:
    """Seconds of a decode step over a cut cache, from pieces that are measured when they are first asked for.

    Parameters
    ----------
    runner : LlamaRunner
    repeats : int
        Of each measurement; the median counts.
    """

    runner: LlamaRunner
    repeats: int = 5
    _known: dict[object, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, runner: Runner, repeats: int = 5) -> CachedPace:
        """Raises `DovetailError` for a model whose cache cannot be cut."""
        from dovetail.runtime.decoding.llama import LlamaRunner

        if not isinstance(runner, LlamaRunner):
            hint = "a model of the Llama, Mistral or Qwen families, on the CPU"
            raise DovetailError("the cache of this model cannot be cut", where="pace", hint=hint, exit_code=INFEASIBLE)
        return cls(runner, repeats)

    def seconds(self, batch: int, plan: CachePlan, length: int) -> float:
        """Of a step of `batch` texts of `length` tokens, selections spread over the steps between them."""
        return self.pieces(batch, plan, length).seconds

    def pieces(self, batch: int, plan: CachePlan, length: int) -> Pieces:
        """What `seconds` is made of."""
        read = self._read_s(self.bytes(batch, plan, length), plan.groups)
        return Pieces(self._passing(batch), read, batch * self._keeping(plan))

    def bytes(self, batch: int, plan: CachePlan, length: int) -> float:
        """What a step reads, on average over the steps between two selections."""
        runner, layers, policy = self.runner, len(self.runner.layers), plan.policy
        lengths = length + np.arange(policy.budget.slack if policy else plan.groups.size if plan.groups else 1)
        kept = [lengths if policy is None else policy.kept(lengths, layer, layers) for layer in range(layers)]
        tokens, channels = np.asarray(kept), runner.head_dim
        one = 2 * channels * _FLOAT * tokens
        if plan.groups is not None:
            one = np.asarray(plan.groups.bytes(tokens, channels, channels, _FLOAT))
        return float(batch * runner.kv_heads * one.mean(1).sum())

    def _passing(self, batch: int) -> float:
        found: float = self._once(("pass", batch), lambda: self._step_s(batch, CachePlan(), 1))
        return found

    def _keeping(self, plan: CachePlan) -> float:
        """Of a text and step: what a short text takes beyond its pass and what it reads."""
        if plan == CachePlan():
            return 0.0
        length = _TOKENS if plan.policy is None else 2 * (plan.policy.budget.keep + plan.policy.budget.slack)

        def measured() -> float:
            passing, whole = self._step_s(_TEXTS, CachePlan(), 1), self._step_s(_TEXTS, plan, length)
            read = self._read_s(self.bytes(_TEXTS, plan, length), plan.groups)
            return max(0.0, whole - passing - read) / _TEXTS

        found: float = self._once(("keep", repr(plan)), measured)
        return found

    def _read_s(self, size: float, groups: KVGroups | None) -> float:
        known = self._once(("read", groups), lambda: [self._attending(groups, each) for each in _SIZES])
        sizes, times = zip((0.0, 0.0), *known, strict=True)
        return times[-1] * size / sizes[-1] if size > sizes[-1] else float(np.interp(size, sizes, times))

    def _attending(self, groups: KVGroups | None, size: int) -> tuple[float, float]:
        """Bytes of about that size, and seconds to attend to them."""
        import torch

        from dovetail.runtime.cache.attention import Seen, attended
        from dovetail.runtime.cache.filled import filled

        runner, plan = self.runner, CachePlan(groups=groups)
        one = self.bytes(1, plan, _TOKENS)
        batch = max(1, round(size / one))
        cache = filled(runner, batch, plan, _TOKENS)
        cache.reserve(1)
        shape = batch, 1, runner.head_dim
        q, kv = (torch.randn(shape[0], heads, *shape[1:]) for heads in (runner.heads, runner.kv_heads))

        def work() -> None:
            for layer in range(len(runner.layers)):
                attended(cache.places(layer), q, kv, kv, Seen(), groups)

        return batch * one, self._timed(work)

    def _step_s(self, batch: int, plan: CachePlan, length: int) -> float:
        import torch

        from dovetail.runtime.cache.filled import filled

        runner, ids = self.runner, torch.zeros(batch, 1, dtype=torch.long)
        with torch.inference_mode():
            cache = filled(runner, batch, plan, length)

        def work() -> None:
            with torch.inference_mode():
                for _ in range(_STEPS):
                    runner.logits(runner.forward(ids, cache)).argmax(-1).tolist()
                    cache.keep([1] * batch)
                    cache.settle()

        return self._timed(work) / _STEPS

    def _timed(self, work: Callable[[], None]) -> float:
        from dovetail.runtime.decoding.passes import clock_of

        clock, found = clock_of(self.runner.device), []
        for _ in range(1 + self.repeats):
            began = clock()
            work()
            found.append(clock() - began)
        return median(found[1:])

    def _once(self, key: object, measure: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = measure()
        return self._known[key]
