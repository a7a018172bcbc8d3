"""Methods of the cache: bytes, votes and steps as predicted are those executed, for every method and composition."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dovetail.core.errors import DovetailError
from dovetail.cost.memory import cache_bytes
from dovetail.hardware.host import host_machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Pointwise
from dovetail.recipe.method import METHODS, OnCache
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache.policy import Held
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import load

CACHING = [name for name in METHODS if hasattr(METHODS[name], "caches")]
EXAMPLES = [example for name in CACHING for example in METHODS[name].examples((128, 256))]
POLICIES = [one for one in EXAMPLES if one.caches == "policy"]
PAIRS = [*product(POLICIES[::2], [METHODS["kv-int4"](8, 8), METHODS["kv-int8"](5, 16)])]
CASES = [*((one,) for one in EXAMPLES), *PAIRS]
BATCH = 2


def graph_of(folder: Path, methods: tuple[Any, ...], tokens: int, context: int) -> Graph:
    return Recipe("one", methods).rewrite(Model.load(str(folder)).graph(batch=BATCH, tokens=tokens, context=context))


def predicted(graph: Graph) -> float:
    machine = host_machine()
    return float(sum(cache_bytes(cache, machine) for cache in graph.caches))


@pytest.mark.parametrize("methods", CASES, ids=lambda methods: "+".join(map(str, methods)))
@pytest.mark.parametrize("model", ["llama", "stories260K"])
def test_bytes_of_the_cache_are_as_predicted(
    model_folder: Callable[[str], Path], model: str, methods: tuple[OnCache, ...]
) -> None:
    """After prompts below, at and beyond the budget, and after every step from there."""
    folder = model_folder(model)
    runner, plan = runner_of(load(folder)), Recipe("one", methods).on_cache()  # type: ignore[arg-type]
    assert plan is not None
    source = torch.Generator().manual_seed(0)
    for length in (3, 23, 24, 40, 49):
        ids = torch.randint(90, (length,), generator=source)
        with torch.inference_mode():
            cache = plan.cache(runner)
            for _ in range(BATCH):
                cache.join(plan.prefilled(runner, ids)[0])
            assert cache.bytes == predicted(graph_of(folder, methods, length, 0))
            for step in range(12):
                runner.forward(torch.ones(BATCH, 1, dtype=torch.long), cache)
                cache.keep([1] * BATCH)
                cache.settle()
                assert cache.bytes == predicted(graph_of(folder, methods, 1, length + step))


@pytest.mark.parametrize("method", POLICIES, ids=str)
def test_a_step_reads_what_the_one_before_left(model_folder: Callable[[str], Path], method: Any) -> None:
    folder = model_folder("llama")
    runner, plan = runner_of(load(folder)), method.on_cache(Recipe("one", (method,)).on_cache())
    with torch.inference_mode():
        cache, _ = plan.prefilled(runner, torch.arange(45))
    graph = graph_of(folder, (method,), 1, 45)
    read = {layer: o for o in graph.operators if isinstance(o, Attention) for layer in o.layers}
    for layer, held in enumerate(cache.held[:, 0]):
        assert read[layer].kv_heads * (read[layer].kv_len - 1) == held.sum()


@pytest.mark.parametrize("method", [m for m in POLICIES if m.policy().observed], ids=str)
def test_votes_take_the_flops_that_are_predicted(model_folder: Callable[[str], Path], method: Any) -> None:
    """By torch's counter, of one sequence and layer; once for a prompt, and every `slack` tokens after."""
    graph, policy = graph_of(model_folder("llama"), (method,), 45, 0), method.policy()
    votes = [o for o in graph.operators if isinstance(o, Pointwise) and o.name.startswith("kv_select")]
    attention = next(o for o in graph.operators if isinstance(o, Attention))
    heads, channels = int(attention.kv_heads), int(attention.head_dim)
    group = int(attention.heads) // heads
    held = Held(torch.randn(heads, 45, channels), torch.randn(heads, 45, channels),
                torch.randn(heads, group, policy.observed, channels), None, None, 45)  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        policy.scores(held)
    assert all(float(one.dense_flops) == BATCH * counter.get_total_flops() for one in votes)
    layers = [layer for one in votes for layer in one.layers]
    assert sorted(layers) == list(range(len(layers)))
    assert len(layers) == Model.load(str(model_folder("llama"))).layers
    short = graph_of(model_folder("llama"), (method,), 9, 0)
    assert all(float(o.dense_flops) == 0 for o in short.operators if o.name.startswith("kv_select"))


@pytest.mark.parametrize("method", EXAMPLES, ids=str)
def test_what_is_stored_and_multiplied_stays(model_folder: Callable[[str], Path], method: Any) -> None:
    """A prompt is attended whole; weights are as they were; arrays of contexts are columns."""
    folder = model_folder("llama")
    plain = Model.load(str(folder)).graph(batch=BATCH, tokens=45, context=0)
    found = graph_of(folder, (method,), 45, 0)
    assert found.weight_bytes() == plain.weight_bytes()
    wide, narrow = (sum(float(o.executed_flops) * o.repeat for o in g.operators if isinstance(o, Attention))
                    for g in (plain, found))  # fmt: skip
    assert wide == narrow
    contexts = np.array([1, 20, 44, 300, 301])
    columns = predicted_columns(graph_of(folder, (method,), 1, contexts))  # type: ignore[arg-type]
    assert columns.tolist() == [predicted(graph_of(folder, (method,), 1, int(c))) for c in contexts]


def predicted_columns(graph: Graph) -> np.ndarray:
    machine = host_machine()
    return np.asarray(sum(cache_bytes(cache, machine) for cache in graph.caches))


@pytest.mark.parametrize("guess", ["lookup", "medusa"])
@pytest.mark.parametrize("methods", CASES, ids=lambda methods: "+".join(map(str, methods)))
def test_guesses_are_verified_over_what_is_held(
    model_folder: Callable[[str], Path], methods: tuple[Any, ...], guess: str
) -> None:
    """Whatever their order in the recipe: all of a step's tokens are read beside what was held, and may be kept."""
    folder, guesses = model_folder("llama"), METHODS[guess]()
    one, other = (graph_of(folder, order, 1, 45) for order in ((*methods, guesses), (guesses, *reversed(methods))))
    assert one == other
    plain = graph_of(folder, methods, 1, 45)
    wide = {(o.name, o.layers): o for o in one.operators}
    for operator in plain.operators:
        if isinstance(operator, Attention):
            found = wide[operator.name, operator.layers]
            assert isinstance(found, Attention)
            assert found.kv_len == operator.kv_len + one.tokens - 1
            assert found.groups == operator.groups
    assert [c.length for c in one.caches[: len(plain.caches)]] == [c.length + one.tokens - 1 for c in plain.caches]


def test_all_at_once_is_executed(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Weights of 8 bits, votes, packed caches and guesses in one recipe: tokens are those without the guesses."""
    folder = model_folder("stories260K")
    recipe = Recipe.load("rtn:bits=8,group=0+snapkv:keep=24,window=8,slack=100+kv-int8:group=8+lookup:length=3")
    loaded = load(recipe.of_weights().apply(folder, tmp_path / "m").path)
    prompt, plan = [*range(5, 45)] * 2, recipe.on_cache()
    guessing = Loop(runner_of(loaded), 30, Sampling(), plan=plan, proposer=recipe.on_decoding(loaded)).run([prompt])
    plain = Loop(runner_of(loaded), 30, Sampling(), plan=plan).run([prompt])
    assert guessing.tokens == plain.tokens
    graph = graph_of(folder, recipe.methods[1:3], 1, len(prompt) + 28)
    assert plain.cache_bytes * BATCH == predicted(graph)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [("snapkv+h2o", "both decide which tokens"), ("kv-int4+snapkv+kv-int8", "both decide how"),
     ("snapkv:keep=20", "32 tokens have to stay"), ("kv-int4:group=0", "groups of 0 tokens"),
     ("snapkv+", "unknown recipe ''"), ("snapkv+kv-int5", "did you mean 'kv-int")],
)  # fmt: skip
def test_what_a_recipe_cannot_have(recipe: str, says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        Recipe.load(recipe)


@pytest.mark.parametrize("name", CACHING)
@pytest.mark.parametrize("model", ["deepseek-ai/DeepSeek-V3", "google/gemma-3-4b-it", "AntonV/mamba2-130m-hf"])
def test_other_caches_are_refused(name: str, model: str) -> None:
    with pytest.raises(DovetailError, match="cannot cut the cache"):
        METHODS[name]().rewrite(Model.load(model).graph(batch=1, tokens=1, context=4096))
