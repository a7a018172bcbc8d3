"""A chain of guesses by something that runs once for each: a smaller model, the first layers, a layer of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Attention, Operator, Weight
from dovetail.recipe.speculation.guessing import Guessing, is_decode


def drafted(
    graph: Graph, operators: Sequence[Operator], caches: Sequence[Cache], length: int, name: str
) -> Guessing:  # fmt: skip
    """The `operators` of one pass of what drafts as `length` passes, each behind one more token.

    Parameters
    ----------
    graph : Graph
        The model's: in a prefill, what drafts reads the prompt once.
    """
    count = length if is_decode(graph) else 1
    passes = (_after(o, index, f"{name}{index}") for index in range(count) for o in operators)
    grown = tuple(replace(c, length=c.length + (count - 1)) if c.grows else c for c in caches)
    return Guessing(tuple(passes), grown if is_decode(graph) else (), reads=True)


def _after(operator: Operator, more: int, tag: str) -> Operator:
    named = replace(operator, name=f"{operator.name}@{tag}")
    return replace(named, kv_len=named.kv_len + more) if isinstance(named, Attention) else named


def first_layers(graph: Graph, layers: int) -> tuple[tuple[Operator, ...], tuple[Cache, ...]]:
    """What `graph` does once, and in its first `layers`: operators and caches."""
    operators = (replace(o, layers=_below(o.layers, layers)) if o.layers else o for o in graph.operators)
    kept = (o for o, whole in zip(operators, graph.operators, strict=True) if o.layers or not whole.layers)
    caches = (replace(c, layers=_below(c.layers, layers)) for c in graph.caches)
    return tuple(kept), tuple(c for c in caches if c.layers)


def _below(layers: tuple[int, ...], end: int) -> tuple[int, ...]:
    return tuple(layer for layer in layers if layer < end)


def layer_count(graph: Graph) -> int:
    """Decoder layers of a graph."""
    return 1 + max((layer for operator in graph.operators for layer in operator.layers), default=-1)


def behind(
    operators: Sequence[Operator], caches: Sequence[Cache], graph: Graph, own: Callable[[Weight], Weight]
) -> tuple[tuple[Operator, ...], tuple[Cache, ...]]:
    """Operators and caches of another model beside those of `graph`: layers follow its own, weights are by `own`."""
    first = layer_count(graph)

    def moved(operator: Operator) -> Operator:
        layers = tuple(layer + first for layer in operator.layers)
        return replace(operator, layers=layers, weights=tuple(map(own, operator.weights)))

    return tuple(map(moved, operators)), tuple(
        replace(c, layers=tuple(layer + first for layer in c.layers)) for c in caches
    )
