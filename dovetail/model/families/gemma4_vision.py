"""Gemma 4 with its towers (Google, 2026): images at their own aspect ratio, padded to a budget of patches; audio."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.pooler import Pooler
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.gemma4_audio import audio_tensors
from dovetail.model.families.towers import language_model
from dovetail.model.vision import Tower, rooted

_ROOT, _LAYER = "model.vision_tower", "model.vision_tower.encoder.layers.{layer}"
NAMES: dict[str, tuple[str, ...]] = {
    "patch": (f"{_ROOT}.patch_embedder.input_proj.weight",),
    "positions": (f"{_ROOT}.patch_embedder.position_embedding_table",),
    "norm_in": (f"{_LAYER}.input_layernorm.weight",),
    **{role: (f"{_LAYER}.self_attn.{role}_proj.linear.weight",) for role in "qkvo"},
    **{role: (f"{_LAYER}.self_attn.{role}.weight",) for role in ("q_norm", "k_norm")},
    "norm_mixer_out": (f"{_LAYER}.post_attention_layernorm.weight",),
    "norm_post": (f"{_LAYER}.pre_feedforward_layernorm.weight",),
    **{role: (f"{_LAYER}.mlp.{role}_proj.linear.weight",) for role in ("gate", "up", "down")},
    "norm_ffn_out": (f"{_LAYER}.post_feedforward_layernorm.weight",),
    "projector": ("model.embed_vision.embedding_projection.weight",),
}


@FAMILIES.register("gemma4")
def gemma4(config: Config, name: str) -> Architecture:
    """A config without ``vision_config`` or ``audio_config`` is a module without that tower.

    The tokens of an image may see each other both ways; the graph's masks are causal, which the full scores are not.
    """
    tied = config.flag("tie_word_embeddings", default=True)
    model = language_model(config, name, "gemma4_text", tied, {"max_position_embeddings": 131_072})
    names = rooted(dict(model.names), "model.language_model", "lm_head.weight")
    tower, others = None, audio_tensors(config.block("audio_config"), model.hidden, model.dtype)
    if config.get("vision_config") is not None:
        tower = gemma4_tower(config, model.hidden, model.dtype)
        others = (*tower.stored(), *others)
    return replace(model, names=names, others=others, vision=tower)


def gemma4_tower(config: Config, outputs: int, dtype: str) -> Tower:
    """The tower of ``vision_config``; its tokens an image are the processor's, 280 where the config is silent."""
    vision = config.block("vision_config")
    heads, kv_heads, head_dim = _heads(vision)
    bias, hidden = vision.flag("attention_bias"), vision.whole("hidden_size", default=768)
    if bias:
        raise vision.error("attention_bias", "the products of this tower have no biases")
    attention = AttentionSpec(heads, kv_heads, head_dim, qk_norm=True, v_norm=True, causal=False)
    activation = vision.text("hidden_activation", default="gelu_pytorch_tanh")
    block = FeedForwardSpec(vision.whole("intermediate_size", default=3072), activation=activation)
    layers = (LayerSpec(attention, block),) * vision.whole("num_hidden_layers", default=16)
    arch = Architecture(
        "vision", family="gemma4_vision", hidden=hidden, vocab=0, layers=layers, max_context=0, tied=True,
        names=NAMES, dtype=dtype, learned_positions=2 * vision.whole("position_embedding_size", default=10_240),
    )  # fmt: skip
    side, merge = vision.whole("patch_size", default=16), vision.whole("pooling_kernel_size", default=3)
    tokens = config.whole("vision_soft_tokens_per_image", default=vision.whole("default_output_length", default=280))
    scaling = 1.0 + 2.0 * vision.flag("standardize")
    pooler = Pooler(merge**2, hidden, outputs, scaling)
    return Tower(arch, 3 * side * side, side, merge, (pooler,), budget=tokens * merge**2)


def _heads(vision: Config) -> tuple[int, int, int]:
    heads = vision.whole("num_attention_heads", default=12)
    kv_heads = vision.whole("num_key_value_heads", default=12)
    if heads % kv_heads:
        raise vision.error("num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly")
    return heads, kv_heads, vision.whole("head_dim", default=64)
