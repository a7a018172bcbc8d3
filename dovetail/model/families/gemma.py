"""Gemma 1 to 3 (arXiv 2403.08295, 2408.00118, 2503.19786): tied, GELU gates; then windows and norms on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, NAMES, shape
from dovetail.model.families.patterns import kinds

_VIEWS = ("sliding_attention", "full_attention")
_BOTH_SIDES: Mapping[str, tuple[str, ...]] = {
    **NAMES,
    "norm_mixer_out": (f"{LAYER}.post_attention_layernorm.weight",),
    "norm_post": (f"{LAYER}.pre_feedforward_layernorm.weight",),
    "norm_ffn_out": (f"{LAYER}.post_feedforward_layernorm.weight",),
}
_QK_NORM: Mapping[str, tuple[str, ...]] = {
    **_BOTH_SIDES,
    "q_norm": (f"{LAYER}.self_attn.q_norm.weight",),
    "k_norm": (f"{LAYER}.self_attn.k_norm.weight",),
}


@FAMILIES.register("gemma")
def gemma(config: Config, name: str) -> Architecture:
    return _gemma(config, name, NAMES, [None] * config.layers)


@FAMILIES.register("gemma2")
def gemma2(config: Config, name: str) -> Architecture:
    """Windows on every other layer, from the first; scores and logits pass through a tanh."""
    views = kinds(config, "layer_types", _VIEWS, [_VIEWS[i % 2] for i in range(config.layers)])
    return _gemma(config, name, _BOTH_SIDES, _windows(config, views), softcap=True)


@FAMILIES.register("gemma3_text")
def gemma3_text(config: Config, name: str) -> Architecture:
    """Five layers with a window, then a full one; queries and keys are normalised."""
    period = config.whole("sliding_window_pattern", "_sliding_window_pattern", default=6)
    views = kinds(config, "layer_types", _VIEWS, [_VIEWS[(i + 1) % period == 0] for i in range(config.layers)])
    model = _gemma(config, name, _QK_NORM, _windows(config, views), qk_norm=True)
    theta = config.rope.block("full_attention").number("rope_theta", default=config.rope_theta(1_000_000.0))
    # The config writes the length that its rope is stretched to (section 2: 32k tokens, times 8 at the end, for 128k)
    return replace(model, max_context=config.whole("max_position_embeddings", default=131_072), rope_theta=theta)


def _windows(config: Config, views: list[str]) -> list[int | None]:
    window = config.whole("sliding_window", default=4096)
    return [window if view == "sliding_attention" else None for view in views]


def _gemma(
    config: Config, name: str, names: Mapping[str, tuple[str, ...]], windows: list[int | None],
    *, qk_norm: bool = False, softcap: bool = False,
) -> Architecture:  # fmt: skip
    heads, kv_heads, head_dim = config.heads(head_dim=256)
    bias = config.flag("attention_bias")
    activation = config.text("hidden_activation", "hidden_act", default="gelu_pytorch_tanh")
    block = FeedForwardSpec(config.whole("intermediate_size"), activation=activation)

    def layer(window: int | None) -> LayerSpec:
        mixer = AttentionSpec(
            heads, kv_heads, head_dim, qkv_bias=bias, out_bias=bias, qk_norm=qk_norm, window=window, softcap=softcap
        )
        return LayerSpec(mixer, block)

    made = {window: layer(window) for window in windows}
    known = {**shape(config), "tied": config.flag("tie_word_embeddings", default=True)}
    return Architecture(name, layers=tuple(made[w] for w in windows), names=names, **known)
