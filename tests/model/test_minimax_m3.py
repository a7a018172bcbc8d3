"""MiniMax-M3's language model against the module of transformers: blocks of keys, their index, fused projections."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.graph import Attention
from tests.model.oracle import inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_flops_of_a_chunk_with_last_logits_only,
    test_flops_of_prefill_then_decode,
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)

_BASE = {
    "model_type": "minimax_m3_vl_text", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 24,
    "dense_intermediate_size": 40, "shared_intermediate_size": 28, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "rotary_dim": 8, "num_local_experts": 5, "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
_INDEX = {
    "sparse_attention_freq": [0, 1, 1], "sparse_num_index_heads": 2, "sparse_index_dim": 8, "sparse_block_size": 4,
    "sparse_topk_blocks": 2, "sparse_local_block": 1,
}  # fmt: skip
_HUB = {**_BASE, "moe_layer_freq": [0, 1, 1], "sparse_attention_config": _INDEX}
TINY: Mapping[str, dict[str, Any]] = {
    "hub": _HUB,
    "listed": {
        **_BASE, "layer_types": ["minimax_m3_sparse", "full_attention", "full_attention"], "index_n_heads": 2,
        "index_head_dim": 12, "index_block_size": 3, "mlp_layer_types": ["sparse", "dense", "sparse"],
    },
    "plain": _BASE,
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Iterator[Any]:
    yield from inferring(tiny_config)


def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    import torch

    cache = tiny_module(torch.randint(3, 48, (2, 9)), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    held += sum(layer.idx_keys.nbytes for layer in cache.layers if hasattr(layer, "idx_keys"))
    assert held == 2 * tiny.kv_bytes_per_token * 2 * 9  # the module's cache is fp32


def test_a_query_attends_to_the_blocks_picked_and_the_index_scores_all(data_folder: Path) -> None:
    """16 blocks of 128 keys for 64 heads of 128 channels; four heads of the index score every key."""
    file = data_folder / "configs" / "aiconfigurator_hf" / "MiniMaxAI--MiniMax-M3_config.json"
    context = np.array([999, 4095, 131_071])
    found = {o.name: o for o in Model.load(file).graph(2, 1, context).operators if isinstance(o, Attention)}
    assert np.all(found["attention@0"].executed_flops == 2 * 2 * 64 * (context + 1) * 256)
    assert np.all(found["attention@3"].executed_flops == 2 * 2 * 64 * np.minimum(context + 1, 2048) * 256)
    assert np.all(found["index_scores@3"].executed_flops == 2 * 2 * 4 * (context + 1) * 128)


def test_public_config_holds_what_the_module_of_its_fields_holds(data_folder: Path) -> None:
    """Attention, an index in 57 of 60 layers, 57 mixtures of 128 experts and one shared; table and head."""
    file = data_folder / "configs" / "aiconfigurator_hf" / "MiniMaxAI--MiniMax-M3_config.json"
    hidden, heads = 6144, 128 * (2 * 64 + 2 * 4)
    attention = hidden * heads + 2 * 128
    index = hidden * 128 * (4 + 1) + 2 * 128
    mixture = 129 * 3 * hidden * 3072 + 128 * hidden
    total = 2 * 200_064 * hidden + hidden + 60 * (attention + 2 * hidden) + 57 * (index + mixture)
    assert Model.load(file).parameters == total + 3 * 3 * hidden * 12288
    assert Model.load(file).kv_bytes_per_token == 60 * 2 * 2 * 4 * 128 + 57 * 2 * 128


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"moe_layer_freq": [0, 2, 1]}, "moe_layer_freq"), ({"moe_layer_freq": [1]}, "moe_layer_freq"),
        ({"sparse_attention_config": {**_INDEX, "sparse_num_index_heads": 4}}, "sparse_num_index_heads"),
        ({"sparse_attention_config": {**_INDEX, "sparse_attention_freq": [1]}}, "sparse_attention_freq"),
        ({"attention_output_gate": True}, "attention_output_gate"), ({"use_gemma_norm": False}, "use_gemma_norm"),
        ({"n_shared_experts": 2}, "n_shared_experts"),
        ({"sparse_attention_config": {**_INDEX, "use_sparse_attention": False}}, "sparse_attention_config"),
        ({"qk_norm_type": "per_layer"}, "qk_norm_type"), ({"rotary_dim": 32}, "rotary_dim"),
    ],
)  # fmt: skip
def test_what_is_not_described_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**_HUB, **change})
