"""Qwen3-Next: gated delta nets, every fourth layer gated attention, mixtures beside a gated shared expert."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.delta_net import DeltaNetSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import kinds
from dovetail.model.families.qwen2_moe import NAMES as QWEN2_MOE

_SCAN = f"{LAYER}.linear_attn"
# What Qwen3.5 has too
SHARED: Mapping[str, tuple[str, ...]] = {
    **QWEN2_MOE,
    "q_norm": (f"{LAYER}.self_attn.q_norm.weight",),
    "k_norm": (f"{LAYER}.self_attn.k_norm.weight",),
    "scan_conv": (f"{_SCAN}.conv1d.weight",),
    "scan_decay": (f"{_SCAN}.A_log",),
    "scan_step": (f"{_SCAN}.dt_bias",),
    "scan_norm": (f"{_SCAN}.norm.weight",),
    "scan_out": (f"{_SCAN}.out_proj.weight",),
}
NAMES: Mapping[str, tuple[str, ...]] = {
    **SHARED,
    **{f"scan_{parts}": (f"{_SCAN}.in_proj_{parts}.weight",) for parts in ("qkvz", "ba")},
}
_MIXERS = ("linear_attention", "full_attention")


@FAMILIES.register("qwen3_next")
def qwen3_next(config: Config, name: str) -> Architecture:
    sparse = mixture(config, experts=512, top_k=10)
    dense = FeedForwardSpec(
        config.whole("intermediate_size", default=5632), activation=config.text("hidden_act", default="silu")
    )
    step, plain = config.whole("decoder_sparse_step", default=1), set(config.whole_list("mlp_only_layers"))
    blocks = [dense if i in plain or (i + 1) % step else sparse for i in range(config.layers)]
    return Architecture(name, layers=hybrid(config, blocks), names=NAMES, **shape(config))


def hybrid(config: Config, blocks: list[FeedForwardSpec]) -> tuple[LayerSpec, ...]:
    """Layers with these feed-forward blocks, attention where ``layer_types`` or ``full_attention_interval`` says."""
    every = config.whole("full_attention_interval", default=4)
    default = [_MIXERS[(i + 1) % every == 0] for i in range(config.layers)]
    scan, attention = _scan(config), _attention(config)
    mixers = [attention if k == "full_attention" else scan for k in kinds(config, "layer_types", _MIXERS, default)]
    pairs = list(zip(mixers, blocks, strict=True))
    made = {(id(mixer), id(block)): LayerSpec(mixer, block) for mixer, block in pairs}
    return tuple(made[id(mixer), id(block)] for mixer, block in pairs)


def mixture(config: Config, *, experts: int, top_k: int) -> FeedForwardSpec:
    """The mixture and its shared expert; the numbers are the family's defaults."""
    experts = config.whole("num_experts", "num_local_experts", default=experts)
    return FeedForwardSpec(
        config.whole("moe_intermediate_size", default=512),
        activation=config.text("hidden_act", default="silu"),
        experts=experts,
        top_k=config.whole("num_experts_per_tok", default=top_k, high=experts),
        shared=config.whole("shared_expert_intermediate_size", default=512),
        shared_gate=True,
    )


def _attention(config: Config) -> AttentionSpec:
    heads, kv_heads, head_dim = config.heads(head_dim=256)
    bias = config.flag("attention_bias")
    turned = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=0.25))
    return AttentionSpec(heads, kv_heads, head_dim, bias, bias, qk_norm=True, rotary=turned, gate="channel")


def _scan(config: Config) -> DeltaNetSpec:
    keys = config.whole("linear_num_key_heads", default=16)
    values = config.whole("linear_num_value_heads", default=32)
    if values % keys:
        raise config.error("linear_num_value_heads", f"{values} value heads cannot share {keys} key heads evenly")
    return DeltaNetSpec(
        values, config.whole("linear_value_head_dim", default=128), keys,
        config.whole("linear_key_head_dim", default=128), config.whole("linear_conv_kernel_dim", default=4),
    )  # fmt: skip
