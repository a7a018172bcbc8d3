"""Latent attention against the modules transformers builds; absorbed decode and cache sizes in closed form."""

from collections.abc import Mapping
from typing import Any

import pytest

from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear
from dovetail.system.tensor_parallel import tensor_parallel
from tests.model.oracle import contraction_flops, counted_flops, inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_cache_bytes_are_those_of_a_real_cache,
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)

_BASE = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64, "q_lora_rank": 12, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "n_routed_experts": 6, "n_shared_experts": 2,
    "moe_intermediate_size": 20, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
TINY: Mapping[str, dict[str, Any]] = {
    "deepseek_v2": {"model_type": "deepseek_v2", **_BASE},
    "deepseek_v2-lite": {"model_type": "deepseek_v2", **_BASE, "q_lora_rank": None, "first_k_dense_replace": 0},
    "deepseek_v3": {"model_type": "deepseek_v3", **_BASE},
    "deepseek_v3-bias": {"model_type": "deepseek_v3", **_BASE, "attention_bias": True, "n_shared_experts": 1},
}


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    return inferring(tiny_config)


def test_expanded_flops_of_prefill_decode_and_a_chunk(tiny: Model, tiny_module: Any) -> None:
    """The module caches latents and multiplies all of them out at every step."""
    import torch

    prompt, past = torch.randint(3, 48, (3, 7)), None
    for tokens, context in ((7, 0), (1, 7), (4, 8)):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        graph = tiny.graph(3, tokens, context, logit_tokens=tokens, absorb=False)
        assert contraction_flops(graph) == counted


def products(graph: Graph, name: str) -> Linear:
    return next(o for o in graph.operators if isinstance(o, Linear) and o.name.partition("@")[0] == name)


def test_absorbed_decode_runs_over_the_latents() -> None:
    """DeepSeek-V3: 128 heads, latents of 512 channels beside 64 with positions, heads of 128."""
    graph = Model.load("deepseek-ai/DeepSeek-V3").graph(2, 1, 999)
    attention = next(o for o in graph.operators if isinstance(o, Attention))
    assert attention.executed_flops == 2 * 2 * 128 * 1000 * (576 + 512)
    # q W_UK and o W_UV for each new token, not for each cached one
    assert products(graph, "kv_b").dense_flops == 2 * 2 * 128 * 512 * (128 + 128)
    expanded = Model.load("deepseek-ai/DeepSeek-V3").graph(2, 1, 999, absorb=False)
    assert products(expanded, "kv_b").dense_flops == 1000 * products(graph, "kv_b").dense_flops
    assert expanded.parameters() == graph.parameters()


@pytest.mark.parametrize(
    ("name", "layers", "width"), [("DeepSeek-V3", 61, 576), ("DeepSeek-V2-Lite", 27, 576), ("DeepSeek-V2", 60, 576)]
)
def test_a_token_takes_one_latent_a_layer(name: str, layers: int, width: int) -> None:
    assert Model.load(f"deepseek-ai/{name}").kv_bytes_per_token == layers * width * 2


def test_chips_share_heads_and_each_keeps_all_latents() -> None:
    whole = Model.load("deepseek-ai/DeepSeek-V3").graph(2, 1, 999)
    part = tensor_parallel(whole, 8)
    for name, share in (("q_a", 1), ("kv_a", 1), ("q_b", 8), ("kv_b", 8), ("o", 8)):
        assert products(whole, name).dense_flops == share * products(part, name).dense_flops
    assert [c.elements_per_token for c in part.caches] == [c.elements_per_token for c in whole.caches]
    heads = [o.heads for o in part.operators if isinstance(o, Attention)]
    assert heads == [16] * len(heads)
