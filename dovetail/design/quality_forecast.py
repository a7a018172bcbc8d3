"""What a recipe costs in quality on a model that is not run here: the published tables, asked for its graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Format, dtype_bytes
from dovetail.core.quantity import Quantity
from dovetail.model import Model
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Linear
from dovetail.recipe.published.forecast import Scheme, forecast
from dovetail.recipe.published.rows import PLAIN
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.targets import is_target

SMALLEST = 0.3e9  # parameters; smaller models are measured in minutes, and no table reaches them

# The first line whose words are all among the names of a recipe's methods says what the tables call it.
TABLES = (
    ({"rotation", "rtn"}, "quarot-rtn"), ({"rotation"}, "quarot"), ({"smoothquant"}, "smoothquant"),
    ({"awq"}, "awq"), ({"gptq"}, "gptq"), ({"rtn"}, "rtn"),
)  # fmt: skip
ALSO = {"rotate": "rotation", "hadamard": "rotation", "quarot": "rotation"}


@dataclass(frozen=True, slots=True)
class QualityForecast:
    """The factor by which perplexity grows, or why there is none; both empty where nothing is changed."""

    ratio: Quantity | None = None
    why: str = ""


def quality_forecast(model: Model, recipe: Recipe) -> QualityForecast:
    """Forecast what `recipe` does to the perplexity of `model`, from published tables alone.

    Integer weights, activations and caches of any bits and groups are read from the graph that the recipe leaves, so
    parts that are compressed otherwise count with their share; pruning, and floats of 8 and 4 bits, are in no table.
    """
    recipe = recipe.unguessed()  # guesses are verified: the text is the model's own
    if not recipe.methods:
        return QualityForecast()
    if any(getattr(step, "caches", "") == "policy" for step in recipe.methods):
        return QualityForecast(why="what a text loses with tokens of its cache is in no published table")
    if float(model.parameters) < SMALLEST:
        return QualityForecast(why="so small a model is in no published table; 'dovetail compress' measures it")
    return _from_tables(model, recipe, float(model.parameters))


def quality_order(model: Model, recipe: Recipe) -> float:
    """A number by which recipes can be put in an order before any of them is measured; nothing to be shown.

    The forecast, for a smaller model that of the smallest one which the tables reach; 1 where they say nothing, so that
    what nobody knows is looked at.
    """
    recipe = recipe.unguessed()
    found = _from_tables(model, recipe, max(float(model.parameters), SMALLEST)) if recipe.methods else QualityForecast()
    return 1.0 if found.ratio is None else found.ratio.value


def _from_tables(model: Model, recipe: Recipe, parameters: float) -> QualityForecast:
    try:
        parts = _schemes(recipe.rewrite(model.graph()))
        method = table_of({name: given for step in recipe.to_json()["methods"] for name, given in step.items()})
        return QualityForecast(forecast(method, parts, parameters, name=model.name))
    except DovetailError as error:
        return QualityForecast(why=f"{error.what} ({error.why})" if error.why else error.what)


def table_of(methods: Mapping[str, Mapping[str, Any]]) -> str:
    """What the tables call a recipe of these methods with their parameters; the methods' names where no table fits."""
    known = {ALSO.get(name, name) for name in methods}
    found = next((table for words, table in TABLES if words <= known), "+".join(sorted(known)))
    ordered = any("order" in key and value for given in methods.values() for key, value in given.items())
    return "gptq-r" if found == "gptq" and ordered else found  # -R: columns in the order of their activations


def _schemes(graph: Graph) -> list[Scheme]:
    """How the matrices that recipes change are stored, with their shares; those left alone cost nothing."""
    kv = min((_kept_bits(cache) for cache in graph.caches if cache.grows), default=PLAIN)
    found: Counter[Scheme] = Counter()
    for operator, form, elements in _targets(graph):
        scheme = _scheme(form, _bits(operator.act), kv)
        found[scheme] += elements
    total = sum(found.values())
    return [replace(s, share=n / total) for s, n in found.items() if (s.weight, s.act, s.kv) != (PLAIN,) * 3]


def _targets(graph: Graph) -> Iterator[tuple[Linear, Format, int]]:
    for operator in graph.operators:
        for weight in operator.weights:
            if isinstance(operator, Linear) and is_target(operator, weight):
                yield operator, weight.format, int(np.max(weight.elements)) * operator.repeat


def _scheme(form: Format, act: int, kv: int) -> Scheme:
    if form.density < 1.0:
        raise DovetailError("no forecast for pruned weights", why="the tables hold quantisation alone")
    if not form.quantised:
        return Scheme(PLAIN, act, kv)
    if not form.dtype.startswith("int"):
        raise DovetailError(f"no forecast for {form.name}", why="the tables hold integers alone")
    return Scheme(form.bits, act, kv, form.group, form.zeros)


def _kept_bits(cache: Cache) -> int:
    return _bits(cache.format) if cache.groups is None else cache.groups.bits


def _bits(dtype: str) -> int:
    return min(PLAIN, int(8 * dtype_bytes(dtype)))
