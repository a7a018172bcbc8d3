"""Kimi K2.5 (arXiv 2602.02276): Kimi K2 beside MoonViT (arXiv 2504.07491), which sees images at native resolution.

The tensors are named as the checkpoint names them. Frames of a video share a pass and are averaged before they are
merged; only images are described.
"""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import MAX_LAYERS, Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.towers import pair, text_model
from dovetail.model.views import Native
from dovetail.model.vision import Projector, Tower, rooted

_ROOT, _LAYER = "vision_tower", "vision_tower.encoder.blocks.{layer}"
NAMES: dict[str, tuple[str, ...]] = {
    "patch": pair(f"{_ROOT}.patch_embed.proj"),
    "positions": (f"{_ROOT}.patch_embed.pos_emb.weight",),
    "norm_in": pair(f"{_LAYER}.norm0"),
    "qkv": pair(f"{_LAYER}.wqkv"),
    "o": pair(f"{_LAYER}.wo"),
    "norm_post": pair(f"{_LAYER}.norm1"),
    "up": pair(f"{_LAYER}.mlp.fc0"),
    "down": pair(f"{_LAYER}.mlp.fc1"),
    "norm_out": pair(f"{_ROOT}.encoder.final_layernorm"),
    "projector_norm": pair("mm_projector.pre_norm"),
    "projector_up": pair("mm_projector.proj.0"),
    "projector_down": pair("mm_projector.proj.2"),
}


@FAMILIES.register("kimi_k25")
def kimi_k25(config: Config, name: str) -> Architecture:
    model = text_model(config, name, "deepseek_v3", {"kimi_k2": "kimi_k2", "deepseek_v3": "deepseek_v3"})
    tower = moonvit(config.block("vision_config"), model.hidden, model.dtype)
    names = rooted(dict(model.names), "language_model.model", "language_model.lm_head.weight")
    return replace(model, family="kimi_k25", names=names, others=tower.stored(), vision=tower)


def moonvit(vision: Config, outputs: int, dtype: str) -> Tower:
    """MoonViT with its projector to `outputs` channels; fields as the hub names them or as `transformers` does."""
    hidden = vision.whole("vt_hidden_size", "hidden_size", default=1152)
    heads = vision.dividing(hidden, "vt_num_attention_heads", "num_attention_heads", default=16)
    if (width := vision.whole("mm_hidden_size", default=hidden)) != hidden:
        raise vision.error("mm_hidden_size", f"the projector reads {width} channels, the tower writes {hidden}")
    _usual(vision, outputs)
    layers = vision.whole("vt_num_hidden_layers", "num_hidden_layers", default=27, high=MAX_LAYERS)
    inner = vision.whole("vt_intermediate_size", "intermediate_size", default=4304)
    activation = vision.text("hidden_act", default="gelu_pytorch_tanh")
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, causal=False)
    block = FeedForwardSpec(inner, gated=False, bias=True, activation=activation)
    arch = Architecture(
        "vision", family="vision", hidden=hidden, vocab=0, layers=(LayerSpec(attention, block),) * layers,
        max_context=0, tied=True, names=NAMES, norm="layer", dtype=dtype, learned_positions=_positions(vision),
    )  # fmt: skip
    side, merge = vision.whole("patch_size", default=14), _merge(vision)
    merged = hidden * merge**2
    projector = Projector("projector", hidden, merged, merged, outputs)
    return Tower(arch, 3 * side * side, side, merge, (projector,), patch_bias=True, cut=Native(side, merge))


def _usual(vision: Config, outputs: int) -> None:
    """Raise `DovetailError` where the projector is another one, or not of the language model's width."""
    if (kind := vision.text("mm_projector_type", default="patchmerger")) != "patchmerger":
        raise vision.error("mm_projector_type", f"'{kind}' is not described", hint="patchmerger")
    if (width := vision.whole("text_hidden_size", default=outputs)) != outputs:
        raise vision.error("text_hidden_size", f"{width} is not the language model's width of {outputs}")


def _positions(vision: Config) -> int:
    """Rows of the table of positions; a time axis is computed, not learned."""
    down = vision.whole("init_pos_emb_height", "pos_emb_height", default=64)
    return down * vision.whole("init_pos_emb_width", "pos_emb_width", default=64)


def _merge(vision: Config) -> int:
    merge = vision.whole_list("merge_kernel_size") or [2, 2]
    if len(merge) != 2 or merge[0] != merge[1] or merge[0] < 1:
        raise vision.error("merge_kernel_size", f"{merge} is not a square of patches", hint="such as [2, 2]")
    return merge[0]
