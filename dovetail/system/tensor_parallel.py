"""Tensor parallelism: every layer split over chips, two all-reduces a layer (Megatron-LM, arXiv 1909.08053)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.model.graph import Attention, Cache, Collective, Graph, Linear, Operator, Pointwise, Weight

_SPLIT_INPUTS = ("o", "down", "experts_down")  # row-parallel: partial sums need an all-reduce
_WHOLE = ("router",)
_SPLIT_POINTWISE = ("activation", "rotary", "qk_norm", "embed")


def tensor_parallel(graph: Graph, ways: int) -> Graph:
    """What one of `ways` chips does of `graph`: shapes divided, collectives added after row-parallel products.

    KV heads are copied where there are fewer of them than chips.

    Raises
    ------
    DovetailError
        The query heads do not divide by `ways`.
    """
    if ways == 1:
        return graph
    operators: list[Operator] = []
    for operator in graph.operators:
        operators.append(_split(operator, ways))
        if isinstance(operator, Linear) and _role(operator) in _SPLIT_INPUTS:
            rows = graph.batch * graph.tokens
            elements = rows * graph.hidden
            operators.append(
                Collective(
                    f"{operator.name}.all_reduce", operator.layers, elements=elements, ways=ways, act=operator.act
                )
            )
    return replace(graph, operators=tuple(operators), caches=tuple(_share(c, ways) for c in graph.caches))


def _split(operator: Operator, ways: int) -> Operator:
    role = _role(operator)
    if isinstance(operator, Linear) and role not in _WHOLE:
        inputs = role in _SPLIT_INPUTS
        weights = tuple(_part(w, ways, inputs) for w in operator.weights)
        return replace(
            operator,
            weights=weights,
            k=operator.k / ways if inputs else operator.k,
            n=operator.n if inputs else operator.n / ways,
        )
    if isinstance(operator, Attention):
        if np.any(np.asarray(operator.heads) % ways):
            raise DovetailError(
                f"{operator.heads} attention heads do not divide over {ways} chips",
                where="tp",
                hint="a divisor of the heads",
            )
        return replace(operator, heads=operator.heads // ways, kv_heads=np.maximum(operator.kv_heads / ways, 1))
    if isinstance(operator, Pointwise) and role in _SPLIT_POINTWISE:
        weights = tuple(_part(w, ways, inputs=False) for w in operator.weights)
        return replace(operator, weights=weights, read=operator.read / ways, written=operator.written / ways)
    return operator


def _role(operator: Operator) -> str:
    """The operator's name without the kind of layer it belongs to (``qkv@28`` is ``qkv``)."""
    return operator.name.partition("@")[0]


def _part(weight: Weight, ways: int, inputs: bool) -> Weight:
    if not weight.linear and weight.rows == 1:
        return weight if inputs else replace(weight, cols=weight.cols / ways)
    return replace(weight, cols=weight.cols / ways) if inputs else replace(weight, rows=weight.rows / ways)


def _share(cache: Cache, ways: int) -> Cache:
    return replace(cache, kv_heads=np.maximum(cache.kv_heads / ways, 1))
