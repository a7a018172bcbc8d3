"""Nemotron-H (arXiv 2504.03624) and Nemotron 3: layers of one block each – scan, attention, MLP or mixture."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.state_space import StateSpaceSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.mamba2 import LAYER, scan_names
from dovetail.model.families.patterns import kinds

_MIXER = f"{LAYER}.mixer"
_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_KINDS = {"mamba": "mamba", "attention": "attention", "full_attention": "attention", "mlp": "mlp", "moe": "moe"}


def _pair(path: str) -> tuple[str, str]:
    return f"{_MIXER}.{path}.weight", f"{_MIXER}.{path}.bias"


NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("backbone.embeddings.weight",),
    "norm_in": (f"{LAYER}.norm.weight",),
    "norm_post": (f"{LAYER}.norm.weight",),  # a layer has one block, and one norm before it
    **scan_names(_MIXER),
    **{role: _pair(f"{role}_proj") for role in ("q", "k", "v", "o", "up", "down")},
    "router": _pair("gate"),
    **{f"expert_{role}": _pair(f"experts.{{expert}}.{role}_proj") for role in ("up", "down")},
    **{f"shared_{role}": _pair(f"shared_experts.{role}_proj") for role in ("up", "down")},
    "latent_down": _pair("fc1_latent_proj"),
    "latent_up": _pair("fc2_latent_proj"),
    "norm_out": ("backbone.norm_f.weight",),
    "head": ("lm_head.weight",),
}


@FAMILIES.register("nemotron_h")
def nemotron_h(config: Config, name: str) -> Architecture:
    pattern = _pattern(config)
    made = {kind: _layer(config, kind) for kind in sorted(set(pattern))}
    return Architecture(
        name,
        family="nemotron_h",
        hidden=config.whole("hidden_size"),
        vocab=config.whole("vocab_size"),
        layers=tuple(made[kind] for kind in pattern),
        max_context=config.max_context(default=4096),
        tied=config.flag("tie_word_embeddings"),
        names=NAMES,
        dtype=config.dtype,
    )


def _pattern(config: Config) -> list[str]:
    """The kind of every layer: a list, or the older string of one letter a layer."""
    listed = config.fields.get("layers_block_type") or config.fields.get("layer_types")
    if listed is not None:
        key = "layers_block_type" if config.fields.get("layers_block_type") else "layer_types"
        if isinstance(listed, list):  # the number of layers is the list's where both are given
            config = Config({**config.fields, "num_hidden_layers": len(listed)}, config.where)
        return [_KINDS[kind] for kind in kinds(config, key, tuple(_KINDS), [])]
    text = config.text("hybrid_override_pattern")
    if set(text) - set(_LETTERS):
        raise config.error("hybrid_override_pattern", f"{text!r} does not name each layer by M, *, - or E")
    return [_LETTERS[letter] for letter in text]


def _layer(config: Config, kind: str) -> LayerSpec:
    if kind == "mamba":
        return LayerSpec(_scan(config), None)
    if kind == "attention":
        heads, kv_heads, head_dim = config.heads(head_dim=128)
        return LayerSpec(AttentionSpec(heads, kv_heads, head_dim, rotary=False), None)
    bias, activation = config.flag("mlp_bias"), config.text("mlp_hidden_act", default="relu2")
    if kind == "mlp":
        block = FeedForwardSpec(config.whole("intermediate_size"), gated=False, bias=bias, activation=activation)
        return LayerSpec(None, block)
    experts = config.whole("n_routed_experts")
    mixture = FeedForwardSpec(
        config.whole("moe_intermediate_size"),
        gated=False,
        activation=activation,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", high=experts),
        shared=config.whole("moe_shared_expert_intermediate_size"),
        width=config.whole("moe_latent_size", default=0, low=0) or None,
    )
    return LayerSpec(None, mixture)


def _scan(config: Config) -> StateSpaceSpec:
    return StateSpaceSpec(
        config.whole("mamba_num_heads", default=128), config.whole("mamba_head_dim", default=64),
        config.whole("ssm_state_size", default=128), config.whole("n_groups", "mamba_n_groups", default=8),
        config.whole("conv_kernel", "mamba_d_conv", default=4), config.flag("use_bias"),
        config.flag("use_conv_bias", default=True),
    )  # fmt: skip
