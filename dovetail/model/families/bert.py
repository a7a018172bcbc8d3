"""BERT (arXiv 1810.04805): an encoder with norms after each residual, and the head that fills in masked words.

Parameters are those of `BertLMHeadModel`: no pooler, a decoder tied to the token table, and a bias of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.core.formats import plain
from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec, Stored
from dovetail.model.blocks.head_transform import HeadTransformSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.operators import Weight


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of one module."""
    return f"{path}.weight", f"{path}.bias"


def inside(path: str) -> tuple[str, str]:
    """Weight and bias of one module of a layer."""
    return pair(f"bert.encoder.layer.{{layer}}.{path}")


HEAD = "cls.predictions"
# Each norm stands after its residual, not before the next block: as many norms of the same stream, at the same cost
NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("bert.embeddings.word_embeddings.weight",),
    "positions": ("bert.embeddings.position_embeddings.weight",),
    "norm_embed": pair("bert.embeddings.LayerNorm"),
    "q": inside("attention.self.query"),
    "k": inside("attention.self.key"),
    "v": inside("attention.self.value"),
    "o": inside("attention.output.dense"),
    "norm_in": inside("attention.output.LayerNorm"),
    "up": inside("intermediate.dense"),
    "down": inside("output.dense"),
    "norm_post": inside("output.LayerNorm"),
    "transform": pair(f"{HEAD}.transform.dense"),
    "norm_transform": pair(f"{HEAD}.transform.LayerNorm"),
    "head": (f"{HEAD}.decoder.weight",),
    "head_bias": (f"{HEAD}.bias",),
}


@FAMILIES.register("bert")
def bert(config: Config, name: str) -> Architecture:
    if config.flag("add_cross_attention"):
        raise config.error("add_cross_attention", "a decoder with cross-attention is not a language model by itself")
    if not config.flag("tie_word_embeddings", default=True):
        raise config.error("tie_word_embeddings", "a decoder of its own is not described: BERT's is the token table")
    heads, _, head_dim = config.heads(fill=True)
    activation = config.text("hidden_act", default="gelu")
    positions = config.whole("max_position_embeddings", default=512)
    causal = config.flag("is_decoder")
    layer = LayerSpec(
        AttentionSpec(heads, heads, head_dim, qkv_bias=True, out_bias=True, rotary=False, causal=causal),
        FeedForwardSpec(config.whole("intermediate_size"), gated=False, bias=True, activation=activation),
    )
    return Architecture(
        name,
        family="bert",
        hidden=config.whole("hidden_size"),
        vocab=config.whole("vocab_size"),
        layers=(layer,) * config.layers,
        max_context=positions,
        tied=True,
        names=NAMES,
        norm="layer",
        learned_positions=positions,
        dtype=config.dtype,
        head_bias=True,
        before_head=HeadTransformSpec(activation),
        others=(token_types(config),),
    )


def token_types(config: Config) -> Stored:
    """The table of segments: a text of one segment adds the same row to every token, which is no operator's work."""
    rows, hidden = config.whole("type_vocab_size", default=2), config.whole("hidden_size")
    name = "bert.embeddings.token_type_embeddings.weight"
    return Weight(name, rows, hidden, plain(config.dtype), linear=False), ()
