"""MPT (MosaicML, 2023): biases on scores instead of positions (ALiBi, arXiv 2108.12409), no others, fused QKV."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES

LAYER = "transformer.blocks.{layer}"
NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("transformer.wte.weight",),
    "norm_in": (f"{LAYER}.norm_1.weight",),
    "qkv": (f"{LAYER}.attn.Wqkv.weight",),
    "o": (f"{LAYER}.attn.out_proj.weight",),
    "norm_post": (f"{LAYER}.norm_2.weight",),
    "up": (f"{LAYER}.ffn.up_proj.weight",),
    "down": (f"{LAYER}.ffn.down_proj.weight",),
    "norm_out": ("transformer.norm_f.weight",),
    "head": ("lm_head.weight",),
}


@FAMILIES.register("mpt")
def mpt(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads(fill=True)
    attention = config.block("attn_config")
    for field in ("qk_ln", "prefix_lm"):
        if attention.flag(field):
            raise attention.error(field, "not described", why="transformers' MptForCausalLM does not build it either")
    hidden = config.whole("d_model", "hidden_size")
    inner = 4 * hidden  # MptMLP ignores `expansion_ratio`
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, rotary=False),
        FeedForwardSpec(inner, gated=False, activation="gelu"),
    )
    return Architecture(
        name,
        family="mpt",
        hidden=hidden,
        vocab=config.whole("vocab_size"),
        layers=(layer,) * config.layers,
        max_context=config.whole("max_seq_len", "max_position_embeddings", default=2048),
        tied=config.flag("tie_word_embeddings", default=True),
        names=NAMES,
        norm="layer",
        dtype=config.dtype,
    )
