"""Qwen3-VL (arXiv 2511.21631) and Qwen3.5: images at their own resolution, inner layers of the tower projected too."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.vision import Projector, Tower, rooted


def pair(path: str) -> tuple[str, str]:
    """Weight and bias of a module."""
    return f"{path}.weight", f"{path}.bias"


def tower_names(root: str, up: str, down: str) -> dict[str, tuple[str, ...]]:
    """Tensors of a Qwen tower at `root`; `up` and `down` are its feed-forward products."""
    block = f"{root}.blocks.{{layer}}"
    return {
        "patch": pair(f"{root}.patch_embed.proj"),
        "positions": (f"{root}.pos_embed.weight",),
        "norm_in": pair(f"{block}.norm1"),
        "qkv": pair(f"{block}.attn.qkv"),
        "o": pair(f"{block}.attn.proj"),
        "norm_post": pair(f"{block}.norm2"),
        "up": pair(f"{block}.mlp.{up}"),
        "down": pair(f"{block}.mlp.{down}"),
    }


def patch_shape(vision: Config, side: int) -> tuple[int, int]:
    """Numbers of one patch, and its side in pixels (`side` where the config is silent)."""
    side = vision.whole("patch_size", default=side)
    frames = vision.whole("temporal_patch_size", default=2)
    return vision.whole("in_channels", "in_chans", default=3) * frames * side * side, side


@FAMILIES.register("qwen3_vl", "qwen3_vl_moe")
def qwen3_vl(config: Config, name: str) -> Architecture:
    sparse = config.text("model_type") == "qwen3_vl_moe"
    model = _with_tower(config, name, "qwen3_moe" if sparse else "qwen3")
    if not sparse:
        return model
    experts = model.names["expert_gate"][0].partition("{expert}")[0]  # all of a layer are in one tensor
    names = {role: found for role, found in model.names.items() if role not in ("expert_gate", "expert_up")}
    names |= {"expert_gate_up": (f"{experts}gate_up_proj",), "expert_down": (f"{experts}down_proj",)}
    return replace(model, names=names)


@FAMILIES.register("qwen3_5", "qwen3_5_moe")
def qwen3_5_vl(config: Config, name: str) -> Architecture:
    """Qwen3.5: the text part is a family of its own; the tower is Qwen3-VL's."""
    return _with_tower(config, name, f"{config.text('model_type')}_text")


def _with_tower(config: Config, name: str, text_kind: str) -> Architecture:
    """The language model of ``text_config``, read as `text_kind`, beside the tower of ``vision_config``."""
    text = config.block("text_config")
    tied = text.flag("tie_word_embeddings", default=config.flag("tie_word_embeddings"))
    fields = {**text.fields, "model_type": text_kind, "tie_word_embeddings": tied}
    model = FAMILIES[text_kind](Config(fields, text.where), name)
    tower = _qwen3_tower(config.block("vision_config"), model.dtype)
    names = rooted(dict(model.names), "model.language_model", "lm_head.weight")
    return replace(model, family=config.text("model_type"), names=names, others=tower.stored(), vision=tower)


def _qwen3_tower(vision: Config, dtype: str) -> Tower:
    hidden = vision.whole("hidden_size")
    heads = vision.dividing(hidden, "num_heads")
    merge, out = vision.whole("spatial_merge_size", default=2), vision.whole("out_hidden_size")
    attention = AttentionSpec(heads, heads, hidden // heads, True, True, causal=False)
    activation = vision.text("hidden_act", default="gelu_pytorch_tanh")
    block = FeedForwardSpec(vision.whole("intermediate_size"), gated=False, bias=True, activation=activation)
    names = tower_names("model.visual", "linear_fc1", "linear_fc2")
    wide = hidden * merge**2
    projectors = [Projector("merger", hidden, wide, wide, out)]
    mergers = {"merger": "model.visual.merger"}
    for i in range(len(vision.whole_list("deepstack_visual_indexes"))):
        projectors.append(Projector(f"deepstack{i}", wide, wide, wide, out))
        mergers[f"deepstack{i}"] = f"model.visual.deepstack_merger_list.{i}"
    for role, path in mergers.items():
        names |= {f"{role}_norm": pair(f"{path}.norm")}
        names |= {f"{role}_up": pair(f"{path}.linear_fc1"), f"{role}_down": pair(f"{path}.linear_fc2")}
    patch, side = patch_shape(vision, side=16)
    arch = Architecture(
        "vision", family="vision", hidden=hidden, vocab=0,
        layers=(LayerSpec(attention, block),) * vision.whole("depth"), max_context=0, tied=True, names=names,
        norm="layer", dtype=dtype, learned_positions=vision.whole("num_position_embeddings", default=2304),
    )  # fmt: skip
    return Tower(arch, patch, side, merge, tuple(projectors), pixels=(65_536, 16_777_216), patch_bias=True)
