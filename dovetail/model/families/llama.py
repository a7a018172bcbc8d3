"""Llama (arXiv 2307.09288) and Mistral (arXiv 2310.06825): RMSNorm, rotary, grouped queries, gated SiLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES

LAYER = "model.layers.{layer}"


def linear(path: str) -> tuple[str, str]:
    """Weight and bias of one linear of a layer; the bias counts only where the spec says there is one."""
    return f"{LAYER}.{path}.weight", f"{LAYER}.{path}.bias"


NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("model.embed_tokens.weight",),
    "norm_in": (f"{LAYER}.input_layernorm.weight",),
    **{role: linear(f"self_attn.{role}_proj") for role in "qkvo"},
    "norm_post": (f"{LAYER}.post_attention_layernorm.weight",),
    **{role: linear(f"mlp.{role}_proj") for role in ("gate", "up", "down")},
    "norm_out": ("model.norm.weight",),
    "head": ("lm_head.weight",),
}


def shape(config: Config) -> dict[str, Any]:
    """The keyword arguments of `Architecture` that all relatives of Llama read from the same fields."""
    return {
        "family": config.text("model_type"),
        "hidden": config.whole("hidden_size"),
        "vocab": config.whole("vocab_size"),
        "max_context": config.max_context(),
        "tied": config.flag("tie_word_embeddings"),
        "dtype": config.dtype,
        "rope_theta": config.rope_theta(),
    }


@FAMILIES.register("llama", "mistral")
def llama(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    mistral = config.text("model_type") == "mistral"
    bias = config.flag("attention_bias") and not mistral
    window = config.whole("sliding_window", default=0) if mistral else 0
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qkv_bias=bias, out_bias=bias, window=window or None),
        FeedForwardSpec(
            config.whole("intermediate_size"),
            bias=config.flag("mlp_bias") and not mistral,
            activation=config.text("hidden_act", default="silu"),
        ),
    )
    return Architecture(name, layers=(layer,) * config.layers, names=NAMES, **shape(config))
