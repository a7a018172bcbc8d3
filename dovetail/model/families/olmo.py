"""OLMo (arXiv 2402.00838): norms without weights; OLMo 2 (2501.00656): norms after the blocks and over all heads."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, NAMES, shape

BARE: Mapping[str, tuple[str, ...]] = {**NAMES, "norm_in": (), "norm_post": (), "norm_out": ()}
AFTER: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in NAMES.items() if role not in ("norm_in", "norm_post")},
    "q_norm": (f"{LAYER}.self_attn.q_norm.weight",),
    "k_norm": (f"{LAYER}.self_attn.k_norm.weight",),
    "norm_mixer_out": (f"{LAYER}.post_attention_layernorm.weight",),
    "norm_ffn_out": (f"{LAYER}.post_feedforward_layernorm.weight",),
}


@FAMILIES.register("olmo", "olmo2")
def olmo(config: Config, name: str) -> Architecture:
    second = config.text("model_type") == "olmo2"
    heads, kv_heads, head_dim = config.heads()
    bias = config.flag("attention_bias")
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qkv_bias=bias, out_bias=bias, qk_norm="full" if second else False),
        FeedForwardSpec(config.whole("intermediate_size"), activation=config.text("hidden_act", default="silu")),
    )
    layers = (layer,) * config.layers
    if second:
        return Architecture(name, layers=layers, names=AFTER, **shape(config))
    return Architecture(name, layers=layers, names=BARE, norm="layer", **shape(config))
