"""`Traced`: operators whose numbers are still sizes, and the graph of any step made of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Attention, Operator, Weight
from dovetail.model.traced.size import Ratio, Size


@dataclass(frozen=True, slots=True, eq=False)
class Traced(ByContent):
    """What a module executes, read from its trace.

    Parameters
    ----------
    operators : tuple of Operator
        Numbers that depend on the step are `Size` or `Ratio`.
    caches : tuple of Cache
        Derived: of each causal attention, keys and values before any repetition over heads; of each convolution over
        tokens, its last inputs. Lengths are the step's.
    others : tuple of (Weight, layers)
        Parameters that no operator reads.
    hidden : int
        Channels of the residual stream.
    dtype : str
        Of the activations.
    mixes : str
        Where tokens meet other than in attention or a convolution: what it would keep between steps is not known, so
        there is no step after the first. Empty where there is no such place.
    shortest : int or None
        Fewest tokens that the module takes, where it needs several (a kernel without padding).
    """

    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]
    others: tuple[tuple[Weight, tuple[int, ...]], ...]
    hidden: int
    dtype: str
    mixes: str = ""
    shortest: int | None = None

    def graph(self, batch: Number, tokens: Number, context: Number, logit_tokens: Number, kv_dtype: str) -> Graph:
        """One step, arguments as `dovetail.model.build.decoder_graph` takes them.

        Every operator works on the new tokens alone, but for attention, which sees the context too.

        Raises
        ------
        DovetailError
            There is a context, and tokens meet in a place whose state is not known; or too few tokens for the module.
        """
        if self.shortest and np.any(np.asarray(tokens) < self.shortest):
            raise DovetailError("too few tokens", where="tokens", why=f"this module takes {self.shortest} or more")
        if self.mixes and np.any(np.asarray(context) > 0):
            why = f"tokens meet in {self.mixes}, which is neither attention nor a convolution"
            raise DovetailError("no step after the first is known", why=why, hint="context=0 prices the whole input")
        steps = (self._at(o, batch, logit_tokens if o.name.startswith("lm_head") else tokens) for o in self.operators)
        attended = tuple(
            replace(o, kv_len=context + tokens, kv_format=kv_dtype) if isinstance(o, Attention) else o for o in steps
        )
        caches = tuple(self._cache(c, batch, context + tokens, kv_dtype) for c in self.caches)
        return Graph(attended, caches, batch, tokens, context, self.hidden, others=self.others)

    def _at(self, operator: Operator, batch: Number, tokens: Number) -> Operator:
        values = {f.name: getattr(operator, f.name) for f in fields(operator)}
        known: dict[str, Any] = {n: v.at(batch, tokens) for n, v in values.items() if isinstance(v, Size | Ratio)}
        if "act" in values:
            known["act"] = self.dtype
        return replace(operator, **known)

    def _cache(self, cache: Cache, batch: Number, length: Number, kv_dtype: str) -> Cache:
        if not cache.grows:
            return replace(cache, batch=batch, format=self.dtype)
        kept = length if cache.window is None else np.minimum(length, cache.window)
        return replace(cache, batch=batch, length=kept, format=kv_dtype)
