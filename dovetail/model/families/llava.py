"""LLaVA 1.5 (arXiv 2310.03744): a CLIP tower, two products, and a Llama; 576 tokens an image."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.towers import pair
from dovetail.model.vision import Projector, Tower, rooted

_ROOT, _LAYER = "vision_tower", "vision_tower.encoder.layers.{layer}"


NAMES: dict[str, tuple[str, ...]] = {
    "patch": (f"{_ROOT}.embeddings.patch_embedding.weight",),
    "class_token": (f"{_ROOT}.embeddings.class_embedding",),
    "positions": (f"{_ROOT}.embeddings.position_embedding.weight",),
    "norm_embed": pair(f"{_ROOT}.pre_layrnorm"),
    "norm_in": pair(f"{_LAYER}.layer_norm1"),
    **{role: pair(f"{_LAYER}.self_attn.{role}_proj") for role in "qkv"},
    "o": pair(f"{_LAYER}.self_attn.out_proj"),
    "norm_post": pair(f"{_LAYER}.layer_norm2"),
    "up": pair(f"{_LAYER}.mlp.fc1"),
    "down": pair(f"{_LAYER}.mlp.fc2"),
    "norm_out": pair(f"{_ROOT}.post_layernorm"),
    "projector_up": pair("multi_modal_projector.linear_1"),
    "projector_down": pair("multi_modal_projector.linear_2"),
}


@FAMILIES.register("llava")
def llava(config: Config, name: str) -> Architecture:
    text = config.block("text_config")
    kind = text.text("model_type", default="llama")
    if kind not in FAMILIES:
        raise text.error("model_type", f"'{kind}' is not a family that is described")
    model = FAMILIES[kind](Config({**text.fields, "model_type": kind}, text.where), name)
    if isinstance(config.get("vision_feature_layer"), list):
        raise config.error("vision_feature_layer", "several layers of the tower are not described")
    tower = clip_tower(config.block("vision_config"), model.hidden, model.dtype)
    names = rooted(dict(model.names), "language_model.model", "language_model.lm_head.weight")
    return replace(model, family="llava", names=names, others=tower.stored(), vision=tower)


def clip_tower(vision: Config, outputs: int, dtype: str) -> Tower:
    """CLIP's tower (arXiv 2103.00020) with LLaVA's projector to `outputs` channels."""
    hidden = vision.whole("hidden_size")
    heads = vision.dividing(hidden, "num_attention_heads")
    side, size = vision.whole("patch_size", default=14), vision.whole("image_size", default=336)
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, rotary=False, causal=False)
    activation = vision.text("hidden_act", default="quick_gelu")
    block = FeedForwardSpec(vision.whole("intermediate_size"), gated=False, bias=True, activation=activation)
    positions = (size // side) ** 2 + 1
    arch = Architecture(
        "vision", family="clip", hidden=hidden, vocab=0, layers=(LayerSpec(attention, block),) * vision.layers,
        max_context=0, tied=True, names=NAMES, norm="layer", dtype=dtype, learned_positions=positions,
    )  # fmt: skip
    patch = vision.whole("num_channels", default=3) * side * side
    return Tower(arch, patch, side, 1, (Projector("projector", 0, hidden, outputs, outputs),), size=size, prefix=1)
