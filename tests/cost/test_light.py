"""The speed of light: closed forms, and that no operator beats it unless a cache holds its bytes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost import evaluate
from dovetail.cost.light import speed_of_light_s
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.model.operators import Collective, Linear, Weight
from dovetail.recipe.recipe import Recipe

MODELS = [
    Model.load(name)
    for name in (
        "Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.1-8B", "mistralai/Mixtral-8x7B-v0.1", "google/gemma-3-27b-it",
        "deepseek-ai/DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V3", "openai/gpt-oss-20b",
    )
]  # fmt: skip
MACHINES = [load_machine(name) for name in ("a100-sxm", "h100-sxm", "h200-sxm", "l40s", "mi300x", "tpu-v6e", "host")]
RECIPES = [Recipe.load(name) for name in ("none", "w4a16-rtn", "w8a16")]
SLACK = 1 + 1e-9

models, machines, recipes = st.sampled_from(MODELS), st.sampled_from(MACHINES), st.sampled_from(RECIPES)
shapes = st.tuples(st.integers(1, 512), st.one_of(st.just(1), st.integers(1, 4000)), st.integers(0, 30_000))


def graph_of(model: Model, recipe: Recipe, shape: tuple[int, int, int]) -> Any:
    batch, tokens, context = shape
    graph = model.graph(batch=batch, tokens=tokens, context=context)
    return (
        recipe.rewrite(graph) if model in MODELS[:4] else graph
    )  # groups of 128 do not divide the others, or are stored


@given(models, machines, recipes, shapes)
def test_no_operator_is_faster_than_light_where_nothing_is_cached(model, machine, recipe, shape) -> None:
    bare, graph = replace(machine, caches=()), graph_of(model, recipe, shape)
    for operator, cost in zip(graph.operators, evaluate(graph, bare).operators, strict=True):
        assert cost.time_s * SLACK >= speed_of_light_s(operator, bare), operator.name


@given(models, machines, recipes, shapes)
def test_what_is_faster_than_light_has_bytes_in_a_cache(model, machine, recipe, shape) -> None:
    graph = graph_of(model, recipe, shape)
    for operator, cost in zip(graph.operators, evaluate(graph, machine).operators, strict=True):
        if cost.time_s * SLACK < speed_of_light_s(operator, machine):
            assert cost.cache_bytes > 0, operator.name
            assert cost.bytes / machine.memory.bandwidth <= cost.time_s, operator.name
            assert cost.flops / max(machine.peak.values()) <= cost.time_s, operator.name


@given(st.integers(1, 4000), st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 90))
def test_of_a_product_it_is_the_roofline_of_the_datasheet(m: int, n: int, k: int, layers: int) -> None:
    chip = load_machine("h100-sxm")
    product = Linear(name="p", layers=tuple(range(layers)), weights=(Weight("w", n, k),), m=m, k=k, n=n)
    by_hand = max(2 * m * n * k / 989.4e12, 2 * (m * k + n * k + m * n) / 3.35e12)
    assert speed_of_light_s(product, chip) == pytest.approx(layers * by_hand, rel=1e-12)


@pytest.mark.parametrize(("on", "ways"), [("8 x h100-sxm", 8), ("4 x a100-sxm", 4), ("8 x mi300x", 8)])
@given(size=st.integers(1, 10**9))
def test_of_an_all_reduce_it_is_what_each_chip_must_send(on: str, ways: int, size: int) -> None:
    """Twice (w - 1) / w of the message, or once and its own part where the switch adds up."""
    node: Machine = load_machine(on)
    found = speed_of_light_s(Collective(name="r", kind="all_reduce", elements=size, ways=ways), node)
    sent = 2 * size * np.array([2 * (ways - 1) / ways, 1 + 1 / ways])
    assert np.isclose(found, sent / float(np.max(node.link)), rtol=1e-9).any()


def test_arrays_are_points() -> None:
    chip, batch = load_machine("h100-sxm"), np.arange(1, 50)
    together = MODELS[1].graph(batch=batch, tokens=1, context=2048)
    for i in (0, 7, 48):
        alone = MODELS[1].graph(batch=int(batch[i]), tokens=1, context=2048)
        for one, other in zip(together.operators, alone.operators, strict=True):
            found = np.broadcast_to(speed_of_light_s(one, chip), batch.shape)[i]
            assert found == pytest.approx(speed_of_light_s(other, chip), rel=1e-12)
