"""DeepSeek-V4 (DeepSeek-AI, 2026): windows and compressed entries, several residual streams, mixtures throughout.

A layer sees a window alone, or also one entry for each few tokens of which an index picks some (compressed sparse
attention), or also one for each many tokens and all of those (heavily compressed attention). The first mixtures look
their experts up by token (hash routing): which experts, not how many, so a step costs the same. That table, a buffer,
is not counted, nor are the multi-token-prediction layers. Names are those `transformers` saves under.

``deepseek_ref`` is the type that conversions for DeepSeek's reference code carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dovetail.model.architecture import Architecture, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.compressed_attention import CompressedAttentionSpec
from dovetail.model.blocks.compressor import CompressorSpec
from dovetail.model.blocks.hyper_connection import HyperConnectionSpec
from dovetail.model.blocks.latent import IndexSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import kinds


def _weights(path: str, roles: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """One tensor ``path.name`` for each role."""
    return {role: (f"{LAYER}.{path}.{name}",) for role, name in roles.items()}


def _compressor(prefix: str, path: str) -> dict[str, tuple[str, ...]]:
    parts = {"kv": "wkv.weight", "gate": "wgate.weight", "bias": "ape", "norm": "norm.weight"}
    return _weights(path, {f"{prefix}_{role}": name for role, name in parts.items()})


def _streams(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{part}" for part in ("fn", "base", "scale"))


_PROJECTIONS = {"gate": "w1", "up": "w3", "down": "w2"}
NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("model.embed_tokens.weight",),
    "norm_in": (f"{LAYER}.attn_norm.weight",),
    **_weights("attn", {role: f"w{role}.weight" for role in ("q_a", "q_b", "kv", "o_a", "o_b")}),
    **_weights("attn", {"q_a_norm": "q_norm.weight", "kv_norm": "norm.weight", "sinks": "attn_sink"}),
    **_compressor("compress", "attn.compressor"),
    **_compressor("index_compress", "attn.indexer.compressor"),
    **_weights("attn.indexer", {"index_q": "wq_b.weight", "index_weights": "weights_proj.weight"}),
    "norm_post": (f"{LAYER}.ffn_norm.weight",),
    **_weights("ffn", {"router": "gate.weight"}),
    **_weights("ffn.experts.{expert}", {f"expert_{role}": f"{w}.weight" for role, w in _PROJECTIONS.items()}),
    **_weights("ffn.shared_experts", {f"shared_{role}": f"{w}.weight" for role, w in _PROJECTIONS.items()}),
    "streams_mixer": _streams(f"{LAYER}.hc_attn"),
    "streams_ffn": _streams(f"{LAYER}.hc_ffn"),
    "streams_out": _streams("model.hc_head.hc"),
    "norm_out": ("model.norm.weight",),
    "head": ("head.weight",),
}
_WINDOW, _SPARSE, _HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
_BY_RATIO = {0: _WINDOW, 4: _SPARSE, 128: _HEAVY}


@FAMILIES.register("deepseek_v4", "deepseek_ref")
def deepseek_v4(config: Config, name: str) -> Architecture:
    if config.text("model_type") == "deepseek_ref" and "DeepseekV4ForCausalLM" not in config.get("architectures", ()):
        raise config.error("architectures", "not described: only DeepseekV4ForCausalLM of this type is")
    mixture, attention = _mixture(config), _attention(config)
    specs = {view: LayerSpec(mixer, mixture) for view, mixer in attention.items()}
    streams = HyperConnectionSpec(config.whole("hc_mult", default=4), config.whole("hc_sinkhorn_iters", default=20))
    layers = tuple(specs[view] for view in views(config))
    known = {**shape(config), "rope_theta": config.number("rope_theta", default=10_000.0)}
    return Architecture(name, layers=layers, names=NAMES, streams=streams, **known)


def views(config: Config) -> list[str]:
    """The kind of attention of each layer: ``layer_types``, or ``compress_ratios`` of 0, 4 or 128.

    Where a config is silent, two heavily compressed layers, then those in turn with sparse ones.
    """
    ratios = config.whole_list("compress_ratios")
    if strange := sorted(set(ratios) - set(_BY_RATIO)):
        raise config.error("compress_ratios", f"{strange[0]} is not known", why="one of 0, 4, 128")
    if ratios and len(ratios) < config.layers:
        raise config.error("compress_ratios", f"{len(ratios)} entries for {config.layers} layers")
    silent = [_SPARSE if i > 1 and i % 2 else _HEAVY for i in range(config.layers)]
    return kinds(config, "layer_types", tuple(_BY_RATIO.values()), [_BY_RATIO[r] for r in ratios] or silent)


def _attention(config: Config) -> dict[str, CompressedAttentionSpec]:
    """The attention of each kind of layer."""
    heads, kv_heads, head_dim = config.heads(head_dim=512)
    if kv_heads != 1:
        raise config.error("num_key_value_heads", "not described: all heads of this family share one key", hint="1")
    groups = config.whole("o_groups", default=8)
    if heads % groups:
        raise config.error("o_groups", f"{heads} heads do not divide into {groups} groups")
    window = CompressedAttentionSpec(
        heads, head_dim, _turned(config, head_dim), config.whole("q_lora_rank", default=1024), groups,
        config.whole("o_lora_rank", default=1024), config.whole("sliding_window", default=128),
    )  # fmt: skip
    few, many = _rates(config)
    width = config.whole("index_head_dim", default=128)
    index = IndexSpec(config.whole("index_n_heads", default=64), width, CompressorSpec(few, width, overlap=True))
    sparse = replace(
        window, compressor=CompressorSpec(few, head_dim, overlap=True), index=index,
        selected=config.whole("index_topk", default=512),
    )  # fmt: skip
    return {_WINDOW: window, _SPARSE: sparse, _HEAVY: replace(window, compressor=CompressorSpec(many, head_dim))}


def _turned(config: Config, head_dim: int) -> int:
    """Channels of a head with rotary positions: ``partial_rotary_factor`` of them, or ``qk_rope_head_dim``."""
    if config.fields.get("partial_rotary_factor") is not None:
        share = config.number("partial_rotary_factor", default=1.0)
        if share > 1:
            raise config.error("partial_rotary_factor", f"{share} is out of range", why="a share of the channels")
        return int(head_dim * share)
    return config.whole("qk_rope_head_dim", default=head_dim // 8, high=head_dim)


def _rates(config: Config) -> tuple[int, int]:
    """Tokens of an entry in sparse and in heavily compressed layers, two at least."""
    named = config.block("compress_rates")
    few = config.whole("compress_rate_csa", default=named.whole(_SPARSE, default=4), low=2)
    return few, config.whole("compress_rate_hca", default=named.whole(_HEAVY, default=128), low=2)


def _mixture(config: Config) -> FeedForwardSpec:
    """Routed experts and one that every token meets; layers with hash routing are the same but for the choice."""
    if config.flag("mlp_bias"):
        raise config.error("mlp_bias", "not described: the experts of this family have no biases")
    if config.whole("n_shared_experts", default=1) != 1:
        raise config.error("n_shared_experts", "not described: this family has one shared expert", hint="1")
    hashed = config.whole("num_hash_layers", default=3, low=0)
    kinds(
        config,
        "mlp_layer_types",
        ("hash_moe", "moe"),
        ["hash_moe" if i < hashed else "moe" for i in range(config.layers)],
    )
    inner, experts = config.whole("moe_intermediate_size", default=2048), config.whole("n_routed_experts", default=256)
    return FeedForwardSpec(
        inner, activation=config.text("hidden_act", default="silu"), experts=experts,
        top_k=config.whole("num_experts_per_tok", default=6, high=experts), shared=inner,
    )  # fmt: skip
