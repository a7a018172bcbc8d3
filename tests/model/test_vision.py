"""Vision-language models against the modules transformers builds: tensors, FLOPs of the tower, tokens of an image."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.operators import Scan
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors, saved_parameters

_TEXT = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8,
}  # fmt: skip
_TOWER = {
    "hidden_size": 16, "intermediate_size": 24, "depth": 3, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
_CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 16, "patch_size": 4, "projection_dim": 8,
}  # fmt: skip
_MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
TINY: Mapping[str, dict[str, Any]] = {
    "qwen3_vl": {"model_type": "qwen3_vl", "text_config": _TEXT, "vision_config": _TOWER},
    "qwen3_vl_moe": {
        "model_type": "qwen3_vl_moe", "text_config": {**_TEXT, **_MIXTURE},
        "vision_config": {**_TOWER, "deepstack_visual_indexes": []},
    },
    "qwen3_5": {
        "model_type": "qwen3_5", "text_config": {
            **_TEXT, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        },
        "vision_config": {**_TOWER, "deepstack_visual_indexes": []},
    },
    "llava": {"model_type": "llava", "text_config": {**_TEXT, "model_type": "llama"}, "vision_config": _CLIP},
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny(request: pytest.FixtureRequest) -> Model:
    found = TINY[request.param]
    return Model.load({**found, "dtype": "float32", "text_config": {**found["text_config"], "dtype": "float32"}})


@pytest.fixture(scope="module")
def tiny_module(tiny: Model) -> Any:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**tiny.config)
    how = {"attn_implementation": "eager", "experts_implementation": "eager"}
    how = how if "moe" in str(tiny.config["model_type"]) else {"attn_implementation": "eager"}
    return transformers.AutoModelForImageTextToText.from_config(config, **how).eval().requires_grad_(False)


def test_parameters_and_tensors_are_the_modules(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    assert tiny.parameters == sum(p.numel() for p in tiny_module.parameters())
    saved = saved_parameters(tiny_module, tmp_path)
    flat = {n: [s[0], prod(s[1:])] for n, s in saved.items() if len(s) > 2 and ("patch_emb" in n or "conv1d" in n)}
    assert expected_tensors(tiny) == {**saved, **flat}  # patch embeddings and taps are saved as convolutions


def test_flops_of_a_text_step(tiny: Model, tiny_module: Any) -> None:
    import torch

    if any(isinstance(o, Scan) for o in tiny.graph().operators):
        pytest.skip("torch counts the products that scans are made of: see test_delta_net")
    counted, _ = counted_flops(tiny_module.model.language_model, input_ids=torch.randint(3, 40, (2, 7)))
    assert contraction_flops(tiny.graph(2, 7, 0, logit_tokens=0)) == counted


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 16)])
def test_flops_of_the_tower_are_those_torch_counts(tiny: Model, tiny_module: Any, height: int, width: int) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        if tiny.architecture.family == "llava":
            pixels = torch.randn(1, 3, 16, 16)
            tiny_module.model.get_image_features(pixel_values=pixels)
        else:
            grid = torch.tensor([[1, height // 4, width // 4]])
            patches = torch.randn(height * width // 16, 3 * 2 * 4 * 4)
            tiny_module.model.visual(patches, grid_thw=grid)
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    angles = sum(flops for name, flops in counts.items() if name.endswith("rotary_pos_emb"))
    tower = tiny.architecture.vision
    assert tower is not None  # the grid is given: so small an image would be scaled up first
    graph = tower.graph(1, 16 if tower.size else height * width // 16)
    assert contraction_flops(graph) == counts["Global"] - angles


@pytest.mark.parametrize(("height", "width"), [(336, 336), (1000, 500), (64, 64), (8000, 6000), (31, 3000)])
def test_image_tokens_are_the_processors(height: int, width: int) -> None:
    """LLaVA brings every image to 336 pixels; Qwen3-VL keeps its resolution, in whole tokens of 32 pixels."""
    assert Model.load("llava-hf/llava-1.5-7b-hf").image_tokens(height, width) == 576
    resize = pytest.importorskip(
        "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl", reason="needs the processor"
    )
    down, across = resize.smart_resize(height, width, factor=32, min_pixels=65_536, max_pixels=16_777_216)
    assert Model.load("Qwen/Qwen3-VL-8B-Instruct").image_tokens(height, width) == down * across // 32**2


def test_a_text_model_has_no_images() -> None:
    with pytest.raises(DovetailError, match="has no image encoder"):
        Model.load("Qwen/Qwen3-8B").image_tokens(100, 100)
