"""Tensor parallelism: every layer split over chips, two all-reduces a layer (Megatron-LM, arXiv 1909.08053)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.model.graph import Attention, Collective, Graph, Linear, Operator, Pointwise, Scan, Weight


def tensor_parallel(graph: Graph, ways: int) -> Graph:
    """What one of `ways` chips does of `graph`: shapes divided, collectives added after row-parallel products.

    KV heads, and the rows of the projections that make them, are copied where there are fewer of them than chips.

    Raises
    ------
    DovetailError
        The query heads or the groups of a block-diagonal product do not divide by `ways`, or the KV heads neither
        divide by it nor into it.
    """
    if ways == 1:
        return graph
    attention = {o.layers: o for o in graph.operators if isinstance(o, Attention) and not o.whole}
    for heads in attention.values():
        _check(heads, ways)
    operators: list[Operator] = []
    for operator in graph.operators:
        operators.append(_split(operator, ways, attention.get(operator.layers)))
        if isinstance(operator, Linear) and operator.split == "in":
            elements = graph.batch * graph.tokens * graph.hidden
            name = f"{operator.name}.all_reduce"
            act = operator.otherwise or operator.act  # sums are not of the dtype of quantised inputs
            operators.append(Collective(name, operator.layers, elements=elements, ways=ways, act=act))
    caches = tuple(replace(c, kv_heads=_kv_heads(c.kv_heads, ways)) for c in graph.caches)
    return replace(graph, operators=tuple(operators), caches=caches)


def _check(attention: Attention, ways: int) -> None:
    heads, kv_heads = np.asarray(attention.heads), np.asarray(attention.kv_heads)
    if np.any(heads % ways) or np.any((kv_heads % ways != 0) & (ways % kv_heads != 0)):
        raise DovetailError(
            f"{attention.heads} attention heads with {attention.kv_heads} KV heads do not divide over {ways} chips",
            where="tp", hint="a number of chips that divides the heads, and divides or is divided by the KV heads",
            exit_code=INFEASIBLE,
        )  # fmt: skip


def _kv_heads(kv_heads: Number, ways: int) -> Number:
    return kv_heads // np.minimum(kv_heads, ways)


def _split(operator: Operator, ways: int, attention: Attention | None) -> Operator:
    role = _role(operator)
    if isinstance(operator, Linear) and role == "qkv" and attention is not None:
        return _split_heads(operator, ways, attention)
    if isinstance(operator, Linear) and operator.split == "in":
        weights = tuple(w if _is_vector(w) else replace(w, cols=w.cols / ways) for w in operator.weights)
        return replace(operator, weights=weights, k=operator.k / ways)
    if isinstance(operator, Linear) and operator.split == "group":
        return _split_groups(operator, ways)
    if isinstance(operator, Linear) and operator.split == "out":
        return replace(operator, weights=tuple(_outputs(w, ways) for w in operator.weights), n=operator.n / ways)
    if isinstance(operator, Attention) and not operator.whole:
        return replace(operator, heads=operator.heads // ways, kv_heads=_kv_heads(operator.kv_heads, ways))
    if isinstance(operator, Scan):
        share = {"flops_per_token": operator.flops_per_token / ways, "state": operator.state / ways}
        return replace(operator, read=operator.read / ways, written=operator.written / ways, **share)
    if isinstance(operator, Pointwise) and operator.split:
        weights = tuple(w if _is_vector(w) else _outputs(w, ways) for w in operator.weights)
        share = {name: getattr(operator, name) / ways for name in ("read", "written", "held")}
        return replace(operator, weights=weights, **share)
    return operator


def _split_heads(qkv: Linear, ways: int, attention: Attention) -> Linear:
    """Q by query heads, K and V by KV heads: those are copied where there are fewer heads than chips."""
    keys, values = attention.kv_heads * attention.head_dim, attention.kv_heads * attention.values
    parts = np.minimum(attention.kv_heads, ways)

    def is_kv(weight: Weight) -> bool:
        made = weight.cols if _is_vector(weight) else weight.rows
        return bool(np.all(np.equal(made, keys)) or np.all(np.equal(made, values)))

    matrices = [w for w in qkv.weights if not _is_vector(w)]
    kv = (
        keys + values
        if len(matrices) == 1 and np.all(qkv.n > keys + values)
        else sum(w.rows for w in matrices if is_kv(w))
    )
    weights = tuple(_outputs(w, parts if is_kv(w) else ways) for w in qkv.weights)
    return replace(qkv, weights=weights, n=(qkv.n - kv) / ways + kv / parts)


def _split_groups(product: Linear, ways: int) -> Linear:
    groups = product.weights[0].rows // product.n
    if np.any(np.asarray(groups) % ways):
        raise DovetailError(
            f"{groups} groups of heads in '{_role(product)}' do not divide over {ways} chips",
            where="tp", hint="a number of chips that divides the groups", exit_code=INFEASIBLE,
        )  # fmt: skip
    return replace(product, weights=tuple(_outputs(w, ways) for w in product.weights), m=product.m / ways)


def _role(operator: Operator) -> str:
    """The operator's name without the kind of layer it belongs to (``qkv@28`` is ``qkv``)."""
    return operator.name.partition("@")[0]


def _is_vector(weight: Weight) -> bool:
    return not weight.linear and np.ndim(weight.rows) == 0 and weight.rows == 1


def _outputs(weight: Weight, parts: Number) -> Weight:
    """One of `parts` of a matrix's rows, or of its bias."""
    if _is_vector(weight):
        return replace(weight, cols=weight.cols / parts)
    return replace(weight, rows=weight.rows / parts)
