"""GPT-NeoX (arXiv 2204.06745) and Pythia (2304.01373): LayerNorm, biases, fused QKV, both blocks side by side."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import shape

LAYER = "gpt_neox.layers.{layer}"


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of one module of a layer."""
    return f"{LAYER}.{path}.weight", f"{LAYER}.{path}.bias"


NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("gpt_neox.embed_in.weight",),
    "norm_in": pair("input_layernorm"),
    "qkv": pair("attention.query_key_value"),
    "o": pair("attention.dense"),
    "norm_post": pair("post_attention_layernorm"),
    "up": pair("mlp.dense_h_to_4h"),
    "down": pair("mlp.dense_4h_to_h"),
    "norm_out": ("gpt_neox.final_layer_norm.weight", "gpt_neox.final_layer_norm.bias"),
    "head": ("embed_out.weight",),
}


@FAMILIES.register("gpt_neox")
def gpt_neox(config: Config, name: str) -> Architecture:
    heads, _, head_dim = config.heads(fill=True)
    bias = config.flag("attention_bias", default=True)
    turned = config.rope.number("partial_rotary_factor", default=config.number("rotary_pct", default=0.25))
    layer = LayerSpec(
        AttentionSpec(heads, heads, head_dim, bias, bias, rotary=turned),
        FeedForwardSpec(
            config.whole("intermediate_size"),
            gated=False,
            bias=True,
            activation=config.text("hidden_act", default="gelu"),
        ),
        parallel=config.flag("use_parallel_residual", default=True),
    )
    known = shape(config)
    if config.get("rope_parameters") is None:
        known["rope_theta"] = config.number("rotary_emb_base", default=10_000.0)
    return Architecture(name, layers=(layer,) * config.layers, names=NAMES, norm="layer", **known)
