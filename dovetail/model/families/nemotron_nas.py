"""Llama-Nemotron Super and Ultra (NVIDIA, arXiv 2505.00949): Llamas whose blocks a search shrank or left out.

``block_configs`` says of each layer how many query heads share a KV head and how wide its feed-forward block is, or
that a block is not there, its norm included.
"""

from __future__ import annotations

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import NAMES, shape

# What may stand in a block's place or change it, besides leaving it out: none is in a published model.
_OTHER = {
    "attention": ("replace_with_linear", "sparsify", "window_length", "num_sink_tokens", "unshifted_sink",
                  "use_prefill_window_in_sink_attention"),
    "ffn": ("replace_with_linear", "sparsify"),
}  # fmt: skip
_MULTIPLE = 256  # the width inside a feed-forward block is rounded up to


@FAMILIES.register("nemotron-nas")
def nemotron_nas(config: Config, name: str) -> Architecture:
    listed = config.fields.get("block_configs")
    if not isinstance(listed, list) or len(listed) != config.layers:
        what = "does not list a block for each layer" if listed else "missing"
        raise config.error("block_configs", what, why=f"{config.layers} layers")
    made: dict[tuple[AttentionSpec | None, FeedForwardSpec | None], LayerSpec] = {}
    layers = []
    for i, fields in enumerate(listed):
        block = Config({f"block_configs[{i}]": fields}, config.where).block(f"block_configs[{i}]")
        pair = _attention(config, _part(block, "attention")), _feed_forward(config, _part(block, "ffn"))
        layers.append(made.setdefault(pair, LayerSpec(*pair)))
    return Architecture(name, layers=tuple(layers), names=NAMES, **shape(config))


def _part(block: Config, kind: str) -> Config | None:
    """The fields of one block; None where it is left out."""
    part = block.block(kind)
    for key in _OTHER[kind]:
        if part.get(key):
            raise part.error(key, "not described")
    return None if part.flag("no_op") else part


def _attention(config: Config, part: Config | None) -> AttentionSpec | None:
    if part is None:
        return None
    heads, hidden = config.whole("num_attention_heads"), config.whole("hidden_size")
    shared = part.whole("n_heads_in_group")
    if heads % shared:
        raise part.error("n_heads_in_group", f"{heads} heads do not divide into groups of {shared}")
    if config.get("head_dim") is None and hidden % heads:
        raise config.error("num_attention_heads", f"{hidden} channels do not divide into {heads} heads")
    bias = config.flag("attention_bias")
    return AttentionSpec(heads, heads // shared, config.whole("head_dim", default=hidden // heads), bias, bias)


def _feed_forward(config: Config, part: Config | None) -> FeedForwardSpec | None:
    """Two thirds of ``ffn_mult`` times the hidden size, rounded up."""
    if part is None:
        return None
    if part.get("ffn_mult") is None:
        raise part.error("ffn_mult", "missing")
    inner = int(2 * part.number("ffn_mult", default=0) * config.whole("hidden_size") / 3)
    inner += -inner % _MULTIPLE
    return FeedForwardSpec(inner, bias=config.flag("mlp_bias"), activation=config.text("hidden_act", default="silu"))
