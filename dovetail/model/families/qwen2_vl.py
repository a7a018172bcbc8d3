"""Qwen2-VL (arXiv 2409.12191) and Qwen2.5-VL (arXiv 2502.13923): images at their own resolution beside a Qwen2."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.qwen_vl import pair, patch_shape, tower_names
from dovetail.model.families.towers import language_model
from dovetail.model.vision import Projector, Tower

_PIXELS = (56 * 56, 16_384 * 28 * 28)  # of an image, as the models' preprocessor_config.json says

# What the language model's fields may leave out, unlike those of a Qwen2 by itself
_TEXT = {
    "max_window_layers": 80, "max_position_embeddings": 32_768, "num_key_value_heads": 8, "rope_theta": 1_000_000.0,
}  # fmt: skip


@FAMILIES.register("qwen2_vl")
def qwen2_vl(config: Config, name: str) -> Architecture:
    """In ``vision_config`` ``embed_dim`` is the tower's width and ``hidden_size`` the language model's."""
    model = _language_model(config, name)
    vision = config.block("vision_config")
    hidden = vision.whole("embed_dim", default=1280)
    inner = hidden * vision.whole("mlp_ratio", default=4)
    block = FeedForwardSpec(inner, gated=False, bias=True, activation=vision.text("hidden_act", default="quick_gelu"))
    layers = (LayerSpec(_attention(vision, hidden), block),) * vision.whole("depth", default=32)
    arch = _encoder(hidden, layers, tower_names("visual", "fc1", "fc2"), "layer", model.dtype)
    return _beside(model, _tower(vision, arch, vision.whole("hidden_size", default=model.hidden)))


@FAMILIES.register("qwen2_5_vl")
def qwen2_5_vl(config: Config, name: str) -> Architecture:
    """RMS norms and gated blocks; all layers but ``fullatt_block_indexes`` look around windows of ``window_size``."""
    model = _language_model(config, name)
    vision = config.block("vision_config")
    hidden, depth = vision.whole("hidden_size", default=1280), vision.whole("depth", default=32)
    activation = vision.text("hidden_act", default="silu")
    block = FeedForwardSpec(vision.whole("intermediate_size", default=3420), bias=True, activation=activation)
    merge, side = vision.whole("spatial_merge_size", default=2), vision.whole("patch_size", default=14)
    tokens = vision.whole("window_size", default=112) // merge // side
    if not tokens:
        raise vision.error("window_size", "a window is smaller than one token of the language model")
    full = LayerSpec(_attention(vision, hidden), block)
    near = LayerSpec(_attention(vision, hidden, window=(tokens * merge) ** 2), block)
    whole = vision.whole_list("fullatt_block_indexes") or [7, 15, 23, 31]
    layers = tuple(full if i in whole else near for i in range(depth))
    names = tower_names("visual", "up_proj", "down_proj")
    names |= {"gate": pair("visual.blocks.{layer}.mlp.gate_proj")}
    names |= {role: found[:1] for role, found in names.items() if role.startswith("norm_")}
    arch = _encoder(hidden, layers, names, "rms", model.dtype)
    tower = _tower(vision, arch, vision.whole("out_hidden_size", default=model.hidden))
    return _beside(model, replace(tower, window=tokens * merge))


def _language_model(config: Config, name: str) -> Architecture:
    tied = config.flag("tie_word_embeddings") or config.block("text_config").flag("tie_word_embeddings")
    return language_model(config, name, "qwen2", tied, _TEXT)


def _attention(vision: Config, hidden: int, window: int | None = None) -> AttentionSpec:
    heads = vision.dividing(hidden, "num_heads", default=16)
    return AttentionSpec(heads, heads, hidden // heads, True, True, window=window, causal=False)


def _encoder(
    hidden: int, layers: tuple[LayerSpec, ...], names: dict[str, tuple[str, ...]], norm: str, dtype: str
) -> Architecture:
    return Architecture(
        "vision", family="vision", hidden=hidden, vocab=0, layers=layers, max_context=0, tied=True, names=names,
        norm="rms" if norm == "rms" else "layer", dtype=dtype,
    )  # fmt: skip


def _tower(vision: Config, arch: Architecture, outputs: int) -> Tower:
    """The encoder with its merger, whose norm is of the encoder's kind."""
    merge = vision.whole("spatial_merge_size", default=2)
    patch, side = patch_shape(vision, side=14)
    norm = ("visual.merger.ln_q.weight", "visual.merger.ln_q.bias")[: 1 if arch.norm == "rms" else 2]
    names = {
        **arch.names, "patch": arch.names["patch"][:1], "merger_norm": norm,
        "merger_up": pair("visual.merger.mlp.0"), "merger_down": pair("visual.merger.mlp.2"),
    }  # fmt: skip
    names.pop("positions")
    wide = arch.hidden * merge**2
    merger = Projector("merger", arch.hidden, wide, wide, outputs)
    return Tower(replace(arch, names=names), patch, side, merge, (merger,), pixels=_PIXELS)


def _beside(model: Architecture, tower: Tower) -> Architecture:
    return replace(model, others=tower.stored(), vision=tower)
