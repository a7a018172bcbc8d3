"""Mamba 2 (arXiv 2405.21060) as `transformers` holds it: layers of one scan each, no attention, no cache that grows."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, LayerSpec
from dovetail.model.blocks.state_space import StateSpaceSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES

UNBOUNDED = 1 << 30  # tokens: the state has no length


def scan_names(prefix: str) -> dict[str, tuple[str, ...]]:
    """Roles of a scan's tensors under one module."""
    pairs = {"scan_in": "in_proj", "scan_conv": "conv1d", "scan_out": "out_proj"}
    return {
        **{role: (f"{prefix}.{name}.weight", f"{prefix}.{name}.bias") for role, name in pairs.items()},
        "scan_norm": (f"{prefix}.norm.weight",),
        "scan_decay": (f"{prefix}.A_log",),
        "scan_skip": (f"{prefix}.D",),
        "scan_step": (f"{prefix}.dt_bias",),
    }


LAYER = "backbone.layers.{layer}"
NAMES: Mapping[str, tuple[str, ...]] = {
    "embed": ("backbone.embeddings.weight",),
    "norm_in": (f"{LAYER}.norm.weight",),
    **scan_names(f"{LAYER}.mixer"),
    "norm_out": ("backbone.norm_f.weight",),
    "head": ("lm_head.weight",),
}


@FAMILIES.register("mamba2")
def mamba2(config: Config, name: str) -> Architecture:
    hidden, expand = config.whole("hidden_size"), config.number("expand", default=2.0)
    heads, channels = config.whole("num_heads"), config.whole("head_dim", default=64)
    if heads * channels != int(expand * hidden):
        raise config.error("num_heads", f"{heads} heads of {channels} channels are not {expand:g} x {hidden}")
    mixer = StateSpaceSpec(
        heads, channels, config.whole("state_size", default=128), config.whole("n_groups", default=8),
        config.whole("conv_kernel", default=4), config.flag("use_bias"), config.flag("use_conv_bias", default=True),
    )  # fmt: skip
    return Architecture(
        name,
        family="mamba2",
        hidden=hidden,
        vocab=config.whole("vocab_size"),
        layers=(LayerSpec(mixer, None),) * config.layers,
        max_context=UNBOUNDED,
        tied=config.flag("tie_word_embeddings"),
        names=NAMES,
        dtype=config.dtype,
    )
