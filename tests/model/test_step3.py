"""Step 3.5, which transformers holds as the text part of Step 3.7, beside that module with a tiny vision tower."""

from pathlib import Path
from typing import Any

import pytest

from dovetail.model import Model
from tests.model.oracle import expected_tensors, saved_parameters
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_cache_bytes_are_those_of_a_real_cache,
    test_flops_of_a_chunk_with_last_logits_only,
    test_flops_of_prefill_then_decode,
)

_BASE = {
    "model_type": "step3p5", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64,
    "n_routed_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "share_expert_dim": 28,
    "sliding_window": 5, "pad_token_id": 0, "dtype": "float32",
}  # fmt: skip
# As the hub writes it: lists with an entry more for a multi-token-prediction layer
_HUB = {
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    "num_nextn_predict_layers": 1, "moe_layers_enum": "1,3", "rope_theta": [5e6, 1e4, 1e4, 5e6, 1e4],
    "partial_rotary_factors": [0.5, 1.0, 1.0, 0.5, 1.0], "attention_other_setting": {"num_attention_heads": 6},
}  # fmt: skip
_VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.fixture(params=[_HUB, {"attention_bias": True}], ids=["hub", "plain"], scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**_BASE, **request.param}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("step3p7", text_config=dict(tiny_config), vision_config=_VISION)
    how = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return transformers.AutoModelForImageTextToText.from_config(config, **how).eval().requires_grad_(False)


def test_tensors_are_those_on_disk(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    saved = saved_parameters(tiny_module, tmp_path)
    text = {n: s for n, s in saved.items() if n.startswith(("model.layers", "model.embed", "model.norm", "lm_head"))}
    # the correction of the router's choice, a buffer, is saved under another name
    assert expected_tensors(tiny) == {n: s for n, s in text.items() if not n.endswith("router_bias")}


def test_parameters_are_the_modules(tiny: Model, tiny_module: Any) -> None:
    parts = (tiny_module.model.language_model, tiny_module.lm_head)
    assert tiny.parameters == sum(p.numel() for part in parts for p in part.parameters())


def test_rotary_and_heads_of_each_kind_of_layer() -> None:
    arch = Model.load({**_BASE, **_HUB}).architecture
    full, sliding = arch.layers[0].mixer, arch.layers[1].mixer
    assert (full.heads, full.rotary, full.window) == (4, 0.5, None)
    assert (sliding.heads, sliding.rotary, sliding.window) == (6, 1.0, 5)
    assert arch.rope_theta == 5e6
    assert [layer.feed_forward.experts for layer in arch.layers] == [1, 5, 1, 5]
