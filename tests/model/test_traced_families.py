"""Models read from the modules of `transformers`, against configs of the same models and a real cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading modules needs the torch extra")

import dovetail as dt  # noqa: E402
from dovetail.model import Model  # noqa: E402
from dovetail.model.graph import Graph  # noqa: E402
from dovetail.model.operators import Attention, Collective, Linear  # noqa: E402
from dovetail.system.tensor_parallel import tensor_parallel  # noqa: E402
from tests.model.conftest import TINY  # noqa: E402
from tests.model.oracle import contraction_flops, counted_flops, module_of  # noqa: E402

FAMILIES = [
    ("llama", "sdpa"), ("llama-bias-tied", "eager"), ("qwen3", "sdpa"), ("qwen2-window", "sdpa"),
    ("qwen2-window", "eager"), ("gpt2", "eager"), ("gpt2-untied", "sdpa"),
]  # fmt: skip


@cache
def family(name: str, attention: str) -> tuple[Model, Model, Any]:
    """From a config, from the module that transformers builds of it, and that module."""
    fields = {**TINY[name], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
    built = module_of(fields)
    built.set_attn_implementation(attention)
    return Model.load(fields), Model.from_module(built), built


def product_flops(graph: Graph) -> Any:
    return sum(o.dense_flops * o.repeat for o in graph.operators if isinstance(o, Linear | Attention))


@pytest.mark.parametrize(("name", "attention"), FAMILIES)
def test_a_module_and_its_config_are_one_model(name: str, attention: str) -> None:
    config, found, built = family(name, attention)
    assert found.parameters == config.parameters == sum(p.numel() for p in built.parameters())
    assert found.kv_bytes_per_token == config.kv_bytes_per_token
    assert (found.layers, found.architecture.tied) == (config.layers, config.architecture.tied)
    names = [{n for w, layers in m.graph().weights() for n in w.tensors(layers)} for m in (config, found)]
    assert names[0] == names[1]
    steps = {"batch": np.array([1, 2, 5])[:, None], "tokens": np.array([1, 4, 30]), "context": 9, "logit_tokens": 1}
    graphs = [m.graph(**steps) for m in (config, found)]
    assert np.array_equal(product_flops(graphs[0]), product_flops(graphs[1]))
    caches = [sum(c.batch * c.length * c.elements_per_token for c in g.caches) for g in graphs]
    assert np.array_equal(*caches)


@pytest.mark.parametrize("name", ["llama-bias-tied", "gpt2"])
def test_a_decode_step_is_one_with_a_real_cache(name: str) -> None:
    _, found, built = family(name, "eager")
    with torch.inference_mode():
        flops, out = counted_flops(built, input_ids=torch.zeros(2, 9, dtype=torch.long))
        assert contraction_flops(found.graph(2, 9, logit_tokens=9)) == flops
        step = torch.zeros(2, 1, dtype=torch.long)
        flops, _ = counted_flops(built, input_ids=step, past_key_values=out.past_key_values)
    assert contraction_flops(found.graph(2, 1, 9)) == flops
    held = sum(t.nbytes for layer in out.past_key_values.layers for t in (layer.keys, layer.values))
    assert 2 * 10 * 2 * found.kv_bytes_per_token == held  # fp32 there, bf16 here; 10 tokens of 2 sequences


@pytest.mark.parametrize("on", ["h100-sxm", "2 x h100-sxm"])
@pytest.mark.parametrize(("name", "attention"), FAMILIES[:2])
def test_estimates_of_a_module_and_its_config_agree(name: str, attention: str, on: str) -> None:
    """Not only products: elementwise work, launches and all-reduces too, but for what a rotary reads of its tables."""
    config, found, _ = family(name, attention)
    work = dt.Workload.chat(prompt=24, output=8, batch=np.array([1, 16, 64]))
    a, b = (dt.estimate(m, on=on, workload=work).metrics for m in (config, found))
    assert np.allclose(a.ttft_s, b.ttft_s, rtol=2e-3)
    assert np.allclose(a.tpot_s, b.tpot_s, rtol=2e-3)
    assert np.array_equal(a.memory.weights, b.memory.weights)
    assert np.array_equal(a.memory.kv_cache, b.memory.kv_cache)
    assert np.allclose(a.memory.total, b.memory.total, rtol=2e-3)


@pytest.mark.parametrize("ways", [2, 4])
@pytest.mark.parametrize(("name", "attention"), [FAMILIES[1], FAMILIES[-1]])
def test_chips_share_a_module_as_they_share_its_config(name: str, attention: str, ways: int) -> None:
    """Four chips hold a copy each of two KV heads; whatever is divided is divided alike."""
    config, found, _ = family(name, attention)
    a, b = (tensor_parallel(m.graph(batch=3, tokens=5, logit_tokens=5), ways) for m in (config, found))
    assert a.weight_bytes() == b.weight_bytes()
    assert product_flops(a) == product_flops(b)
    assert [(c.kv_heads, c.head_dim) for c in a.caches] == [(c.kv_heads, c.head_dim) for c in b.caches]
    sent = [sum(o.elements * o.repeat for o in g.operators if isinstance(o, Collective)) for g in (a, b)]
    assert sent[0] == sent[1] > 0


def test_recipes_find_the_matrices() -> None:
    config, found, _ = family("llama", "sdpa")
    recipe = dt.Recipe.load("w4a16-rtn:group=8")
    assert recipe.rewrite(found.graph()).weight_bytes() == recipe.rewrite(config.graph()).weight_bytes()
    assert recipe.rewrite(found.graph()).weight_bytes() < found.graph().weight_bytes()
