"""A compressed checkpoint is described as it is stored: the bytes of its tensors, layer by layer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dovetail.model import Model
from dovetail.model.config import Config
from dovetail.model.operators import Linear
from dovetail.model.storage import storage_of
from dovetail.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from tests.model.published import HUB

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
LLAMA = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 320, "intermediate_size": 416, "num_hidden_layers": 3,
    "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 64,
}  # fmt: skip
MOE = {
    **LLAMA, "model_type": "qwen3_moe", "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
    "mlp_only_layers": [0],
}  # fmt: skip


def stored(config: dict[str, Any], quantization: dict[str, Any] | None) -> Model:
    return Model.load({**config, "quantization_config": quantization})


def formats(model: Model) -> dict[str, str]:
    """The format of every matrix of a linear layer, by its name in the checkpoint."""
    held = ((w, layers) for w, layers in model.graph().weights() if w.linear)
    return {name: w.format.name for w, layers in held for name in w.tensors(layers)}


@pytest.mark.parametrize("recipe", ["w8a16", "w4a16-rtn", "w3a16-rtn:group=64", "w2a16-rtn:group=0", "prune50"])
def test_the_graph_of_a_compressed_folder_has_the_bytes_of_its_file(recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="compressing needs the torch extra")
    base = Model.load("embedded")
    if base.folder is None:
        pytest.skip("the embedded model's weights are not here")
    applied = Recipe.load(recipe).apply(base.folder, tmp_path / "applied")
    model = Model.load(str(applied.path))
    assert model.graph().weight_bytes() == Checkpoint.open(applied.path).payload_bytes == applied.bytes_after
    assert model.parameters == base.parameters


def test_deepseek_v3_has_the_elements_of_each_dtype_that_its_safetensors_have() -> None:
    """The hub's count of elements by dtype; beside the graph: the predictor of multi-token prediction, and biases."""
    bf16, fp8, fp32 = 3_918_786_560, 680_571_043_840, 41_555_600
    assert bf16 + fp8 + fp32 == HUB["deepseek-ai/DeepSeek-V3"]
    found: Counter[str] = Counter()
    for weight, layers in Model.load("deepseek-ai/DeepSeek-V3").graph().weights():
        count = len(layers) or 1
        found[weight.format.dtype] += weight.elements * count
        found["fp32"] += int(weight.format.scale_bytes(weight.rows, weight.cols)) // 4 * weight.experts * count
    hidden, vocab, experts = 7168, 129280, 256
    shapes = {
        "q_a": (1536, hidden), "q_b": (24576, 1536), "kv_a": (576, hidden), "kv_b": (32768, 512), "o": (hidden, 16384),
        "experts": (3 * (experts + 1) * 2048, hidden),  # 2048 is whole blocks, so one tall matrix has the same scales
    }  # fmt: skip
    matrices = sum(rows * cols for rows, cols in shapes.values())
    norms = 2 * hidden + 1536 + 512 + 3 * hidden  # of the layer and its latents; of both inputs and the output
    assert fp8 - found["fp8_block"] == matrices
    assert bf16 - found["bf16"] == 2 * vocab * hidden + 2 * hidden * hidden + experts * hidden + norms
    blocks = sum(-(-rows // 128) * -(-cols // 128) for rows, cols in shapes.values())
    assert fp32 - found["fp32"] == blocks + 59 * experts


def fp8_module(config: dict[str, Any], quantization: dict[str, Any]) -> Any:
    """The module that `transformers` builds for a checkpoint in fp8, without memory."""
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear

    how = transformers.FineGrainedFP8Config(**{k: v for k, v in quantization.items() if k != "quant_method"})
    with torch.device("meta"):
        built = transformers.AutoConfig.for_model(**config)
        module = transformers.AutoModelForCausalLM.from_config(built, dtype=torch.bfloat16)
        dense = ["lm_head", *(how.modules_to_not_convert or [])]
        return replace_with_fp8_linear(module, dense, how, pre_quantized=True)


@pytest.mark.parametrize("config", [LLAMA, MOE], ids=["llama", "mixture"])
@pytest.mark.parametrize(
    "how",
    [
        {}, {"weight_block_size": [64, 32]}, {"weight_block_size": None}, {"activation_scheme": "static"},
        {"modules_to_not_convert": ["model.layers.1.self_attn", "model.layers.2.mlp.down_proj", "k_proj"]},
    ],
    ids=["blocks", "small-blocks", "tensor", "static", "kept"],
)  # fmt: skip
def test_fp8_bytes_are_those_of_the_transformers_module(config: dict[str, Any], how: dict[str, Any]) -> None:
    if config is MOE and ("activation_scheme" in how or how.get("weight_block_size", 1) is None):
        pytest.skip("transformers holds experts with dynamic scales of blocks only")
    quantization = {**FP8, **how}
    module = fp8_module(config, quantization)
    theirs = sum(p.numel() * p.element_size() for p in module.parameters())
    assert stored(config, quantization).graph().weight_bytes() == theirs


ARGS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "w4-group": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}, None),
    "w4-group-asymmetric": (
        "pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False}, None,
    ),
    "w8-channel-asymmetric": ("pack-quantized", {"num_bits": 8, "strategy": "channel", "symmetric": False}, None),
    "w3-channel": ("pack-quantized", {"num_bits": 3, "strategy": "channel"}, None),
    "int8": (
        "int-quantized", {"num_bits": 8, "strategy": "channel"}, {"num_bits": 8, "dynamic": True, "strategy": "token"},
    ),
    "int8-static-asymmetric": (
        "int-quantized", {"num_bits": 8, "strategy": "tensor", "symmetric": False},
        {"num_bits": 8, "strategy": "tensor"},
    ),
    "fp8-tensor": (
        "float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"},
        {"num_bits": 8, "type": "float", "strategy": "tensor"},
    ),
    "fp8-dynamic": (
        "float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"},
        {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
    ),
    "fp8-block": (
        "float-quantized", {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 64]},
        {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 64, "dynamic": True},
    ),
    "nvfp4": (
        "nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "dynamic": "local"},
    ),
    "nvfp4-weights": (
        "nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, None,
    ),
    "mxfp4": (
        "mxfp4-pack-quantized",
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGS)
@pytest.mark.parametrize("shape", [(320, 512), (192, 320)])
def test_bytes_are_those_that_compressed_tensors_writes(name: str, shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    pytest.importorskip("compressed_tensors", reason="the oracle needs the torch extra")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme, initialize_module_for_quantization

    form, weights, inputs = ARGS[name]
    written = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    scheme = QuantizationScheme(**written)
    layer = torch.nn.Linear(shape[1], shape[0], bias=False, dtype=torch.bfloat16)
    initialize_module_for_quantization(layer, scheme, force_zero_point=False)
    for part, tensor in layer.named_parameters():
        tensor.data.zero_() if part.endswith("zero_point") else tensor.data.fill_(1.0)
    made = BaseCompressor.load_from_registry(form).compress(layer.state_dict(), scheme)
    theirs = sum(t.nbytes for part, t in made.items() if part != "weight_shape")
    config = {
        "quantization_config": {"quant_method": "compressed-tensors", "format": form, "config_groups": {"g": written}}
    }
    rule = storage_of(Config(config), "bf16").rule("model.layers.0.mlp.up_proj.weight", 0)
    assert rule.form is not None
    assert rule.form.payload_bytes(*shape) == theirs


@pytest.mark.parametrize(("method", "order"), [("gptq", 4), ("awq", 0)])
def test_gptq_and_awq_hold_words_zero_points_scales_and_groups(method: str, order: int) -> None:
    """Qweight (k/8, n) int32, qzeros (k/g, n/8) int32, scales (k/g, n) fp16, g_idx (k) int32."""
    model = stored(LLAMA, {"quant_method": method, "bits": 4, "group_size": 32})
    up = next(w for w, _ in model.graph().weights() if w.name.endswith("up_proj.weight"))
    n, k = 416, 320
    assert up.payload_bytes == 4 * (k // 8 * n + k // 32 * n // 8) + 2 * k // 32 * n + order * k


def modelopt(algorithm: str, **rest: Any) -> dict[str, Any]:
    return {"quant_method": "modelopt", "quant_algo": algorithm, "ignore": ["lm_head"], **rest}


@pytest.mark.parametrize(
    ("algorithm", "bytes_"),
    [
        ("FP8", 416 * 320 + 4 + 4), ("FP8_PER_CHANNEL_PER_TOKEN", 416 * 320 + 4 * 416),
        ("FP8_PB_WO", 416 * 320 + 4 * 4 * 3), ("NVFP4", 416 * 160 + 416 * 20 + 4 + 4),
        ("W4A16_NVFP4", 416 * 160 + 416 * 20 + 4),
    ],
)  # fmt: skip
def test_modelopt_holds_scales_of_groups_and_of_whole_tensors(algorithm: str, bytes_: int) -> None:
    """Weight (416, 320), weight_scale, weight_scale_2, input_scale."""
    up = next(w for w, _ in stored(LLAMA, modelopt(algorithm)).graph().weights() if w.name.endswith("up_proj.weight"))
    assert up.payload_bytes == bytes_


def test_the_file_beside_an_older_config_says_how_it_is_stored(tmp_path: Path) -> None:

    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    quantization = {
        "quant_algo": "NVFP4",
        "group_size": 16,
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
    }
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"producer": {}, "quantization": quantization}))
    model = Model.load(str(tmp_path))
    assert set(formats(model).values()) == {"nvfp4-g16", "bf16"}
    assert {cache.format for cache in model.graph().caches} == {"fp8"}
    assert model.kv_bytes_per_token == 3 * 2 * 64
    assert {cache.format for cache in model.graph(kv_dtype="bf16").caches} == {"bf16"}


def test_layers_stored_differently_part_and_nothing_is_lost() -> None:
    """Layers 0 and 2 stay, one matrix of layer 1 too; every operator is there once for each layer."""
    kept = ["lm_head", "model.layers.0*", "model.layers.2.*", "re:.*layers.1.*down_proj"]
    plain, model = Model.load(LLAMA), stored(LLAMA, modelopt("NVFP4", ignore=kept))
    names = {name for name, form in formats(model).items() if form != "bf16"}
    parts = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
    )
    assert names == {f"model.layers.1.{part}.weight" for part in parts}
    assert model.parameters == plain.parameters
    before, after = (sum(o.dense_flops * o.repeat for o in m.graph(2, 7).operators) for m in (plain, model))
    assert after == before
    operators = model.graph().operators
    assert len({o.name for o in operators}) == len(operators)
    acts = {o.name: (o.act, o.otherwise) for o in operators if isinstance(o, Linear)}
    assert acts == {
        **{f"{name}@{layer}": ("bf16", "") for name in ("qkv", "o", "gate_up", "down") for layer in (0, 1)},
        **{f"{name}@1": ("nvfp4", "bf16") for name in ("qkv", "o", "gate_up")},
        "lm_head": ("bf16", ""),
    }


def test_mixed_precision_lists_the_form_of_each_layer() -> None:
    listed = {
        "model.language_model.layers.1.mlp.down_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
        "model.layers.0.self_attn": {"quant_algo": "FP8"},
    }
    found = formats(stored(LLAMA, modelopt("MIXED_PRECISION", quantized_layers=listed)))
    assert found.pop("model.layers.1.mlp.down_proj.weight") == "nvfp4-g16"
    assert {found.pop(f"model.layers.0.self_attn.{p}_proj.weight") for p in "qkvo"} == {"fp8"}
    assert set(found.values()) == {"bf16"}


def public(folder: Path, name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "configs" / "aiconfigurator_hf" / f"{name}_config.json").read_text())
    return config


@pytest.mark.parametrize("name", ["Qwen--Qwen3-32B-FP8", "Qwen--Qwen3-30B-A3B-FP8"])
def test_public_fp8_configs_have_the_bytes_of_the_transformers_module(name: str, data_folder: Path) -> None:
    config = public(data_folder, name)
    fields = {k: v for k, v in config.items() if k != "quantization_config"}
    module = fp8_module(fields, config["quantization_config"])
    theirs = sum(p.numel() * p.element_size() for p in module.parameters())
    assert Model.load(config).graph().weight_bytes() == theirs


@pytest.mark.parametrize(
    ("name", "form", "elements", "matrices"),
    [
        ("nvidia--GLM-5.1-NVFP4", "nvfp4", 75 * 256 * 3 * 2048 * 6144, 75 * 256 * 3),
        ("nvidia--MiniMax-M2.7-NVFP4", "nvfp4", 62 * 256 * 3 * 1536 * 3072, 62 * 256 * 3),
        ("nvidia--Qwen3.5-122B-A10B-NVFP4", "nvfp4", 48 * 256 * 3 * 1024 * 3072, 48 * 256 * 3),
        ("Qwen--Qwen3-32B-FP8-Static-PerTensor", "fp8", 64 * (5120 * 10240 + 8192 * 5120 + 3 * 5120 * 25600), 64 * 7),
    ],
)  # fmt: skip
def test_public_lists_of_kept_layers_leave_what_their_names_say(
    name: str, form: str, elements: int, matrices: int, data_folder: Path
) -> None:
    """All but the experts is on the lists of these mixtures; of Qwen3-32B the head alone."""
    per_element = 9 / 16 if form == "nvfp4" else 1  # an e4m3 scale for 16 elements of 4 bits
    held = [
        (w.payload_bytes * (len(layers) or 1), w.experts * (len(layers) or 1))
        for w, layers in Model.load(public(data_folder, name)).graph().weights() if w.format.dtype == form
    ]  # fmt: skip
    assert sum(count for _, count in held) == matrices
    assert sum(size for size, _ in held) == elements * per_element + 8 * matrices


def test_fp8_checkpoints_may_hold_their_experts_in_four_bits() -> None:
    found = formats(stored({**MOE, "expert_dtype": "fp4"}, FP8))
    assert {form for name, form in found.items() if ".experts." in name} == {"mxfp4-g32"}
    assert {form for name, form in found.items() if ".self_attn." in name} == {"fp8-128x128"}
