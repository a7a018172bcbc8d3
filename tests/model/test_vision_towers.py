"""Llama 4, Kimi K2.5 and Step 3.7 with their towers against the modules and image processors of transformers."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors, image_processing, saved_parameters
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_cache_bytes_are_those_of_a_real_cache,
    test_parameters_are_the_modules,
)

_TEXT = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 64, "num_experts_per_tok": 2, "dtype": "float32", "pad_token_id": 0,
}  # fmt: skip
_GROUPED = {**_TEXT, "num_key_value_heads": 2, "head_dim": 16}
# Llama 4's module multiplies every token with every expert: equal to what engines do when each token meets all
_LLAMA4 = {
    "model_type": "llama4", "tie_word_embeddings": False, "text_config": {
        "model_type": "llama4_text", **_GROUPED, "num_local_experts": 2, "intermediate_size_mlp": 56,
        "attention_chunk_size": 5, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
        "patch_size": 4, "projector_input_dim": 24, "projector_output_dim": 24, "vision_output_dim": 24,
    },
}  # fmt: skip
_KIMI = {
    "model_type": "kimi_k25", "tie_word_embeddings": False, "text_config": {
        "model_type": "kimi_k2", **_TEXT, "num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 16,
        "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "n_routed_experts": 6, "n_shared_experts": 1,
        "moe_intermediate_size": 20, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
    },
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4,
        "pos_emb_height": 6, "pos_emb_width": 6,
    },
    "projection_hidden_size": 16,
}  # fmt: skip
_STEP = {
    "model_type": "step3p7", "projector_bias": True, "text_config": {
        "model_type": "step3p5", **_GROUPED, "n_routed_experts": 5, "moe_intermediate_size": 24,
        "share_expert_dim": 28, "sliding_window": 5, "moe_layers_enum": "1,3", "num_nextn_predict_layers": 1,
        "layer_types": ["full_attention", *["sliding_attention"] * 3, "full_attention"],
        "attention_other_setting": {"num_attention_heads": 6},
    },
    "vision_config": {"width": 16, "layers": 2, "heads": 2, "image_size": 32, "patch_size": 4, "mlp_ratio": 1.75},
}  # fmt: skip
TINY: Mapping[str, dict[str, Any]] = {"llama4": _LLAMA4, "kimi_k25": _KIMI, "step3p7": _STEP}


@pytest.fixture(params=list(TINY), scope="module")
def tiny(request: pytest.FixtureRequest) -> Model:
    return Model.load({**TINY[request.param], "dtype": "float32"})


@pytest.fixture(scope="module")
def tiny_module(tiny: Model) -> Any:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**json.loads(json.dumps(tiny.config)))
    how = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return transformers.AutoModelForImageTextToText.from_config(config, **how).eval().requires_grad_(False)


def stored(tiny: Model, module: Any) -> dict[str, list[int]]:
    """Names and shapes of the graph's tensors, convolutions and tables unfolded as they are saved."""
    vision = tiny.architecture.vision
    assert vision is not None
    side = vision.side
    fold = {"patch_embed.proj.weight": [16, 3, side, side], "conv1.weight": [16, 3, side, side]}
    fold |= {"vit_downsampler1.weight": [32, 16, 3, 3], "vit_downsampler2.weight": [64, 32, 3, 3]}
    fold |= {"pos_emb.weight": [6, 6, 16]}
    found = expected_tensors(tiny)
    for name, shape in found.items():
        whole = next((whole for end, whole in fold.items() if name.endswith(end)), shape)
        assert prod(whole) == prod(shape)
        found[name] = whole
    return found


def test_tensors_are_those_that_transformers_loads(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    """A checkpoint of the tensors named is loaded with none missing and none left over."""
    import torch
    from safetensors.torch import save_file

    tiny_module.config.save_pretrained(tmp_path)
    tensors = {name: torch.zeros(shape) for name, shape in stored(tiny, tiny_module).items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    _, told = type(tiny_module).from_pretrained(tmp_path, output_loading_info=True)
    assert not told["unexpected_keys"]
    assert not told["mismatched_keys"]
    # the correction of a router's choice is a buffer, which checkpoints hold beside the parameters
    assert {name.rpartition(".")[2] for name in told["missing_keys"]} <= {"e_score_correction_bias"}


def test_tensors_are_those_on_disk(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    """Of Kimi the module's own save renames too much: the text layers, the position-free norm, the patch embedding."""
    undone = {
        "language_model.model.blocks": "language_model.model.layers", "model.mm_projector": "mm_projector",
        "vision_tower.encoder.patch_embed": "vision_tower.patch_embed",
    } if tiny.architecture.family == "kimi_k25" else {}  # fmt: skip
    saved = {}
    for name, shape in saved_parameters(tiny_module, tmp_path).items():
        wrong = next((wrong for wrong in undone if name.startswith(wrong)), "")
        saved[undone.get(wrong, "") + name.removeprefix(wrong)] = shape
    assert stored(tiny, tiny_module) == {n: s for n, s in saved.items() if not n.endswith("router_bias")}


def test_flops_of_prefill_a_chunk_and_decode(tiny: Model, tiny_module: Any) -> None:
    import torch

    prompt, past = torch.randint(3, 48, (2, 9)), None
    for tokens, context in ((7, 0), (4, 7), (1, 11), (1, 12)):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        assert contraction_flops(tiny.graph(2, tokens, context, logit_tokens=tokens, absorb=False)) == counted


def tower_flops(module: Any, how: str, **inputs: Any) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        getattr(module, how)(**inputs)
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    return float(counts["Global"] - sum(f for name, f in counts.items() if "rotary" in name.rpartition(".")[2]))


def test_flops_of_the_tower_are_those_torch_counts(tiny: Model, tiny_module: Any) -> None:
    import torch

    tower = tiny.architecture.vision
    assert tower is not None
    if tiny.architecture.family == "kimi_k25":
        grid = torch.tensor([[1, 6, 4]])
        inputs = {"pixel_values": torch.randn(24, 3, 4, 4), "image_grid_thw": grid}
        assert contraction_flops(tower.encoding(1, 24, 15)) == tower_flops(
            tiny_module.model, "get_image_features", **inputs
        )
    elif tiny.architecture.family == "llama4":
        vision, project = tiny_module.vision_model, tiny_module.multi_modal_projector
        found = vision(torch.randn(7, 3, 16, 16)).last_hidden_state
        counted = tower_flops(vision, "forward", pixel_values=torch.randn(7, 3, 16, 16))
        counted += tower_flops(project, "forward", image_features=found)
        assert found.shape[0] * found.shape[1] == tiny.image_tokens(32, 48)  # six tiles, and the whole
        assert contraction_flops(tower.encoding(1, 32, 48)) == counted
    else:
        inputs = {"pixel_values": torch.randn(2, 3, 32, 32), "pixel_values_local": torch.randn(6, 3, 32, 32)}
        counted = tower_flops(tiny_module.model, "get_image_features", **inputs, num_local_patches=[3, 3])
        assert contraction_flops(tower.encoding(2, 32, 96)) == counted


SIZES = [(336, 336), (1000, 500), (64, 64), (8000, 6000), (31, 3000), (30, 100), (337, 336), (2000, 300), (728, 400),
         (729, 729), (3500, 3500), (14, 14), (1, 1), (9000, 40), (620, 600)]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_native_resolution_is_the_processors(height: int, width: int) -> None:
    resize = image_processing("kimi_k25").navit_resize
    _, (down, across) = resize(height, width, 14, 2, 16_384, 512)
    assert Model.load("moonshotai/Kimi-K2.5").image_tokens(height, width) == down * across // 28**2


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tiles_are_the_processors(height: int, width: int) -> None:
    module = image_processing("llama4")
    torch = pytest.importorskip("torch")
    canvases = module.find_supported_resolutions(16, module.SizeDict(height=336, width=336))
    tiles = prod(module.get_best_fit((height, width), torch.tensor(canvases)).tolist()) // 336**2
    scout = Model.load("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    assert scout.image_tokens(height, width) == 144 * (tiles + (tiles > 1))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_windows_are_the_processors(height: int, width: int) -> None:
    kind = image_processing("step3p7").Step3p7ImageProcessor
    rule = SimpleNamespace(max_image_size=3024, _is_extreme_aspect=kind._is_extreme_aspect)
    across, down = kind._plan_patches(rule, width, height, 728, 504)[3:5]
    step = Model.load({**_STEP, "vision_config": {}})
    assert step.image_tokens(height, width) == 13 * 13 + 9 * 9 * down * across


def test_flat_configs_are_the_language_model_alone() -> None:
    """The module leaves the fields of a flat Step 3.7 unread and builds its defaults; they are read here."""
    text = _STEP["text_config"]
    flat, whole = Model.load({**text, "model_type": "step3p7"}), Model.load({**text, "model_type": "step3p5"})
    assert flat.parameters == whole.parameters
    assert flat.architecture.layers == whole.architecture.layers
    assert flat.architecture.matched_by.endswith("no tower")
    silent = {k: v for k, v in text.items() if k != "attention_other_setting"}
    assert "window layers' own" in Model.load({**silent, "model_type": "step3p7"}).architecture.matched_by
    alone = Model.load({k: v for k, v in _LLAMA4.items() if k != "vision_config"})
    assert "no vision_config" in alone.architecture.matched_by
    with pytest.raises(DovetailError, match="has no image encoder"):
        alone.image_tokens(100, 100)


@pytest.mark.parametrize(("family", "field", "value", "what"), [
    ("llama4", "pixel_shuffle_ratio", 0.3, "one over"), ("llama4", "intermediate_size", 60, "4 patches of 16"),
    ("llama4", "vision_output_dim", 30, "writes 24"), ("llama4", "projector_output_dim", 30, "reads 30"),
    ("llama4", "num_attention_heads", 3, "do not divide"), ("kimi_k25", "merge_kernel_size", [2, 1], "not a square"),
    ("kimi_k25", "mm_projector_type", "mlp", "'mlp' is not described"), ("kimi_k25", "mm_hidden_size", 8, "reads 8"),
    ("kimi_k25", "text_hidden_size", 64, "width of 32"), ("step3p7", "heads", 5, "do not divide"),
    ("step3p7", "image_size", 24, "tokens of 4"),
])  # fmt: skip
def test_a_tower_that_contradicts_itself_is_refused(family: str, field: str, value: Any, what: str) -> None:
    config = TINY[family]
    with pytest.raises(DovetailError, match=what) as caught:
        Model.load({**config, "vision_config": {**config["vision_config"], field: value}})
    assert f"vision_config: {field}" in str(caught.value)
