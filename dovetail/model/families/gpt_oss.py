"""gpt-oss (arXiv 2508.10925): windows on every other layer, sinks, biases everywhere, a mixture in each layer.

The experts of a layer are one tensor of (experts, inputs, outputs); the hub's checkpoints hold it in MXFP4.
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, linear, shape
from dovetail.model.families.llama import NAMES as LLAMA
from dovetail.model.families.patterns import kinds

_EXPERTS = f"{LAYER}.mlp.experts"
NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    "sinks": (f"{LAYER}.self_attn.sinks",),
    "router": linear("mlp.router"),
    "expert_gate_up": (f"{_EXPERTS}.gate_up_proj", f"{_EXPERTS}.gate_up_proj_bias"),
    "expert_down": (f"{_EXPERTS}.down_proj", f"{_EXPERTS}.down_proj_bias"),
}


@FAMILIES.register("gpt_oss")
def gpt_oss(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads(head_dim=64)
    bias, window = config.flag("attention_bias", default=True), config.whole("sliding_window", default=128)
    experts = config.whole("num_local_experts", "num_experts", default=128)
    mixture = FeedForwardSpec(
        config.whole("intermediate_size"),
        bias=True,
        activation=config.text("hidden_act", default="silu"),
        experts=experts,
        top_k=config.whole("num_experts_per_tok", "experts_per_token", default=4, high=experts),
        router_bias=True,
    )
    full, sliding = (
        LayerSpec(AttentionSpec(heads, kv_heads, head_dim, bias, bias, window=view, sinks=True), mixture)
        for view in (None, window)
    )
    known = ("sliding_attention", "full_attention")
    views = kinds(config, "layer_types", known, [known[i % 2] for i in range(config.layers)])
    return Architecture(
        name,
        layers=tuple(full if view == "full_attention" else sliding for view in views),
        names=NAMES,
        fused_inputs_first=True,
        **{**shape(config), "rope_theta": config.rope_theta(150_000.0)},
    )
