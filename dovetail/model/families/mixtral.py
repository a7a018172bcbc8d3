"""Mixtral (arXiv 2401.04088): Mistral whose feed-forward is a mixture; names as saved (``block_sparse_moe``)."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.llama import NAMES as LLAMA

_MOE = f"{LAYER}.block_sparse_moe"
NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    "router": (f"{_MOE}.gate.weight",),
    "expert_gate": (f"{_MOE}.experts.{{expert}}.w1.weight",),
    "expert_up": (f"{_MOE}.experts.{{expert}}.w3.weight",),
    "expert_down": (f"{_MOE}.experts.{{expert}}.w2.weight",),
}


@FAMILIES.register("mixtral")
def mixtral(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    experts = config.whole("num_local_experts", "num_experts", default=8)
    layer = LayerSpec(
        AttentionSpec(heads, kv_heads, head_dim, window=config.whole("sliding_window", default=0) or None),
        FeedForwardSpec(
            config.whole("intermediate_size"),
            activation=config.text("hidden_act", default="silu"),
            experts=experts,
            top_k=config.whole("num_experts_per_tok", default=2, high=experts),
        ),
    )
    return Architecture(name, layers=(layer,) * config.layers, names=NAMES, **shape(config))
