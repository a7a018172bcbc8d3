"""A tiny member of every family and of its variants, as our config and as the transformers module."""

from collections.abc import Mapping
from typing import Any

import pytest

from dovetail.model import Model
from tests.model.oracle import inferring

_LLAMA = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
_GPT2 = {"model_type": "gpt2", "vocab_size": 48, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_MOE = {"num_experts_per_tok": 2}
TINY: Mapping[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_LLAMA},
    "llama-bias-tied": {
        "model_type": "llama", **_LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True,
    },
    "llama-wide-heads": {"model_type": "llama", **_LLAMA, "head_dim": 16},
    "mistral": {"model_type": "mistral", **_LLAMA, "sliding_window": None},
    "mistral-window": {"model_type": "mistral", **_LLAMA, "sliding_window": 5},
    "qwen2": {"model_type": "qwen2", **_LLAMA},
    "qwen2-window": {
        "model_type": "qwen2", **_LLAMA, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", **_LLAMA, "tie_word_embeddings": True},
    "qwen3-bias": {"model_type": "qwen3", **_LLAMA, "head_dim": 8, "attention_bias": True},
    "qwen3_moe": {"model_type": "qwen3_moe", **_LLAMA, **_MOE, "num_experts": 5, "moe_intermediate_size": 24},
    "qwen3_moe-mixed": {
        "model_type": "qwen3_moe", **_LLAMA, **_MOE, "num_experts": 5, "moe_intermediate_size": 24,
        "mlp_only_layers": [0], "decoder_sparse_step": 2,
    },
    "mixtral": {"model_type": "mixtral", **_LLAMA, **_MOE, "num_local_experts": 4},
    "gpt2": _GPT2,
    "gpt2-untied": {**_GPT2, "n_inner": 48, "tie_word_embeddings": False},
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="package")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="package")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="package")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    """The same model as transformers builds it: random weights, eager attention, experts one by one."""
    return inferring(tiny_config)
