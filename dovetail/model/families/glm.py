"""GLM-4 (arXiv 2406.12793): partial rotary, fused gates; GLM-4-0414 adds norms after blocks."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, linear, shape
from dovetail.model.families.llama import NAMES as LLAMA

NAMES: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in LLAMA.items() if role not in ("gate", "up")},
    "gate_up": linear("mlp.gate_up_proj"),
}
AFTER: Mapping[str, tuple[str, ...]] = {
    **NAMES,
    "norm_mixer_out": (f"{LAYER}.post_self_attn_layernorm.weight",),
    "norm_ffn_out": (f"{LAYER}.post_mlp_layernorm.weight",),
}


@FAMILIES.register("glm", "glm4")
def glm(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads(head_dim=128)
    turned = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=0.5))
    mixer = AttentionSpec(
        heads, kv_heads, head_dim, qkv_bias=config.flag("attention_bias", default=True), rotary=turned
    )
    block = FeedForwardSpec(config.whole("intermediate_size"), activation=config.text("hidden_act", default="silu"))
    names = AFTER if config.text("model_type") == "glm4" else NAMES
    return Architecture(name, layers=(LayerSpec(mixer, block),) * config.layers, names=names, **shape(config))
