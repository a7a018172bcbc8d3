"""MiniMax-M2 (MiniMax, 2025): a mixture in each layer, queries and keys normalised over all heads at once."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.mixtral import NAMES as MIXTRAL

NAMES: Mapping[str, tuple[str, ...]] = {
    **MIXTRAL,
    **{role: (f"{LAYER}.self_attn.{role}.weight",) for role in ("q_norm", "k_norm")},
}


@FAMILIES.register("minimax_m2")
def minimax_m2(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads(head_dim=128)
    experts = config.whole("num_local_experts", "num_experts", default=256)
    norm = "full" if config.flag("use_qk_norm", default=True) else False
    turned = config.whole("rotary_dim", default=head_dim, high=head_dim) / head_dim
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, qk_norm=norm, rotary=turned),
        FeedForwardSpec(
            config.whole("intermediate_size"),
            activation=config.text("hidden_act", default="silu"),
            experts=experts,
            top_k=config.whole("num_experts_per_tok", default=8, high=experts),
        ),
    )
    known = {**shape(config), "rope_theta": config.rope_theta(5_000_000.0)}
    return Architecture(name, layers=(layer,) * config.layers, names=NAMES, **known)
