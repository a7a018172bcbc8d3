"""Llama-Nemotron (NVIDIA, arXiv 2505.00949): Llama whose every layer a search gave its own widths, or no attention.

Layers name a multiple of the hidden size for the feed-forward block, of which two thirds, rounded up to 256, are its
channels, and the query heads that share a KV head. What the search may also have put there (a linear layer in place of
a block, windows, sparsity) occurs in no published model at hand and is refused.
"""

from __future__ import annotations

from typing import Any

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import NAMES, shape

_MULTIPLE = 256
_REFUSED = ("replace_with_linear", "sparsify", "window_length", "num_sink_tokens", "unshifted_sink")


@FAMILIES.register("nemotron-nas")
def nemotron_nas(config: Config, name: str) -> Architecture:
    listed = config.fields.get("block_configs")
    if not isinstance(listed, list) or len(listed) != config.layers:
        raise config.error("block_configs", f"does not list a block for each of {config.layers} layers")
    made: dict[str, LayerSpec] = {}  # equal layers are one object, which a graph compares once
    layers = tuple(made.setdefault(repr(block), _layer(config, i, block)) for i, block in enumerate(listed))
    return Architecture(name, layers=layers, names=NAMES, **shape(config))


def _layer(config: Config, index: int, block: Any) -> LayerSpec:
    where = Config({"block": block}, f"{config.where}: block_configs[{index}]").block("block")
    attention, inner = where.block("attention"), where.block("ffn")
    for part in (attention, inner):
        for field in _REFUSED:
            if part.fields.get(field):
                raise part.error(field, f"{part[field]!r} is not described")
    return LayerSpec(_attention(config, attention), _feed_forward(config, inner))


def _attention(config: Config, part: Config) -> AttentionSpec | None:
    if part.flag("no_op"):
        return None
    heads, _, head_dim = config.heads()
    sharing = part.whole("n_heads_in_group", high=heads)
    if heads % sharing:
        raise part.error("n_heads_in_group", f"{heads} heads do not divide into groups of {sharing}")
    bias = config.flag("attention_bias")
    return AttentionSpec(heads, heads // sharing, head_dim, qkv_bias=bias, out_bias=bias)


def _feed_forward(config: Config, part: Config) -> FeedForwardSpec | None:
    if part.flag("no_op"):
        return None
    if part.fields.get("ffn_mult") is None:
        raise part.error("ffn_mult", "missing", why="it is required where the block is not a no_op")
    wanted = int(2 * part.number("ffn_mult", default=1.0) * config.whole("hidden_size") / 3)
    channels = -(-wanted // _MULTIPLE) * _MULTIPLE
    activation = config.text("hidden_act", default="silu")
    return FeedForwardSpec(channels, bias=config.flag("mlp_bias"), activation=activation)
