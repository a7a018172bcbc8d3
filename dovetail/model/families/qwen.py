"""Qwen2/2.5 (arXiv 2412.15115), Qwen3 and Qwen3-MoE (arXiv 2505.09388): Llama with QKV biases, or with QK-norm.

MiMo (arXiv 2505.07608) is Qwen2 with multi-token-prediction layers, which are not part of the model's step.
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.llama import NAMES as LLAMA

NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    "q_norm": (f"{LAYER}.self_attn.q_norm.weight",),
    "k_norm": (f"{LAYER}.self_attn.k_norm.weight",),
    "router": (f"{LAYER}.mlp.gate.weight",),
    **{f"expert_{r}": (f"{LAYER}.mlp.experts.{{expert}}.{r}_proj.weight",) for r in ("gate", "up", "down")},
}


def windows(config: Config) -> list[int | None]:
    """Sliding window of each layer: ``layer_types``, else the layers from ``max_window_layers`` on."""
    window = config.whole("sliding_window", default=4096) if config.flag("use_sliding_window") else None
    kinds = config.fields.get("layer_types")
    if kinds is None:
        first = config.whole("max_window_layers", default=28, low=0)
        return [window if i >= first else None for i in range(config.layers)]
    if not isinstance(kinds, list) or len(kinds) != config.layers:
        raise config.error("layer_types", f"{kinds!r} does not list a kind for each of {config.layers} layers")
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise config.error("layer_types", f"{kind!r} is neither full_attention nor sliding_attention")
    return [window if kind == "sliding_attention" else None for kind in kinds]


@FAMILIES.register("qwen2", "qwen3", "mimo")
def qwen(config: Config, name: str) -> Architecture:
    three = config.text("model_type") == "qwen3"
    heads, kv_heads, head_dim = config.heads(head_dim=128 if three else None)
    bias = config.flag("attention_bias") if three else True
    block = FeedForwardSpec(config.whole("intermediate_size"), activation=config.text("hidden_act", default="silu"))

    def layer(window: int | None) -> LayerSpec:
        attention = AttentionSpec(heads, kv_heads, head_dim, bias, bias and three, qk_norm=three, window=window)
        return LayerSpec(attention, block)

    views = windows(config)
    kinds = {window: layer(window) for window in views}
    return Architecture(name, layers=tuple(kinds[w] for w in views), names=NAMES, **shape(config))


@FAMILIES.register("qwen3_moe")
def qwen3_moe(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    bias = config.flag("attention_bias")
    window = config.whole("sliding_window", default=4096) if config.flag("use_sliding_window") else None
    attention = AttentionSpec(heads, kv_heads, head_dim, qkv_bias=bias, out_bias=bias, qk_norm=True, window=window)
    activation = config.text("hidden_act", default="silu")
    experts = config.whole("num_experts", "num_local_experts", default=128)
    top_k = config.whole("num_experts_per_tok", default=8, high=experts)
    step, plain = config.whole("decoder_sparse_step", default=1), set(config.whole_list("mlp_only_layers"))
    mixture = FeedForwardSpec(
        config.whole("moe_intermediate_size"), activation=activation, experts=experts, top_k=top_k
    )
    block = FeedForwardSpec(config.whole("intermediate_size", default=6144), activation=activation)
    sparse, dense = LayerSpec(attention, mixture), LayerSpec(attention, block)
    layers = tuple(dense if i in plain or (i + 1) % step else sparse for i in range(config.layers))
    return Architecture(name, layers=layers, names=NAMES, **shape(config))
