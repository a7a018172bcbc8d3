"""GLM-4.5 (arXiv 2508.06471): half of each head turns, optional QK-norm, dense first layers, shared experts."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.qwen import NAMES as QWEN

NAMES: Mapping[str, tuple[str, ...]] = {
    **QWEN,
    **{f"shared_{role}": (f"{LAYER}.mlp.shared_experts.{role}_proj.weight",) for role in ("gate", "up", "down")},
}


@FAMILIES.register("glm4_moe")
def glm4_moe(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    turned = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=0.5))
    attention = AttentionSpec(
        heads, kv_heads, head_dim, config.flag("attention_bias"), qk_norm=config.flag("use_qk_norm"), rotary=turned
    )
    activation, inner = config.text("hidden_act", default="silu"), config.whole("moe_intermediate_size", default=1408)
    experts = config.whole("n_routed_experts", "num_local_experts", default=128)
    mixture = FeedForwardSpec(
        inner,
        activation=activation,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", default=8, high=experts),
        shared=inner * config.whole("n_shared_experts", default=1),
    )
    dense = LayerSpec(attention, FeedForwardSpec(config.whole("intermediate_size"), activation=activation))
    sparse, first = LayerSpec(attention, mixture), config.whole("first_k_dense_replace", default=1, low=0)
    layers = tuple(dense if i < first else sparse for i in range(config.layers))
    return Architecture(name, layers=layers, names=NAMES, **shape(config))
