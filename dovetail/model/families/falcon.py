"""Falcon (arXiv 2311.16867): attention and MLP side by side, one or few KV heads, fused QKV, GELU."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES

LAYER = "transformer.h.{layer}"


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of one module of a layer."""
    return f"{LAYER}.{path}.weight", f"{LAYER}.{path}.bias"


COMMON: Mapping[str, tuple[str, ...]] = {
    "embed": ("transformer.word_embeddings.weight",),
    "qkv": pair("self_attention.query_key_value"),
    "o": pair("self_attention.dense"),
    "up": pair("mlp.dense_h_to_4h"),
    "down": pair("mlp.dense_4h_to_h"),
    "norm_out": ("transformer.ln_f.weight", "transformer.ln_f.bias"),
    "head": ("lm_head.weight",),
}
TWO_NORMS = {"norm_in": pair("ln_attn"), "norm_post": pair("ln_mlp")}
ONE_NORM = {"norm_in": pair("input_layernorm")}
IN_TURN = {**ONE_NORM, "norm_post": pair("post_attention_layernorm")}


@FAMILIES.register("falcon")
def falcon(config: Config, name: str) -> Architecture:
    grouped, parallel = config.flag("new_decoder_architecture"), config.flag("parallel_attn", default=True)
    heads, kv_heads, head_dim = config.heads(fill=True)
    if not grouped:
        kv_heads = 1 if config.flag("multi_query", default=True) else heads
    norms = config.whole("num_ln_in_parallel_attn", default=2 if grouped else 1)
    bias, hidden = config.flag("bias"), config.whole("hidden_size", default=4544)
    activation = config.text("activation", default="gelu")
    inner = config.whole("ffn_hidden_size", default=4 * hidden)
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, bias, bias, rotary=not config.flag("alibi")),
        FeedForwardSpec(inner, gated=False, bias=bias, activation=activation),
        parallel=parallel,
    )
    around = (TWO_NORMS if norms == 2 else ONE_NORM) if parallel else IN_TURN
    return Architecture(
        name,
        family="falcon",
        hidden=hidden,
        vocab=config.whole("vocab_size", default=65_024),
        layers=(layer,) * config.layers,
        max_context=config.max_context(default=2048),
        tied=config.flag("tie_word_embeddings", default=True),
        names={**COMMON, **around},
        norm="layer",
        dtype=config.dtype,
        rope_theta=0.0 if config.flag("alibi") else config.rope_theta(),
    )
