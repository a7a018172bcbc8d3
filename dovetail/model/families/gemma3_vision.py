"""Gemma 3 with its tower (arXiv 2503.19786): SigLIP (arXiv 2303.15343) at 896 pixels, pooled to 256 tokens an image."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.pooler import Pooler
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.qwen_vl import pair
from dovetail.model.families.towers import language_model
from dovetail.model.vision import Tower, rooted

_ROOT, _LAYER = "vision_tower", "vision_tower.encoder.layers.{layer}"
NAMES: dict[str, tuple[str, ...]] = {
    "patch": pair(f"{_ROOT}.embeddings.patch_embedding"),
    "positions": (f"{_ROOT}.embeddings.position_embedding.weight",),
    "norm_in": pair(f"{_LAYER}.layer_norm1"),
    **{role: pair(f"{_LAYER}.self_attn.{role}_proj") for role in "qkv"},
    "o": pair(f"{_LAYER}.self_attn.out_proj"),
    "norm_post": pair(f"{_LAYER}.layer_norm2"),
    "up": pair(f"{_LAYER}.mlp.fc1"),
    "down": pair(f"{_LAYER}.mlp.fc2"),
    "norm_out": pair(f"{_ROOT}.post_layernorm"),
    "projector_norm": ("multi_modal_projector.mm_soft_emb_norm.weight",),
    "projector": ("multi_modal_projector.mm_input_projection_weight",),
}
# What the 4B model's text_config leaves out
_TEXT = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208, "max_position_embeddings": 131_072}


@FAMILIES.register("gemma3")
def gemma3(config: Config, name: str) -> Architecture:
    """An image is seen whole, without the processor's optional further crops (pan and scan).

    Its tokens see each other both ways; the graph's masks are causal, which the full scores are not.
    """
    tied = config.flag("tie_word_embeddings", default=True)
    model = language_model(config, name, "gemma3_text", tied, _TEXT)
    tokens = config.whole("mm_tokens_per_image", default=256)
    tower = siglip_tower(config.block("vision_config"), tokens, model.hidden, model.dtype)
    names = rooted(dict(model.names), "language_model.model", "language_model.lm_head.weight")
    return replace(model, names=names, others=tower.stored(), vision=tower)


def siglip_tower(vision: Config, tokens: int, outputs: int, dtype: str) -> Tower:
    """SigLIP's tower without its head; `tokens` an image, each the mean of patches projected to `outputs` channels."""
    hidden = vision.whole("hidden_size", default=768)
    heads = vision.dividing(hidden, "num_attention_heads", default=12)
    if vision.flag("vision_use_head", default=True):
        raise vision.error("vision_use_head", "a tower with a pooling head is not described", hint="false")
    side, size = vision.whole("patch_size", default=16), vision.whole("image_size", default=224)
    merge, rest = divmod(size // side, isqrt(tokens))
    if rest:
        raise vision.error("image_size", f"{size // side} patches a side do not pool into {tokens} tokens evenly")
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, rotary=False, causal=False)
    activation = vision.text("hidden_act", default="gelu_pytorch_tanh")
    block = FeedForwardSpec(
        vision.whole("intermediate_size", default=3072), gated=False, bias=True, activation=activation
    )
    layers = vision.whole("num_hidden_layers", default=12)
    arch = Architecture(
        "vision", family="siglip", hidden=hidden, vocab=0, layers=(LayerSpec(attention, block),) * layers,
        max_context=0, tied=True, names=NAMES, norm="layer", dtype=dtype, learned_positions=(size // side) ** 2,
    )  # fmt: skip
    patch = vision.whole("num_channels", default=3) * side * side
    pooler = Pooler(merge**2, hidden, outputs)
    return Tower(arch, patch, side, merge, (pooler,), size=size, patch_bias=True)
