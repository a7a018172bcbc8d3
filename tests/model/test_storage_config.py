"""What a config says of how its checkpoint is stored: lists of layers by name, and contradictions by field."""

from __future__ import annotations

from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.storage.names import Names

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
LLAMA = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def stored(quantization: Any) -> Model:
    return Model.load({**LLAMA, "quantization_config": quantization})


def modelopt(algorithm: str, **rest: Any) -> dict[str, Any]:
    return {"quant_method": "modelopt", "quant_algo": algorithm, **rest}


@pytest.mark.parametrize(
    ("pattern", "named", "others"),
    [
        ("gate", "model.layers.3.mlp.gate", "model.layers.3.mlp.gate_proj"),
        ("model.layers.1.*", "model.layers.1.mlp.up_proj", "model.layers.10.mlp.up_proj"),
        ("model.layers.1*", "model.layers.10.mlp.up_proj", "model.layers.20.mlp.up_proj"),
        ("model.layers.1.mlp", "model.layers.1.mlp.up_proj", "model.layers.11.mlp.up_proj"),
        ("model.layers.*.self_attn", "model.layers.7.self_attn.q_proj", "model.layers.7.mlp.up_proj"),
        ("re:.*self_attn.*", "model.layers.7.self_attn.q_proj", "model.layers.7.mlp.up_proj"),
        ("re:.*mlp\\.(gate|up)_proj.*", "model.layers.0.mlp.up_proj", "model.layers.0.mlp.experts.0.up_proj"),
        ("language_model.model.layers.0*", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"),
        ("language_model.lm_head", "lm_head", "model.layers.1.mlp.up_proj"),
        ("model.layers.2.mlp.experts.0.w1", "model.layers.2.mlp.experts.gate_up_proj", "model.layers.2.mlp.gate"),
        ("model.visual*", "model.visual.blocks.0.attn.qkv", "model.layers.0.self_attn.q_proj"),
        ("re:.*layers.0.*", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"),
    ],
)  # fmt: skip
def test_a_list_names_layers_and_what_is_below_them(pattern: str, named: str, others: str) -> None:
    assert named in Names((pattern,))
    assert others not in Names((pattern,))


@pytest.mark.parametrize(
    ("quantization", "field"),
    [
        ({"quant_method": "fp9"}, "quant_method: unknown method 'fp9'"),
        ({"weight_block_size": [128, 128]}, "quant_method: missing"),
        ({**FP8, "weight_block_size": [128, 0]}, "weight_block_size"),
        ({**FP8, "weight_block_size": 128}, "weight_block_size"),
        ({**FP8, "fmt": "int8"}, "fmt"),
        ({**FP8, "num_bits": 3}, "num_bits: fp8 of 3 bits"),
        ({**FP8, "activation_scheme": "sometimes"}, "activation_scheme"),
        ({**FP8, "modules_to_not_convert": "lm_head"}, "modules_to_not_convert"),
        (modelopt("FP7"), "quant_algo: unknown form 'FP7'"),
        (modelopt("NVFP4", group_size=0), "group_size: 0"),
        (modelopt("NVFP4", group_size=32), "group_size: NVFP4 in groups of 32"),
        (modelopt("MIXED_PRECISION"), "quantized_layers"),
        ({"quant_method": "gptq", "bits": 5}, "bits: gptq of 5 bits"),
        ({"quant_method": "awq", "bits": 4, "group_size": 0}, "group_size: 0"),
        ("int4", "quantization_config"),
        (modelopt("FP8", ignore=["re:(lm_head"]), "ignore: .*not a regular expression"),
    ],
)  # fmt: skip
def test_an_inconsistent_config_is_refused_by_field(quantization: Any, field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        stored(quantization)


def test_groups_without_a_format_are_not_guessed() -> None:
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32}}
    with pytest.raises(DovetailError, match="format: missing"):
        stored({"quant_method": "compressed-tensors", "config_groups": {"g": group}})
    tried = stored({"quant_method": "compressed-tensors", "format": "fakequant", "config_groups": {"g": group}})
    assert {w.format.name for w, _ in tried.graph().weights()} == {"bf16"}
    stored({"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"]}}})


@pytest.mark.parametrize(
    ("form", "weights", "field"),
    [
        ("packed", {}, "format: unknown format 'packed'"),
        ("float-quantized", {"num_bits": 3, "type": "float"}, "num_bits: floats of 3 bits"),
        ("pack-quantized", {"num_bits": 9}, "num_bits: 9"),
        ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 0}, "group_size: 0"),
        ("pack-quantized", {"num_bits": 4, "strategy": "group"}, "group_size: missing"),
        ("pack-quantized", {"num_bits": 4, "type": "float"}, "type"),
        ("pack-quantized", {"num_bits": 4, "strategy": "rows"}, "strategy"),
        ("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "group_size": 32}, "group_size: groups of 32"),
    ],
)
def test_groups_of_layers_that_their_format_cannot_have_are_refused(form: str, weights: Any, field: str) -> None:
    written = {"format": form, "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    with pytest.raises(DovetailError, match=field):
        stored(written)


@pytest.mark.parametrize("method", ["quark", "bitsandbytes"])
def test_a_form_that_is_not_described_is_counted_in_the_dtype_of_the_config_and_said(method: str) -> None:
    model = stored({"quant_method": method})
    assert model.graph().weight_bytes() == Model.load(LLAMA).graph().weight_bytes()
    assert model.storage.unread == method


def test_configs_that_only_look_quantised_are_plain() -> None:
    for plain in ({}, None, {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}):
        assert {w.format.name for w, _ in stored(plain).graph().weights()} == {"bf16"}
