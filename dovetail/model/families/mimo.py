"""MiMo-7B (Xiaomi, arXiv 2505.07608): Qwen2 under its own name; the multi-token-prediction layer is not counted."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.qwen import qwen


@FAMILIES.register("mimo")
def mimo(config: Config, name: str) -> Architecture:
    if not config.flag("attention_bias", default=True):
        raise config.error("attention_bias", "not described: MiMo's queries, keys and values have biases")
    found = qwen(Config({**config.fields, "model_type": "qwen2"}, config.where), name)
    return replace(found, family="mimo")
