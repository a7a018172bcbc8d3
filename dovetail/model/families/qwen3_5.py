"""Qwen3.5, its language model: Qwen3-Next's layers with dense blocks or mixtures, and projections held apart."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, FeedForwardSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.qwen3_next import SHARED, hybrid, mixture

NAMES: Mapping[str, tuple[str, ...]] = {
    **SHARED,
    **{f"scan_{part}": (f"{LAYER}.linear_attn.in_proj_{part}.weight",) for part in ("qkv", "z", "b", "a")},
}


@FAMILIES.register("qwen3_5_text")
def qwen3_5_text(config: Config, name: str) -> Architecture:
    activation = config.text("hidden_act", default="silu")
    return _model(config, name, FeedForwardSpec(config.whole("intermediate_size"), activation=activation))


@FAMILIES.register("qwen3_5_moe_text")
def qwen3_5_moe_text(config: Config, name: str) -> Architecture:
    return _model(config, name, mixture(config, experts=256, top_k=8))


def _model(config: Config, name: str, block: FeedForwardSpec) -> Architecture:
    return Architecture(name, layers=hybrid(config, [block] * config.layers), names=NAMES, **shape(config))
