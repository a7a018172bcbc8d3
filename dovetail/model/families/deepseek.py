"""DeepSeek-V2 (arXiv 2405.04434), V3 and R1 (2412.19437), Kimi K2: latent attention, shared experts, dense start.

The multi-token-prediction layer of V3 is not part of the model's step and is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dovetail.model.architecture import Architecture, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.latent import LatentAttentionSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.glm4_moe import NAMES as MIXTURE
from dovetail.model.families.llama import LAYER, linear, shape
from dovetail.model.families.patterns import kinds

NAMES: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in MIXTURE.items() if role not in ("k", "v", "q_norm", "k_norm")},
    "q_a": linear("self_attn.q_a_proj"),
    "q_a_norm": (f"{LAYER}.self_attn.q_a_layernorm.weight",),
    "q_b": linear("self_attn.q_b_proj"),
    "kv_a": linear("self_attn.kv_a_proj_with_mqa"),
    "kv_a_norm": (f"{LAYER}.self_attn.kv_a_layernorm.weight",),
    "kv_b": linear("self_attn.kv_b_proj"),
}


@FAMILIES.register("deepseek_v2", "deepseek_v3", "kimi_k2")
def deepseek(config: Config, name: str) -> Architecture:
    return stack(config, name, [latent_attention(config)] * config.layers)


def stack(config: Config, name: str, attention: Sequence[LatentAttentionSpec]) -> Architecture:
    """The layers of a config of DeepSeek's around the `attention` of each: dense ones first, then mixtures."""
    activation = config.text("hidden_act", default="silu")
    experts, inner = config.whole("n_routed_experts"), config.whole("moe_intermediate_size")
    if config.whole("moe_layer_freq", default=1) != 1:
        raise config.error("moe_layer_freq", "not described: every layer after the first dense ones is a mixture")
    mixture = FeedForwardSpec(
        inner,
        activation=activation,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", high=experts),
        shared=inner * config.whole("n_shared_experts", default=0, low=0),
    )
    dense = FeedForwardSpec(config.whole("intermediate_size"), activation=activation)
    first = config.whole("first_k_dense_replace", default=3 if config.text("model_type") != "deepseek_v2" else 0, low=0)
    default = ["dense" if i < first else "sparse" for i in range(config.layers)]
    blocks = {"dense": dense, "sparse": mixture}
    feed_forward = [blocks[kind] for kind in kinds(config, "mlp_layer_types", tuple(blocks), default)]
    pairs = list(zip(attention, feed_forward, strict=True))
    specs = {pair: LayerSpec(*pair) for pair in pairs}  # equal layers are one object, which a graph compares once
    layers = tuple(specs[pair] for pair in pairs)
    return Architecture(name, layers=layers, names=NAMES, **shape(config))


def latent_attention(config: Config) -> LatentAttentionSpec:
    """The latent attention of a config of DeepSeek's."""
    return LatentAttentionSpec(
        heads=config.whole("num_attention_heads"),
        q_rank=config.whole("q_lora_rank", default=0, low=0),
        kv_rank=config.whole("kv_lora_rank"),
        nope=config.whole("qk_nope_head_dim"),
        rope=config.whole("qk_rope_head_dim"),
        values=config.whole("v_head_dim"),
        bias=config.flag("attention_bias"),
    )
