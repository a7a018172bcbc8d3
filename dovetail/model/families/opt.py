"""OPT (arXiv 2205.01068): LayerNorm, learned positions with two rows to spare, ReLU, biases everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES

LAYER = "model.decoder.layers.{layer}"


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of one module of a layer."""
    return f"{LAYER}.{path}.weight", f"{LAYER}.{path}.bias"


NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("model.decoder.embed_tokens.weight",),
    "positions": ("model.decoder.embed_positions.weight",),
    "project_in": ("model.decoder.project_in.weight",),
    "project_out": ("model.decoder.project_out.weight",),
    "norm_in": pair("self_attn_layer_norm"),
    **{role: pair(f"self_attn.{role}_proj") for role in "qkv"},
    "o": pair("self_attn.out_proj"),
    "norm_post": pair("final_layer_norm"),
    "up": pair("fc1"),
    "down": pair("fc2"),
    "norm_out": ("model.decoder.final_layer_norm.weight", "model.decoder.final_layer_norm.bias"),
    "head": ("lm_head.weight",),
}
_SPARE = 2  # the table starts with rows for padding (OPTLearnedPositionalEmbedding.offset)


@FAMILIES.register("opt")
def opt(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads(fill=True)
    if not config.flag("layer_norm_elementwise_affine", default=True):
        raise config.error("layer_norm_elementwise_affine", "norms without weights are not described")
    bias = config.flag("enable_bias", default=True)
    activation = config.text("activation_function", default="relu")
    hidden, positions = config.whole("hidden_size"), config.whole("max_position_embeddings", default=2048)
    width = config.whole("word_embed_proj_dim", default=hidden)
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qkv_bias=bias, out_bias=bias, rotary=False),
        FeedForwardSpec(config.whole("ffn_dim"), gated=False, bias=bias, activation=activation),
    )
    last = config.flag("do_layer_norm_before", default=True) and not config.flag("_remove_final_layer_norm")
    return Architecture(
        name,
        family="opt",
        hidden=hidden,
        vocab=config.whole("vocab_size"),
        layers=(layer,) * config.layers,
        max_context=positions,
        tied=config.flag("tie_word_embeddings", default=True),
        names=NAMES if last else {role: names for role, names in NAMES.items() if role != "norm_out"},
        norm="layer",
        learned_positions=positions + _SPARE,
        dtype=config.dtype,
        embed_dim=None if width == hidden else width,
    )
