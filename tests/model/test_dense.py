"""Dense families beside Llama against the modules transformers builds: Gemma, Phi, GLM, OPT, OLMo and others."""

from collections.abc import Mapping
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from tests.model.oracle import inferring
from tests.model.test_against_transformers import test_cache_bytes_are_those_of_a_real_cache as cache_bytes_are_equal
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_flops_of_a_chunk_with_last_logits_only,
    test_flops_of_prefill_then_decode,
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)

_LLAMA = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
_GEMMA = {**_LLAMA, "head_dim": 16, "sliding_window": 5}
_OPT = {
    "model_type": "opt", "vocab_size": 48, "hidden_size": 32, "ffn_dim": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 32,
}  # fmt: skip
_MPT = {"model_type": "mpt", "vocab_size": 48, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}
_FALCON = {
    "model_type": "falcon", "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED = {"new_decoder_architecture": True, "num_kv_heads": 2}
TINY: Mapping[str, dict[str, Any]] = {
    "gemma": {"model_type": "gemma", **_GEMMA, "sliding_window": None},
    "gemma2": {"model_type": "gemma2", **_GEMMA},
    "gemma3": {"model_type": "gemma3_text", **_GEMMA, "num_hidden_layers": 7},
    "gemma3-listed": {
        "model_type": "gemma3_text", **_GEMMA, "layer_types": ["full_attention", "sliding_attention"] * 2,
        "attention_bias": True,
    },
    "phi": {"model_type": "phi", **_LLAMA},
    "phi-norm": {"model_type": "phi", **_LLAMA, "qk_layernorm": True},
    "phi3": {"model_type": "phi3", **_LLAMA, "pad_token_id": 0, "sliding_window": None},
    "phi3-window": {"model_type": "phi3", **_LLAMA, "pad_token_id": 0, "sliding_window": 5},
    "glm": {"model_type": "glm", **_LLAMA, "head_dim": 8, "pad_token_id": 0, "attention_bias": True},
    "glm4": {"model_type": "glm4", **_LLAMA, "head_dim": 8, "pad_token_id": 0, "attention_bias": False},
    "opt": _OPT,
    "opt-projected": {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "enable_bias": False},
    "mpt": _MPT,
    "falcon": _FALCON,
    "falcon-in-turn": {**_FALCON, "parallel_attn": False, "multi_query": False, "bias": True, "alibi": True},
    "falcon-grouped": {**_FALCON, **_GROUPED},
    "gpt_neox": {"model_type": "gpt_neox", **_LLAMA, "rotary_pct": 0.25},
    "gpt_neox-in-turn": {
        "model_type": "gpt_neox", **_LLAMA, "rotary_pct": 0.5, "use_parallel_residual": False, "attention_bias": False,
    },
    "stablelm": {"model_type": "stablelm", **_LLAMA},
    "stablelm-parallel": {
        "model_type": "stablelm", **_LLAMA, "use_parallel_residual": True, "use_qkv_bias": True,
        "tie_word_embeddings": True,
    },
    "olmo": {"model_type": "olmo", **_LLAMA, "pad_token_id": 0},
    "olmo2": {"model_type": "olmo2", **_LLAMA, "pad_token_id": 0, "attention_bias": True},
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    """The same model as transformers builds it: random weights, eager attention."""
    return inferring(tiny_config)


def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    if tiny.config.get("new_decoder_architecture"):
        pytest.skip("transformers repeats Falcon's grouped keys and values for every head before it caches them")
    cache_bytes_are_equal(tiny, tiny_module)


def test_grouped_falcon_caches_its_kv_heads_once() -> None:
    """40B: 60 layers, 8 KV heads of 64, keys and values, two bytes."""
    assert Model.load("tiiuae/falcon-40b").kv_bytes_per_token == 60 * 8 * 64 * 2 * 2


@pytest.mark.parametrize(
    "name",
    [
        "openai-community/gpt2", "facebook/opt-125m", "mosaicml/mpt-7b", "tiiuae/falcon-7b",
        "google-bert/bert-base-uncased",
    ],
)  # fmt: skip
def test_heads_that_do_not_make_up_the_hidden_size_are_refused(name: str) -> None:
    config = dict(Model.load(name).config)
    with pytest.raises(DovetailError, match=r"head_dim: \d+ heads of 7 channels are not the hidden size of \d+"):
        Model.load({**config, "head_dim": 7})
