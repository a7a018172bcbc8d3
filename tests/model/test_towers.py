"""Qwen2-VL, Qwen2.5-VL, Gemma 3 and Gemma 4 with their towers, against the modules that transformers builds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.operators import Attention
from dovetail.model.resolution import mean_window
from dovetail.model.vision import Tower
from tests.model.oracle import contraction_flops, expected_tensors, saved_parameters
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_cache_bytes_are_those_of_a_real_cache,
    test_flops_of_a_chunk_with_last_logits_only,
    test_flops_of_prefill_then_decode,
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
)
from tests.model.test_zoo import meta_parameters

_TEXT = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_QWEN = {**_TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}}
_QWEN2 = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4}
_QWEN25 = {
    "depth": 4, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "num_heads": 2, "patch_size": 4,
    "window_size": 16, "fullatt_block_indexes": [1, 3],
}  # fmt: skip
_SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 4, "vision_use_head": False,
}  # fmt: skip
_VIEWS = ["sliding_attention", "full_attention"]
_GEMMA3 = {
    **_TEXT, "model_type": "gemma3_text", "head_dim": 8, "num_hidden_layers": 4, "sliding_window": 5,
    "layer_types": 2 * _VIEWS,
}  # fmt: skip
_GEMMA4 = {
    **_GEMMA3, "model_type": "gemma4_text", "global_head_dim": 12, "hidden_size_per_layer_input": 0,
}  # fmt: skip
_AXIAL = {
    "model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "patch_size": 4, "position_embedding_size": 40,
    "pooling_kernel_size": 3,
}  # fmt: skip
_AUDIO = {
    "model_type": "gemma4_audio", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "subsampling_conv_channels": [8, 4], "conv_kernel_size": 3, "output_proj_dims": 20,
}  # fmt: skip
TINY: Mapping[str, dict[str, Any]] = {
    "qwen2_vl": {"text_config": _QWEN, "vision_config": _QWEN2},
    "qwen2_vl-flat-tied": {**_QWEN, "vision_config": {**_QWEN2, "mlp_ratio": 3}, "tie_word_embeddings": True},
    "qwen2_5_vl": {"text_config": _QWEN, "vision_config": _QWEN25},
    "gemma3": {"text_config": _GEMMA3, "vision_config": _SIGLIP, "mm_tokens_per_image": 16},
    "gemma3-untied": {
        "text_config": _GEMMA3, "vision_config": {**_SIGLIP, "num_hidden_layers": 1}, "mm_tokens_per_image": 4,
        "tie_word_embeddings": False,
    },
    "gemma4": {"text_config": _GEMMA4, "vision_config": _AXIAL, "vision_soft_tokens_per_image": 10},
    "gemma4-all": {  # per-layer inputs, shared caches, mixtures, clipped products, standardised tokens, sound
        "text_config": {
            **_GEMMA4, "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 48, "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
        },
        "vision_config": {**_AXIAL, "standardize": True, "use_clipped_linears": True},
        "audio_config": _AUDIO, "vision_soft_tokens_per_image": 8,
    },
    "gemma4-mixture": {
        "text_config": {
            **_GEMMA4, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 12,
            "attention_k_eq_v": True, "num_global_key_value_heads": 1,
        },
        "vision_config": {**_AXIAL, "num_key_value_heads": 2}, "vision_soft_tokens_per_image": 12,
    },
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny(request: pytest.FixtureRequest) -> Model:
    kind = request.param.partition("-")[0]
    return Model.load({"model_type": kind, "dtype": "float32", **TINY[request.param]})


@pytest.fixture(scope="module")
def tiny_module(tiny: Model) -> Any:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**tiny.config)
    how = {"attn_implementation": "eager"}
    if tiny.config.get("text_config", {}).get("enable_moe_block"):
        how["experts_implementation"] = "eager"
    return (
        transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32, **how)
        .eval()
        .requires_grad_(False)
    )


def tower_of(model: Model) -> Tower:
    assert model.architecture.vision is not None
    return model.architecture.vision


def as_matrices(saved: dict[str, list[int]]) -> dict[str, list[int]]:
    """Shapes as the graph has them: convolutions flat, one table of positions, the bare matrix by its outputs."""

    def matrix(name: str, shape: list[int]) -> list[int]:
        if name.endswith("position_embedding_table"):
            return [shape[0] * shape[1], shape[2]]
        if name.endswith("input_projection_weight"):
            return shape[::-1]
        convolution = len(shape) > 2 and ".experts." not in name
        return [shape[0], int(np.prod(shape[1:]))] if convolution else shape

    return {name: matrix(name, shape) for name, shape in saved.items()}


def test_tensors_are_those_on_disk(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    assert expected_tensors(tiny) == as_matrices(saved_parameters(tiny_module, tmp_path))


def features(module: Any, tower: Tower, down: int, across: int) -> Any:
    """The tokens that the module makes of one image of so many patches, padded as its processor pads it."""
    import torch

    if tower.arch.family == "siglip":
        return module.model.get_image_features(torch.randn(1, 3, tower.size, tower.size)).pooler_output[0]
    patches = torch.randn(1, tower.budget or down * across, tower.patch)
    if not tower.budget:
        return module.model.get_image_features(patches[0], torch.tensor([[1, down, across]])).pooler_output[0]
    places = torch.full((1, tower.budget, 2), -1)
    places[0, : down * across] = torch.cartesian_prod(torch.arange(down), torch.arange(across)).flip(-1)
    return module.model.get_image_features(patches, places).pooler_output[0]


@pytest.mark.parametrize(("down", "across"), [(6, 12), (12, 6), (6, 6)])
def test_flops_of_the_tower_are_those_torch_counts(tiny: Model, tiny_module: Any, down: int, across: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    tower = tower_of(tiny)
    if tower.size:
        down = across = tower.size // tower.side
    with FlopCounterMode(display=False) as counter:
        made = features(tiny_module, tower, down, across)
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    # Angles are an outer product; the pooler of Gemma 4 takes its means by multiplying with a matrix of zeros and ones
    aside = sum(n for name, n in counts.items() if name.endswith(("rotary_emb", "rotary_pos_emb", "pooler")))
    assert contraction_flops(tower.graph(1, down, across)) == pytest.approx(counts["Global"] - aside, rel=1e-12)
    assert len(made) == down * across / tower.merge**2
    assert made.shape[1] == tiny.architecture.hidden


@pytest.mark.parametrize("down", [8, 10, 22, 30])
@pytest.mark.parametrize("across", [4, 8, 18])
def test_windows_are_those_the_module_lays(down: int, across: int) -> None:
    """Windows of 8 x 8 patches, cut off at the far edges: their squared lengths are what attention multiplies."""
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    vision = pytest.importorskip("transformers.vision_utils", reason="the oracle needs the torch extra")
    _, ends = vision.get_vision_window_index(torch.tensor([[1, down, across]]), 2, 112, 14)
    lengths = np.diff(ends.numpy().astype(float))
    assert mean_window(down, across, 8) == pytest.approx((lengths**2).sum() / lengths.sum(), rel=1e-14)
    graph = Model.load("Qwen/Qwen2.5-VL-3B-Instruct").vision_graph(1, 14 * down, 14 * across)
    near, full = (o for o in graph.operators if isinstance(o, Attention))
    assert (len(near.layers), full.layers) == (28, (7, 15, 23, 31))
    assert full.dense_flops == 4 * 16 * 80 * (down * across) ** 2
    assert near.dense_flops == pytest.approx(4 * 16 * 80 * (lengths**2).sum(), rel=1e-14)


SIDES = [(896, 896), (1000, 500), (64, 64), (2000, 1500), (31, 3000), (480, 640), (3, 2000), (720, 4)]


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_image_tokens_of_gemma(height: int, width: int) -> None:
    """Gemma 3 brings every image to 896 pixels; Gemma 4 fills 280 tokens at the image's own aspect ratio."""
    assert Model.load("google/gemma-3-4b-pt").image_tokens(height, width) == 256
    pytest.importorskip("PIL", reason="the processor needs it")
    processor = pytest.importorskip("transformers.models.gemma4.image_processing_pil_gemma4", reason="no processor")
    found = processor.Gemma4ImageProcessorPil()(np.zeros((height, width, 3), np.uint8), return_tensors="np")
    gemma4 = Model.load("google/gemma-4-26B-A4B")
    assert gemma4.image_tokens(height, width) == found["num_soft_tokens_per_image"][0]
    assert gemma4.vision_graph(1, height, width).operators[0].m == found["pixel_values"].shape[1] == 2520


@pytest.mark.parametrize("name", ["Qwen/Qwen2-VL-7B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"])
@pytest.mark.parametrize(("height", "width"), [*SIDES[:6], (20, 20), (8000, 6000)])
def test_image_tokens_of_qwen(name: str, height: int, width: int) -> None:
    resize = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl", reason="no processor")
    down, across = resize.smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=12_845_056)
    assert Model.load(name).image_tokens(height, width) == down * across // 28**2


_VISION = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
BRIEF: Mapping[str, dict[str, Any]] = {
    "a Gemma 3 of 4B": {
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        },
        "vision_config": {**_VISION, "image_size": 896, "patch_size": 14, "vision_use_head": False},
    },
    "a Gemma 4 that hears": {
        "model_type": "gemma4",
        "text_config": {
            "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 35, "num_attention_heads": 8,
            "num_key_value_heads": 1, "vocab_size": 262_144, "num_kv_shared_layers": 20, "use_double_wide_mlp": True,
            "layer_types": 7 * (4 * _VIEWS[:1] + _VIEWS[1:]),
        },
        "vision_config": {}, "audio_config": {"model_type": "gemma4_audio"},
    },
    "a Qwen2.5-VL of 7B": {
        "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064,
        "vision_config": {"hidden_size": 1280},
    },
    "a Qwen2-VL of 7B": {
        "model_type": "qwen2_vl", "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064, "vision_config": {},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BRIEF)
def test_a_config_may_leave_out_what_its_family_knows(name: str) -> None:
    model = Model.load(BRIEF[name])
    assert model.parameters == meta_parameters(BRIEF[name])
    assert model.max_context == (32_768 if "Qwen" in name else 131_072)
    assert model.architecture.rope_theta == 1_000_000.0


def test_what_a_context_is() -> None:
    """Gemma 3 writes the length its rope is stretched to, not the one it is stretched from."""
    assert Model.load("google/gemma-3-27b-pt").max_context == 131_072


def test_a_gemma_4_without_towers_is_its_text() -> None:
    bare = Model.load({"model_type": "gemma4", "text_config": _GEMMA4})
    assert bare.parameters == Model.load(_GEMMA4).parameters
    with pytest.raises(DovetailError, match="has no image encoder"):
        bare.image_tokens(100, 100)


@pytest.mark.parametrize(
    ("kind", "part", "field", "value"),
    [
        ("qwen2_vl", "vision_config", "num_heads", 3),
        ("qwen2_5_vl", "vision_config", "window_size", 4),
        ("gemma3", "vision_config", "num_attention_heads", 3),
        ("gemma3", "vision_config", "vision_use_head", True),
        ("gemma3", "vision_config", "image_size", 36),
        ("gemma4", "vision_config", "attention_bias", True),
        ("gemma4-all", "vision_config", "num_attention_heads", 3),
        ("gemma4-all", "audio_config", "subsampling_conv_channels", [8]),
        ("gemma4-all", "audio_config", "num_attention_heads", 3),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(kind: str, part: str, field: str, value: Any) -> None:
    found = TINY[kind]
    fields = {**found, "model_type": kind.partition("-")[0], part: {**found[part], field: value}}
    if (kind, field) == ("gemma4-all", "num_attention_heads") and part == "vision_config":
        fields[part]["num_key_value_heads"] = 2
        field = "num_key_value_heads"
    with pytest.raises(DovetailError) as caught:
        Model.load(fields)
    assert f"{part}: {field}" in str(caught.value)
