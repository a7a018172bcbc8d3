"""Llama-Nemotron: its published total, and Llama's own module where all layers are alike; it has none of its own."""

from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.system.tensor_parallel import tensor_parallel
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors, module_of, saved_parameters

_SAME = {
    "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_GROUP = {"attention": {"n_heads_in_group": 2, "no_op": False}, "ffn": {"ffn_mult": 2.625, "no_op": False}}
_LLAMA = {"model_type": "llama", **_SAME, "num_key_value_heads": 2, "intermediate_size": 256}


def config(*blocks: Any, **change: Any) -> dict[str, Any]:
    base = {"model_type": "nemotron-nas", **_SAME, "num_key_value_heads": None, "intermediate_size": None}
    return {**base, "block_configs": list(blocks), "num_hidden_layers": len(blocks), **change}


def test_alike_layers_are_a_llamas(tmp_path: Path) -> None:
    import torch

    model, module = Model.load(config(*[_GROUP] * 3)), module_of(_LLAMA)
    assert expected_tensors(model) == saved_parameters(module, tmp_path)
    prompt = torch.randint(3, 48, (2, 7))
    with torch.inference_mode():
        counted, output = counted_flops(module, input_ids=prompt)
        assert contraction_flops(model.graph(2, 7, logit_tokens=7)) == counted
        counted, _ = counted_flops(module, input_ids=prompt[:, :1], past_key_values=output.past_key_values)
    assert contraction_flops(model.graph(2, 1, 7)) == counted


def test_a_skipped_block_takes_its_norm_with_it() -> None:
    no_attention = {**_GROUP, "attention": {"n_heads_in_group": None, "no_op": True}}
    no_inner = {**_GROUP, "ffn": {"ffn_mult": None, "no_op": True}}
    whole, mixed = Model.load(config(*[_GROUP] * 3)), Model.load(config(_GROUP, no_attention, no_inner))
    attention, inner = 32 * (32 + 16 + 16 + 32) + 32, 3 * 32 * 256 + 32
    assert whole.parameters - mixed.parameters == attention + inner
    assert mixed.kv_bytes_per_token == 2 * (2 * 2 * 2 * 8)
    lost = expected_tensors(whole).keys() - expected_tensors(mixed).keys()
    assert {name for name in lost if "norm" in name} == {
        "model.layers.1.input_layernorm.weight", "model.layers.2.post_attention_layernorm.weight",
    }  # fmt: skip


def test_published_total(data_folder: Path) -> None:
    """The safetensors metadata of nvidia/Llama-3_3-Nemotron-Super-49B-v1 on the hub; 31 of 80 layers skip attention."""
    name = "nvidia--Llama-3_3-Nemotron-Super-49B-v1_config.json"
    model = Model.load(data_folder / "configs" / "aiconfigurator_hf" / name)
    assert model.parameters == 49_867_145_216
    assert model.kv_bytes_per_token == (80 - 31) * 2 * 8 * 128 * 2
    part = tensor_parallel(model.graph(2, 1, 100), 8)
    assert sum(c.elements_per_token for c in part.caches) == 49 * 2 * 128


@pytest.mark.parametrize(
    ("blocks", "field"),
    [
        ([_GROUP], "block_configs"),
        ("none", "block_configs"),
        ([_GROUP, 5, _GROUP], r"block_configs\[1\]"),
        ([_GROUP, {**_GROUP, "ffn": {"no_op": False}}, _GROUP], r"block_configs\[1\].*ffn_mult"),
        ([{**_GROUP, "attention": {"n_heads_in_group": 3}}] * 3, "n_heads_in_group"),
        ([{**_GROUP, "attention": {"n_heads_in_group": 2, "window_length": 8}}] * 3, "window_length"),
        ([{**_GROUP, "ffn": {"ffn_mult": 1.0, "replace_with_linear": True}}] * 3, "replace_with_linear"),
    ],
)
def test_what_a_search_may_also_give_is_refused_by_layer_and_field(blocks: Any, field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**config(*[_GROUP] * 3), "block_configs": blocks})
