"""A graph whose weights have the formats their checkpoint stores them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Operator, Weight
from dovetail.model.storage.rules import KEPT, Rule, Storage

_Layers = tuple[int, ...]
_Rules = Mapping[str, Rule]  # of tensors that have any, by name


def as_stored(graph: Graph, storage: Storage) -> Graph:
    """`graph` in the formats of `storage`; an operator whose layers are not stored alike becomes several.

    Layers that shared operators and are stored differently part in all of them, so that each tensor stays in one place.
    """
    if not storage.rules:
        return graph
    together: dict[_Layers, list[str]] = {}
    for weight, layers in graph.weights():
        together.setdefault(layers, []).extend([weight.name] if weight.linear else [])
    splits = {layers: _split(storage, layers, tuple(names)) for layers, names in together.items()}
    operators = (part for o in graph.operators for part in _parted(o, splits.get(o.layers) or (_whole(o.layers),)))
    others = (
        (_formed(weight, rules), layers) for weight, whole in graph.others for layers, rules in splits[whole]
    )  # fmt: skip
    return replace(graph, operators=tuple(operators), others=tuple(others))


def _whole(layers: _Layers) -> tuple[_Layers, _Rules]:
    return layers, {}


@lru_cache(maxsize=1024)
def _split(storage: Storage, layers: _Layers, names: tuple[str, ...]) -> tuple[tuple[_Layers, _Rules], ...]:
    """`layers` in groups that store the tensors of `names` alike, with the rules of each."""
    if not layers:
        return (((), {name: storage.rule(name, 0) for name in names}),)
    groups: dict[tuple[Rule, ...], list[int]] = {}
    for layer in layers:
        groups.setdefault(tuple(storage.rule(name, layer) for name in names), []).append(layer)
    return tuple((tuple(part), dict(zip(names, rules, strict=True))) for rules, part in groups.items())


def _parted(operator: Operator, split: tuple[tuple[_Layers, _Rules], ...]) -> Iterator[Operator]:
    """`operator` once for each group of its layers, named after the first of them."""
    for layers, rules in split:
        weights = tuple(_formed(w, rules) for w in operator.weights)
        name = f"{operator.name.partition('@')[0]}@{layers[0]}" if len(split) > 1 else operator.name
        part = replace(operator, name=name, layers=layers, weights=weights)
        acts = {rules.get(w.name, KEPT).act for w in part.weights if w.linear}
        if isinstance(part, Linear) and len(acts) == 1 and (act := acts.pop()):
            part = replace(part, act=act, otherwise=part.act)
        yield part


def _formed(weight: Weight, rules: _Rules) -> Weight:
    form = rules[weight.name].form if weight.linear and weight.name in rules else None
    if form is None:
        return weight
    if form.extra and weight.experts > 1 and weight.name.endswith("gate_up_proj"):
        form = replace(form, extra=2 * form.extra)  # two matrices, each with its own scales
    kept = weight.format  # zeros stay zeros
    return replace(weight, format=replace(form, density=kept.density, pattern=kept.pattern))
