"""DeepSeek-V3.2 (arXiv 2512.02556) and GLM-5: DeepSeek-V3 with sparse attention, whose index picks keys for each query.

GLM-5.2 runs the index in some layers only (``indexer_types``); the others use the choice of the last one that did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dovetail.model.architecture import Architecture
from dovetail.model.blocks.latent import IndexSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.deepseek import NAMES as DEEPSEEK
from dovetail.model.families.deepseek import latent_attention, stack
from dovetail.model.families.llama import linear
from dovetail.model.families.patterns import kinds

INDEXER = "self_attn.indexer"
NAMES: Mapping[str, tuple[str, ...]] = {
    **DEEPSEEK,
    "index_q": linear(f"{INDEXER}.wq_b"),
    "index_k": linear(f"{INDEXER}.wk"),
    "index_k_norm": linear(f"{INDEXER}.k_norm"),
    "index_weights": linear(f"{INDEXER}.weights_proj"),
}
_LETTERS = {"F": "full", "S": "shared"}


@FAMILIES.register("deepseek_v32", "glm_moe_dsa")
def deepseek_v32(config: Config, name: str) -> Architecture:
    shares = config.text("model_type") == "glm_moe_dsa"
    reusing = replace(latent_attention(config), selected=config.whole("index_topk", default=2048))
    if not reusing.q_rank:
        raise config.error("q_lora_rank", "missing", why="the index reads the latent of the queries")
    heads = config.whole("index_n_heads", default=32 if shares else 64)
    choosing = replace(reusing, index=IndexSpec(heads, config.whole("index_head_dim", default=128)))
    who = indexers(config) if shares else ["full"] * config.layers
    attention = [choosing if kind == "full" else reusing for kind in who]
    return replace(stack(config, name, attention), names=NAMES)


def indexers(config: Config) -> list[str]:
    """``full`` for a layer with an index, ``shared`` for one that uses the last choice: listed, spelt, or periodic.

    Without a list (``indexer_types``) or letters (``index_topk_pattern``), every ``index_topk_freq``-th layer from
    ``index_skip_topk_offset - 1`` on has one, and all before it.
    """
    every = config.whole("index_topk_freq", default=1)
    first = config.whole("index_skip_topk_offset", default=2, low=0) - 1
    pattern = config.fields.get("index_topk_pattern")
    if isinstance(pattern, str):
        pattern = [_LETTERS.get(letter, letter) for letter in pattern]
    periodic = ["shared" if max(i - first, 0) % every else "full" for i in range(config.layers)]
    found = kinds(config, "indexer_types", ("full", "shared"), pattern or periodic)
    if found[0] != "full":
        raise config.error("indexer_types", "the first layer has no choice to share", hint="start with 'full'")
    return found
