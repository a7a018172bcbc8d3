"""Tensor parallelism: every layer split over chips, two all-reduces a layer (Megatron-LM, arXiv 1909.08053).

The vocabulary is split too: each chip looks up the tokens it holds, which an all-reduce adds up, and makes its part of
the logits, which are gathered (vLLM's VocabParallelEmbedding and LogitsProcessor).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Collective, Linear, Operator, Pointwise, Scan, Weight
from dovetail.system.scan_parallel import split_scan

SUMS = ("bf16", "fp16", "fp32")  # what products are summed in, also those of narrower activations


def tensor_parallel(graph: Graph, ways: int) -> Graph:
    """What one of `ways` chips does of `graph`: shapes divided, collectives added after row-parallel products.

    KV heads, and the rows of the projections that make them, are copied where there are fewer of them than chips; so
    are the groups of a scan (`split_scan`).

    Raises
    ------
    DovetailError
        The query heads, those of a scan or the groups of a block-diagonal product do not divide by `ways`, or the KV
        heads or a scan's groups neither divide by it nor into it.
    """
    if ways == 1:
        return graph
    attention = _attention(graph)
    for heads in attention.values():
        _check(heads, ways)
    scans = {o.layers: o for o in graph.operators if isinstance(o, Scan)}
    tables = [o for o in graph.operators if isinstance(o, Pointwise) and _is_lookup(o)]
    operators: list[Operator] = []
    for operator in graph.operators:
        of_scan = split_scan(operator, ways, scans.get(operator.layers))
        operators.append(of_scan or _split(operator, ways, attention.get(operator.layers)))
        operators += _exchange(graph, operator, ways, tables)
    caches = tuple(replace(c, kv_heads=_kv_heads(c.kv_heads, ways)) for c in graph.caches)
    return replace(graph, operators=tuple(operators), caches=caches)


def _exchange(graph: Graph, operator: Operator, ways: int, tables: list[Pointwise]) -> list[Operator]:
    """The collective that a split operator needs: partial sums are reduced, logits gathered.

    A chip finds the rows that it holds of a table, and zeros for others; rows of one width, and those of positions,
    the same for all sequences, are added up before.
    """
    kind, elements = "all_reduce", graph.batch * graph.tokens * graph.hidden
    if isinstance(operator, Linear) and _role(operator) == "lm_head" and operator.split == "out":
        kind, elements = "all_gather", operator.m * operator.n
    elif isinstance(operator, Pointwise) and operator in tables:
        elements = operator.written
        after = tables[tables.index(operator) + 1 :]
        same = any(np.array_equal(table.written, elements) for table in after)
        if same or any(
            np.array_equal(table.written, elements * graph.batch) for table in tables if table is not operator
        ):
            return []
    elif not (isinstance(operator, Linear) and operator.split == "in"):
        return []
    act = getattr(operator, "otherwise", "") or getattr(operator, "act", "bf16")
    return [
        Collective(
            f"{operator.name}.{kind}",
            operator.layers,
            elements=elements,
            ways=ways,
            act=act if act in SUMS else "bf16",
            kind=kind,
        )
    ]


def _is_lookup(operator: Pointwise) -> bool:
    """Whether it reads rows of tables that are divided over the chips: of tokens or positions, once for all layers."""
    return operator.split and not operator.layers and any(not _is_vector(w) for w in operator.weights)


def divides(graph: Graph, ways: int) -> bool:
    """Whether the heads of every layer divide over `ways` chips."""
    return all(_divide(heads, ways) for heads in _attention(graph).values())


def _attention(graph: Graph) -> dict[tuple[int, ...], Attention]:
    return {o.layers: o for o in graph.operators if isinstance(o, Attention) and not o.whole}


def _divide(attention: Attention, ways: int) -> bool:
    heads, kv_heads = np.asarray(attention.heads), np.asarray(attention.kv_heads)
    return not (np.any(heads % ways) or np.any((kv_heads % ways != 0) & (ways % kv_heads != 0)))


def _check(attention: Attention, ways: int) -> None:
    if not _divide(attention, ways):
        raise DovetailError(
            f"{attention.heads} attention heads with {attention.kv_heads} KV heads do not divide over {ways} chips",
            where="tp", hint="a number of chips that divides the heads, and divides or is divided by the KV heads",
            exit_code=INFEASIBLE,
        )  # fmt: skip


def _kv_heads(kv_heads: Number, ways: int) -> Number:
    return kv_heads // np.minimum(kv_heads, ways)


def _split(operator: Operator, ways: int, attention: Attention | None) -> Operator:
    role = _role(operator)
    if isinstance(operator, Linear) and (role == "qkv" or operator.split == "heads") and attention is not None:
        return _split_heads(operator, ways, attention)
    if isinstance(operator, Linear) and operator.split == "in":
        weights = tuple(w if _is_vector(w) else replace(w, cols=w.cols / ways) for w in operator.weights)
        return replace(operator, weights=weights, k=operator.k / ways)
    if isinstance(operator, Linear) and operator.split == "group":
        return _split_groups(operator, ways)
    if isinstance(operator, Linear) and operator.split in ("out", "heads"):
        return replace(operator, weights=tuple(_outputs(w, ways) for w in operator.weights), n=operator.n / ways)
    if isinstance(operator, Attention) and not operator.whole:
        return replace(operator, heads=operator.heads // ways, kv_heads=_kv_heads(operator.kv_heads, ways))
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
