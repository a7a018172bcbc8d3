"""StableLM 2 (arXiv 2402.17834) and StableLM 3B: a Llama with LayerNorm and a quarter of each head turned."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import NAMES as LLAMA
from dovetail.model.families.llama import linear, shape

NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    "norm_in": linear("input_layernorm"),
    "norm_post": linear("post_attention_layernorm"),
    "norm_out": ("model.norm.weight", "model.norm.bias"),
}
ONE_NORM = {role: names for role, names in NAMES.items() if role != "norm_post"}


@FAMILIES.register("stablelm")
def stablelm(config: Config, name: str) -> Architecture:
    if config.flag("qk_layernorm"):
        raise config.error("qk_layernorm", "a norm with its own weights for each head is not described")
    heads, kv_heads, head_dim = config.heads(fill=True)
    parallel = config.flag("use_parallel_residual")
    turned = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=0.25))
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qkv_bias=config.flag("use_qkv_bias"), rotary=turned),
        FeedForwardSpec(config.whole("intermediate_size"), activation=config.text("hidden_act", default="silu")),
        parallel=parallel,
    )
    names = ONE_NORM if parallel else NAMES
    return Architecture(name, layers=(layer,) * config.layers, names=names, norm="layer", **shape(config))
