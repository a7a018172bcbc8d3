"""What a method that cuts the cache makes of a graph: tokens held, and what it takes to select them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.model.graph import Attention, Cache, Graph, Operator, Scan
from dovetail.runtime.cache.policy import Policy

if TYPE_CHECKING:
    from dovetail.runtime.cache.plan import CachePlan

SELECTING = "kv_select"  # of operators that make scores for a selection


class Selects:
    """A method that keeps some tokens of the cache: a subclass names its `policy`, which both faces come from."""

    __slots__ = ()
    caches: ClassVar[str] = "policy"

    def policy(self) -> Policy:
        """What decides. Raises `DovetailError` for parameters out of range."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        self.policy()

    def rewrite(self, graph: Graph) -> Graph:
        return cut(graph, self.policy())

    def on_cache(self, plan: CachePlan) -> CachePlan:
        return replace(plan, policy=self.policy())


def cut(graph: Graph, policy: Policy) -> Graph:
    """`graph` with caches that hold what a policy leaves of a text.

    A prefill attends everything, layer by layer, and is cut after; a decode step reads what the step before left. The
    votes of a selection are added once to a prefill, and to a step in the share of one every `slack` tokens.

    Raises
    ------
    DovetailError
        A cache that is not keys and values of all tokens.
    """
    _check(graph, type(policy).__name__)
    decode = bool(np.all(np.equal(graph.tokens, 1)) and np.any(np.greater(graph.context, 0)))
    layers = 1 + max((layer for cache in graph.caches for layer in cache.layers), default=0)
    operators: list[Operator] = []
    for operator in graph.operators:
        if not isinstance(operator, Attention):
            operators.append(operator)
            continue
        for part in _alike(operator.layers, policy, layers):
            own = replace(operator, layers=part)
            operators.append(_reading(own, policy, layers) if decode else own)
            operators += _votes(own, graph, policy, layers, decode)
    caches = [
        replace(cache, layers=part, length=policy.kept(cache.length, part[0], layers))
        for cache in graph.caches
        for part in _alike(cache.layers, policy, layers)
    ]
    return replace(graph, operators=tuple(operators), caches=tuple(caches))


def _reading(attention: Attention, policy: Policy, layers: int) -> Attention:
    """An attention of a step: what the one before left, and the new token."""
    before = attention.kv_len - attention.tokens
    return replace(attention, kv_len=policy.kept(before, attention.layers[0], layers) + attention.tokens)


def _votes(attention: Attention, graph: Graph, policy: Policy, layers: int, decode: bool) -> Iterator[Operator]:
    """Scores of the observed queries over all keys there are: half of an attention, for each selection."""
    if not policy.observed:
        return
    budget, length = policy.budget, graph.context + graph.tokens
    share = np.where(np.less(length, budget.keep + budget.slack), 0.0, 1.0 / budget.slack if decode else 1.0)
    tokens = attention.kv_len
    if decode:
        tokens = np.minimum(tokens, policy.kept(tokens, attention.layers[0], layers) + budget.slack)
    yield replace(
        attention, name=f"{SELECTING}@{attention.name}", weights=(), batch=attention.batch * share,
        tokens=np.minimum(policy.observed, tokens), kv_len=tokens, value_dim=0,
    )  # fmt: skip


def _alike(layers: tuple[int, ...], policy: Policy, count: int) -> list[tuple[int, ...]]:
    """Layers by what they keep of a long text."""
    groups: dict[float, tuple[int, ...]] = {}
    for layer in layers:
        kept = float(policy.kept(_LONG, layer, count))
        groups[kept] = (*groups.get(kept, ()), layer)
    return list(groups.values())


_LONG = 1 << 40


def _check(graph: Graph, name: str) -> None:
    for operator in graph.operators:
        plain = isinstance(operator, Attention) and operator.causal and operator.window is None
        plain = plain and operator.selected is None and not operator.latent and operator.rate == 1
        if isinstance(operator, Scan) or (isinstance(operator, Attention) and not plain):
            why = f"'{operator.name}' does not keep keys and values of all tokens"
            hint = "a model whose tokens see all before them"
            raise DovetailError("cannot cut the cache", where=name, why=why, hint=hint, exit_code=INFEASIBLE)
    if any(cache.kind != "kv" for cache in graph.caches):
        hint = "a model whose tokens see all before them"
        raise DovetailError("cannot cut the cache", where=name, why="it is not keys and values", hint=hint, exit_code=INFEASIBLE)
