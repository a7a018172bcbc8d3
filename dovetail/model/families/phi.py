"""Phi 1 and 2 (arXiv 2306.11644, 2309.05463): attention and MLP side by side; Phi 3 and 4 (2404.14219): fused Llama."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import NAMES as LLAMA
from dovetail.model.families.llama import linear, shape

NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("model.embed_tokens.weight",),
    "norm_in": linear("input_layernorm"),
    **{role: linear(f"self_attn.{role}_proj") for role in "qkv"},
    "q_norm": linear("self_attn.q_layernorm"),
    "k_norm": linear("self_attn.k_layernorm"),
    "o": linear("self_attn.dense"),
    "up": linear("mlp.fc1"),
    "down": linear("mlp.fc2"),
    "norm_out": ("model.final_layernorm.weight", "model.final_layernorm.bias"),
    "head": ("lm_head.weight",),
    "head_bias": ("lm_head.bias",),
}
FUSED: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in LLAMA.items() if role not in ("q", "k", "v", "gate", "up")},
    "qkv": linear("self_attn.qkv_proj"),
    "gate_up": linear("mlp.gate_up_proj"),
}


@FAMILIES.register("phi")
def phi(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    turned = config.number("partial_rotary_factor", default=0.5)
    norm = config.flag("qk_layernorm")
    mixer = AttentionSpec(heads, kv_heads, head_dim, qkv_bias=True, out_bias=True, qk_norm=norm, rotary=turned)
    activation = config.text("hidden_act", default="gelu_new")
    block = FeedForwardSpec(config.whole("intermediate_size"), gated=False, bias=True, activation=activation)
    layers = (LayerSpec(mixer, block, parallel=True),) * config.layers
    return Architecture(name, layers=layers, names=NAMES, norm="layer", head_bias=True, **shape(config))


@FAMILIES.register("phi3")
def phi3(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    turned = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=1.0))
    window = config.whole("sliding_window", default=0, low=0) or None
    mixer = AttentionSpec(heads, kv_heads, head_dim, window=window, rotary=turned)
    block = FeedForwardSpec(config.whole("intermediate_size"), activation=config.text("hidden_act", default="silu"))
    return Architecture(name, layers=(LayerSpec(mixer, block),) * config.layers, names=FUSED, **shape(config))
