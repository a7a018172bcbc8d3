"""The text part of Llama 4 (Meta, 2025): chunked attention, layers without positions, mixtures with a shared expert.

The experts of a layer are one tensor of (experts, inputs, outputs).
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, linear, shape
from dovetail.model.families.llama import NAMES as LLAMA
from dovetail.model.families.patterns import flags, kinds

_FF = f"{LAYER}.feed_forward"
NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    **{role: linear(f"feed_forward.{role}_proj") for role in ("gate", "up", "down")},
    "router": (f"{_FF}.router.weight",),
    "expert_gate_up": (f"{_FF}.experts.gate_up_proj",),
    "expert_down": (f"{_FF}.experts.down_proj",),
    **{f"shared_{role}": (f"{_FF}.shared_expert.{role}_proj.weight",) for role in ("gate", "up", "down")},
}


@FAMILIES.register("llama4_text")
def llama4_text(config: Config, name: str) -> Architecture:
    layers = tuple(
        LayerSpec(attention, block) for attention, block in zip(_attention(config), _blocks(config), strict=True)
    )
    known = {**shape(config), "rope_theta": config.rope_theta(500_000.0)}
    return Architecture(name, layers=layers, names=NAMES, fused_inputs_first=True, **known)


def _attention(config: Config) -> list[AttentionSpec]:
    """Rotary layers see their own chunk and normalise queries and keys; every fourth has no positions and sees all."""
    heads, kv_heads, head_dim = config.heads(head_dim=128)
    bias, norm = config.flag("attention_bias"), "plain" if config.flag("use_qk_norm", default=True) else False
    chunk = config.whole("attention_chunk_size", default=8192)
    every = config.whole("no_rope_layer_interval", default=4)
    turned = flags(config, "no_rope_layers") if config.fields.get("no_rope_layers") else None  # 1 means rotary
    turned = [(i + 1) % every != 0 for i in range(config.layers)] if turned is None else turned
    known = ("chunked_attention", "full_attention")
    views = kinds(config, "layer_types", known, [known[0] if t else known[1] for t in turned])

    def spec(rotary: bool, view: str) -> AttentionSpec:
        chunked = view == "chunked_attention"
        return AttentionSpec(
            heads, kv_heads, head_dim, bias, bias, norm if rotary else False,
            window=chunk if chunked else None, rotary=rotary, chunked=chunked,
        )  # fmt: skip

    specs = {(rotary, view): spec(rotary, view) for rotary in (True, False) for view in known}
    return [specs[pair] for pair in zip(turned, views, strict=True)]


def _blocks(config: Config) -> list[FeedForwardSpec]:
    """Mixtures in ``moe_layers``, by default the last of every ``interleave_moe_layer_step``."""
    activation, inner = config.text("hidden_act", default="silu"), config.whole("intermediate_size")
    experts = config.whole("num_local_experts", "num_experts", default=16)
    top_k = config.whole("num_experts_per_tok", default=1, high=experts)
    dense = FeedForwardSpec(config.whole("intermediate_size_mlp", default=16384), activation=activation)
    sparse = FeedForwardSpec(inner, activation=activation, experts=experts, top_k=top_k, shared=inner)
    every = config.whole("interleave_moe_layer_step", default=1)
    listed = set(config.whole_list("moe_layers"))
    if config.fields.get("moe_layers") is None:
        listed = set(range(every - 1, config.layers, every))
    return [sparse if i in listed else dense for i in range(config.layers)]
