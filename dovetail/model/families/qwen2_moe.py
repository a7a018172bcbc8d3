"""Qwen1.5/2-MoE (arXiv 2407.10671): Qwen2 with a mixture beside a shared expert that a sigmoid of the token scales."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import kinds
from dovetail.model.families.qwen import NAMES as QWEN

NAMES: Mapping[str, tuple[str, ...]] = {
    **QWEN,
    **{f"shared_{role}": (f"{LAYER}.mlp.shared_expert.{role}_proj.weight",) for role in ("gate", "up", "down")},
    "shared_expert_gate": (f"{LAYER}.mlp.shared_expert_gate.weight",),
}


@FAMILIES.register("qwen2_moe")
def qwen2_moe(config: Config, name: str) -> Architecture:
    heads, kv_heads, head_dim = config.heads()
    views = _windows(config)
    mixers = {
        view: AttentionSpec(
            heads, kv_heads, head_dim, qkv_bias=config.flag("qkv_bias", default=True), window=view
        ) for view in views
    }  # fmt: skip
    dense, sparse = _blocks(config)
    step, plain = config.whole("decoder_sparse_step", default=1), set(config.whole_list("mlp_only_layers"))
    made = {(view, block): LayerSpec(mixers[view], block) for view in mixers for block in (dense, sparse)}
    layers = tuple(made[view, dense if i in plain or (i + 1) % step else sparse] for i, view in enumerate(views))
    return Architecture(name, layers=layers, names=NAMES, **shape(config))


def _windows(config: Config) -> list[int | None]:
    """Sliding window of each layer: ``layer_types``, by default every other of the first ``max_window_layers``."""
    slides = config.flag("use_sliding_window")
    window = config.whole("sliding_window", default=4096) if slides else None
    last = config.whole("max_window_layers", default=28, low=0) if slides else 0
    known = ("sliding_attention", "full_attention")
    default = [known[0] if i % 2 == 0 and i < last else known[1] for i in range(config.layers)]
    return [window if view == known[0] else None for view in kinds(config, "layer_types", known, default)]


def _blocks(config: Config) -> tuple[FeedForwardSpec, FeedForwardSpec]:
    activation = config.text("hidden_act", default="silu")
    experts = config.whole("num_experts", "num_local_experts", default=60)
    mixture = FeedForwardSpec(
        config.whole("moe_intermediate_size", default=1408),
        activation=activation,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", default=4, high=experts),
        shared=config.whole("shared_expert_intermediate_size", default=5632),
        shared_gate=True,
    )
    return FeedForwardSpec(config.whole("intermediate_size", default=5632), activation=activation), mixture
