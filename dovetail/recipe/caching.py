"""What a method that cuts the cache makes of a graph: tokens held, and what it takes to select them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.graph import Graph
from dovetail.model.kv_groups import KVGroups
from dovetail.model.operators import Attention, Operator, Pointwise, Scan
from dovetail.recipe.speculation.guessing import BESIDE
from dovetail.runtime.cache.policy import Policy

if TYPE_CHECKING:
    from dovetail.runtime.cache.plan import CachePlan


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


@dataclass(frozen=True, slots=True)
class Packs:
    """A method that packs whole groups of older tokens: a subclass names its `bits`, which both faces come from.

    The newest tokens stay floats until they fill a group. Keys have a scale and a zero for each channel of a group,
    values for each `share` channels of a token (KIVI, Liu et al., arXiv 2402.02750).
    """

    caches: ClassVar[str] = "format"
    bits: ClassVar[int]
    group: int = 32  # tokens
    share: int = 32  # channels

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(8, 8), cls(5, 64)

    def groups(self) -> KVGroups:
        """How they are packed. Raises `DovetailError` for parameters out of range."""
        return KVGroups(self.bits, self.group, self.share)

    def __post_init__(self) -> None:
        self.groups()

    def rewrite(self, graph: Graph) -> Graph:
        _check(graph, "kv")
        groups = self.groups()
        caches = tuple(replace(cache, groups=groups) for cache in graph.caches)
        decode = _decodes(graph)  # a prompt is attended before it is packed

        def packed(operator: Operator) -> Operator:
            return replace(operator, groups=groups) if isinstance(operator, Attention) and decode else operator

        return replace(graph.map_operators(packed), caches=caches)

    def on_cache(self, plan: CachePlan) -> CachePlan:
        return replace(plan, groups=self.groups())


def _decodes(graph: Graph) -> bool:
    return bool(np.all(np.equal(graph.tokens, 1)) and np.any(np.greater(graph.context, 0)))


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
    decode = _decodes(graph)
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
    """Scores of the observed queries over all keys there are, written out, for each selection."""
    if not policy.observed:
        return
    budget, length = policy.budget, graph.context + graph.tokens
    share = np.where(np.less(length, budget.keep + budget.slack), 0.0, 1.0 / budget.slack if decode else 1.0)
    tokens = attention.kv_len
    if decode:
        tokens = np.minimum(tokens, policy.kept(tokens, attention.layers[0], layers) + budget.slack)
    each = attention.batch * share * tokens
    scores = each * attention.heads * np.minimum(policy.observed, tokens)
    yield Pointwise(
        f"{BESIDE}@{attention.name}", attention.layers, (), each * attention.kv_heads * attention.head_dim, scores,
        2.0 * float(attention.head_dim), attention.act, split=True,
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
        if isinstance(operator, Scan) or (isinstance(operator, Attention) and not _plain(operator)):
            why = f"'{operator.name}' does not keep keys and values of all tokens"
            hint = "a model whose tokens see all before them"
            raise DovetailError("cannot cut the cache", where=name, why=why, hint=hint, exit_code=INFEASIBLE)
    if any(cache.kind != "kv" for cache in graph.caches):
        hint = "a model whose tokens see all before them"
        raise DovetailError(
            "cannot cut the cache", where=name, why="it is not keys and values", hint=hint, exit_code=INFEASIBLE
        )


def _plain(attention: Attention) -> bool:
    """Whether keys and values of all tokens are cached, and seen."""
    whole = attention.causal and attention.window is None and attention.selected is None
    return whole and not attention.latent and attention.rate == 1
