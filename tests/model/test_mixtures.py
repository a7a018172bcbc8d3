"""Families of mixtures with windows, chunks, sinks and fused experts against the modules transformers builds."""

from collections.abc import Mapping
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from tests.model.oracle import inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_cache_bytes_are_those_of_a_real_cache,
    test_flops_of_a_chunk_with_last_logits_only,
    test_flops_of_prefill_then_decode,
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)

_BASE = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 16, "num_experts_per_tok": 2,
}  # fmt: skip
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
# Llama 4's module multiplies every token with every expert: equal to what engines do when each token meets all
_LLAMA4 = {"model_type": "llama4_text", **_BASE, "num_local_experts": 2, "intermediate_size_mlp": 56, **_ROPE}
_MIMO = {
    "model_type": "mimo_v2_flash", **_BASE, "n_routed_experts": 5, "moe_intermediate_size": 24, "v_head_dim": 12,
    "sliding_window": 5,
}  # fmt: skip
_GLM = {"model_type": "glm4_moe", **_BASE, "n_routed_experts": 5, "moe_intermediate_size": 24}
_QWEN = {
    "model_type": "qwen2_moe", **_BASE, "num_experts": 5, "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 28, "head_dim": 8,
}  # fmt: skip
_GEMMA = {
    "model_type": "gemma4_text", **_BASE, "num_key_value_heads": 2, "global_head_dim": 24, "sliding_window": 5,
    "layer_types": ["sliding_attention", "full_attention"] * 2, "hidden_size_per_layer_input": 0,
}  # fmt: skip
_BESIDE = {"enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 24}
_PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 48}
TINY: Mapping[str, dict[str, Any]] = {
    "gpt_oss": {"model_type": "gpt_oss", **_BASE, "num_local_experts": 5, "sliding_window": 5, **_ROPE},
    "llama4": {**_LLAMA4, "attention_chunk_size": 5},
    "llama4-interleaved": {
        **_LLAMA4, "attention_chunk_size": 6, "interleave_moe_layer_step": 2, "use_qk_norm": False,
        "no_rope_layer_interval": 3, "attention_bias": True,
    },
    "minimax_m2": {"model_type": "minimax_m2", **_BASE, "num_local_experts": 5, "rotary_dim": 8},
    "mimo_v2_flash": _MIMO,
    "mimo_v2_flash-listed": {
        **_MIMO, "attention_bias": True, "layer_types": ["full_attention", "sliding_attention"] * 2,
        "mlp_layer_types": ["sparse", "dense", "dense", "sparse"],
    },
    "glm4_moe": {**_GLM, "first_k_dense_replace": 2, "n_shared_experts": 2},
    "glm4_moe-norm": {**_GLM, "use_qk_norm": True, "attention_bias": True, "first_k_dense_replace": 0},
    "gemma4": {**_GEMMA, "tie_word_embeddings": False},
    "gemma4-mixture": {**_GEMMA, **_BESIDE, "attention_k_eq_v": True, "num_global_key_value_heads": 1},
    "gemma4-per-layer": {
        **_GEMMA, **_PER_LAYER, "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "attention_bias": True,
    },
    "qwen2_moe": _QWEN,
    "qwen2_moe-mixed": {
        **_QWEN, "mlp_only_layers": [3], "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 5,
        "max_window_layers": 3, "qkv_bias": False,
    },
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return {**TINY[request.param], "dtype": "float32", **ends}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    return inferring(tiny_config)


@pytest.mark.parametrize(("size", "active", "gib"), [("20b", 3.61, 12.8), ("120b", 5.13, 60.8)])
def test_gpt_oss_as_published(size: str, active: float, gib: float) -> None:
    """Table 1 of arXiv 2508.10925: active parameters, the embedding table not among them, and checkpoint size."""
    model = Model.load(f"openai/gpt-oss-{size}")
    table = model.architecture.vocab * model.architecture.hidden
    assert round((model.active_parameters - table) / 1e9, 2) == active
    assert round(model.graph().weight_bytes() / 2**30, 1) == gib


@pytest.mark.parametrize(("kind", "field", "value"), [
    ("gpt_oss", "layer_types", ["full_attention"]), ("gpt_oss", "layer_types", ["chunked_attention"] * 4),
    ("mimo_v2_flash", "moe_layer_freq", [0, 1]), ("llama4", "no_rope_layers", [1, 1, 2, 0]),
    ("gemma4", "num_kv_shared_layers", 3), ("gemma4", "use_bidirectional_attention", "all"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_named(kind: str, field: str, value: Any) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**TINY[kind], field: value})
