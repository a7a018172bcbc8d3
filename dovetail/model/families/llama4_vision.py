"""Llama 4 (Meta, 2025) with its tower: square tiles, four patches shuffled into one token, an adapter, a product."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.towers import pair, text_model
from dovetail.model.projections import Product
from dovetail.model.views import Tiles
from dovetail.model.vision import Tower, rooted

_ROOT, _LAYER = "vision_model", "vision_model.model.layers.{layer}"
NAMES: dict[str, tuple[str, ...]] = {
    "patch": (f"{_ROOT}.patch_embedding.linear.weight",),
    "class_token": (f"{_ROOT}.class_embedding",),
    "positions": (f"{_ROOT}.positional_embedding_vlm",),
    "norm_embed": pair(f"{_ROOT}.layernorm_pre"),
    "norm_in": pair(f"{_LAYER}.input_layernorm"),
    **{role: pair(f"{_LAYER}.self_attn.{role}_proj") for role in "qkvo"},
    "norm_post": pair(f"{_LAYER}.post_attention_layernorm"),
    "up": pair(f"{_LAYER}.mlp.fc1"),
    "down": pair(f"{_LAYER}.mlp.fc2"),
    "norm_out": pair(f"{_ROOT}.layernorm_post"),
    "adapter_up": (f"{_ROOT}.vision_adapter.mlp.fc1.weight",),
    "adapter_down": (f"{_ROOT}.vision_adapter.mlp.fc2.weight",),
    "projector": ("multi_modal_projector.linear_1.weight",),
}


@FAMILIES.register("llama4")
def llama4(config: Config, name: str) -> Architecture:
    """The language model beside the tower; alone where the config describes none."""
    model = text_model(config, name, "llama4_text", {"llama4_text": "llama4_text"})
    names = rooted(dict(model.names), "language_model.model", "language_model.lm_head.weight")
    model = replace(model, family="llama4", names=names)
    if not config.get("vision_config"):
        return replace(model, matched_by="the language model alone: the config has no vision_config")
    tower = llama4_tower(config.block("vision_config"), model.hidden, model.dtype)
    return replace(model, others=tower.stored(), vision=tower)


def llama4_tower(vision: Config, outputs: int, dtype: str) -> Tower:
    """The tower of a ``vision_config``, into `outputs` channels."""
    hidden = vision.whole("hidden_size", default=768)
    heads = vision.dividing(hidden, "num_attention_heads", default=16)
    side, size = vision.whole("patch_size", default=14), vision.whole("image_size", default=448)
    inner, merge = vision.whole("intermediate_size", default=5632), _merge(vision)
    if hidden * merge**2 != inner:
        what = f"{inner} channels are not {merge**2} patches of {hidden}, which the adapter reads"
        raise vision.error("intermediate_size", what)
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, causal=False)
    block = FeedForwardSpec(inner, gated=False, bias=True, activation="gelu")
    arch = Architecture(
        "vision", family="vision", hidden=hidden, vocab=0,
        layers=(LayerSpec(attention, block),) * (vision.layers if "num_hidden_layers" in vision else 34),
        max_context=0, tied=True, names=NAMES, norm="layer", dtype=dtype, learned_positions=(size // side) ** 2 + 1,
    )  # fmt: skip
    patch = vision.whole("num_channels", default=3) * side * side
    projectors = _projectors(vision, inner, outputs)
    return Tower(arch, patch, side, merge, projectors, size, prefix=1, cut=Tiles(size, side))


def _merge(vision: Config) -> int:
    """Patches along a side of a token: the inverse of ``pixel_shuffle_ratio``."""
    ratio = vision.number("pixel_shuffle_ratio", default=0.5)
    merge = round(1 / ratio)
    if merge < 1 or ratio * merge != 1.0:
        raise vision.error("pixel_shuffle_ratio", f"{ratio:g} is not one over a whole number")
    return merge


def _projectors(vision: Config, merged: int, outputs: int) -> tuple[Product, ...]:
    """Two activated products of the adapter, then the one to the language model's width."""
    first = vision.whole("projector_input_dim", default=4096)
    last = vision.whole("projector_output_dim", default=4096)
    if first != last:
        raise vision.error("projector_output_dim", f"the adapter's second product reads {last} channels, not {first}")
    if (read := vision.whole("vision_output_dim", default=7680)) != last:
        raise vision.error("vision_output_dim", f"the adapter writes {last} channels, not {read}")
    up = Product("adapter_up", merged, first, activated=True)
    down = Product("adapter_down", first, last, activated=True)
    return up, down, Product("projector", last, outputs)
