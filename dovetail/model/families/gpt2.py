"""GPT-2 (Radford et al. 2019): LayerNorm, learned positions, fused QKV, ``Conv1D`` weights stored (inputs, outputs)."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of one module."""
    return f"transformer.{path}.weight", f"transformer.{path}.bias"


NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("transformer.wte.weight",),
    "positions": ("transformer.wpe.weight",),
    "norm_in": pair("h.{layer}.ln_1"),
    "qkv": pair("h.{layer}.attn.c_attn"),
    "o": pair("h.{layer}.attn.c_proj"),
    "norm_post": pair("h.{layer}.ln_2"),
    "up": pair("h.{layer}.mlp.c_fc"),
    "down": pair("h.{layer}.mlp.c_proj"),
    "norm_out": pair("ln_f"),
    "head": ("lm_head.weight",),
}


@FAMILIES.register("gpt2")
def gpt2(config: Config, name: str) -> Architecture:
    if config.flag("add_cross_attention"):
        raise config.error("add_cross_attention", "a decoder with cross-attention is not a language model by itself")
    heads, kv_heads, head_dim = config.heads(fill=True)
    hidden, positions = config.whole("n_embd", "hidden_size"), config.whole("n_positions", default=1024)
    activation = config.text("activation_function", default="gelu_new")
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qkv_bias=True, out_bias=True, rotary=False),
        FeedForwardSpec(config.whole("n_inner", default=4 * hidden), gated=False, bias=True, activation=activation),
    )
    return Architecture(
        name,
        family="gpt2",
        hidden=hidden,
        vocab=config.whole("vocab_size"),
        layers=(layer,) * config.layers,
        max_context=positions,
        tied=config.flag("tie_word_embeddings", default=True),
        names=NAMES,
        norm="layer",
        learned_positions=positions,
        inputs_first=True,
        dtype=config.dtype,
    )
