"""MiMo-V2-Flash (Xiaomi, 2025): five windows to one full layer, sinks in the windows, narrow value heads."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import flags, kinds
from dovetail.model.families.qwen import NAMES as QWEN

NAMES: Mapping[str, tuple[str, ...]] = {**QWEN, "sinks": (f"{LAYER}.self_attn.attention_sink_bias",)}
_VIEWS = ("full_attention", "sliding_attention")


@FAMILIES.register("mimo_v2_flash")
def mimo_v2_flash(config: Config, name: str) -> Architecture:
    full, sliding = _full(config), _sliding(config)
    dense, sparse = _blocks(config)
    pairs = {(view, sort): LayerSpec(mixer, block) for view, mixer in zip(_VIEWS, (full, sliding), strict=True)
             for sort, block in (("dense", dense), ("sparse", sparse))}  # fmt: skip
    layers = tuple(pairs[pair] for pair in zip(_views(config), _sorts(config), strict=True))
    theta = config.block("rope_parameters").block("full_attention").number(
        "rope_theta", default=config.number("rope_theta", default=5_000_000.0)
    )  # fmt: skip
    return Architecture(name, layers=layers, names=NAMES, **{**shape(config), "rope_theta": theta})


def _views(config: Config) -> list[str]:
    """``layer_types``, or ``hybrid_layer_pattern`` where 1 slides; by default all but the first and every sixth."""
    pattern = flags(config, "hybrid_layer_pattern")
    if pattern is None:
        pattern = [i > 0 and (i + 1) % 6 != 0 for i in range(config.layers)]
    return kinds(config, "layer_types", _VIEWS, [_VIEWS[slides] for slides in pattern])


def _sorts(config: Config) -> list[str]:
    """``mlp_layer_types``, or ``moe_layer_freq`` where 1 is a mixture; by default all but the first."""
    mixed = flags(config, "moe_layer_freq")
    mixed = [i > 0 for i in range(config.layers)] if mixed is None else mixed
    return kinds(config, "mlp_layer_types", ("dense", "sparse"), ["sparse" if m else "dense" for m in mixed])


def _turned(config: Config) -> float:
    rope = config.block("rope_parameters").block("full_attention")
    return rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=0.334))


def _full(config: Config) -> AttentionSpec:
    heads, kv_heads, head_dim = config.heads(head_dim=192)
    return AttentionSpec(
        heads, kv_heads, head_dim, config.flag("attention_bias"), value_dim=config.whole("v_head_dim", default=128),
        sinks=config.flag("add_full_attention_sink_bias"), rotary=_turned(config),
    )  # fmt: skip


def _sliding(config: Config) -> AttentionSpec:
    """Heads of its own, twice as many KV heads unless the config says otherwise."""
    heads, kv_heads, head_dim = config.heads(head_dim=192)
    return AttentionSpec(
        config.whole("swa_num_attention_heads", default=heads),
        config.whole("swa_num_key_value_heads", default=2 * kv_heads),
        config.whole("swa_head_dim", default=head_dim),
        config.flag("attention_bias"),
        value_dim=config.whole("swa_v_head_dim", "v_head_dim", default=128),
        window=config.whole("sliding_window", "sliding_window_size", default=128),
        sinks=config.flag("add_swa_attention_sink_bias", default=True),
        rotary=_turned(config),
    )


def _blocks(config: Config) -> tuple[FeedForwardSpec, FeedForwardSpec]:
    activation = config.text("hidden_act", default="silu")
    experts = config.whole("n_routed_experts", "num_local_experts", default=256)
    top_k = config.whole("num_experts_per_tok", default=8, high=experts)
    inner = config.whole("moe_intermediate_size", default=2048)
    mixture = FeedForwardSpec(inner, activation=activation, experts=experts, top_k=top_k)
    return FeedForwardSpec(config.whole("intermediate_size", default=16384), activation=activation), mixture
