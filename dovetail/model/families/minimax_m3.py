"""The text part of MiniMax-M3 (MiniMax, 2026): block-sparse attention and mixtures after dense first layers.

``minimax_m3_vl_text`` is what `transformers` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.block_sparse import BlockSparseAttentionSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import flags, kinds
from dovetail.model.families.qwen import NAMES as QWEN

_MLP, _INDEX = f"{LAYER}.mlp", f"{LAYER}.self_attn.indexer"
NAMES: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in QWEN.items() if not role.startswith("expert_")},
    "gate_up": (f"{_MLP}.gate_up_proj.weight",),
    "shared_gate_up": (f"{_MLP}.shared_experts.gate_up_proj.weight",),
    "shared_down": (f"{_MLP}.shared_experts.down_proj.weight",),
    "expert_gate_up": (f"{_MLP}.experts.gate_up_proj",),
    "expert_down": (f"{_MLP}.experts.down_proj",),
    **{f"index_{part}": (f"{_INDEX}.{part}_proj.weight",) for part in "qk"},
    **{f"index_{part}_norm": (f"{_INDEX}.{part}_norm.weight",) for part in "qk"},
}
_ACTIVATION = "swigluoai"  # whatever ``hidden_act`` says
_FULL, _SPARSE = "full_attention", "minimax_m3_sparse"


@FAMILIES.register("minimax_m3", "minimax_m3_vl_text")
def minimax_m3(config: Config, name: str) -> Architecture:
    if config.flag("attention_output_gate"):
        raise config.error("attention_output_gate", "not described: attention of this family has no gate")
    mixers, blocks = _mixers(config), _blocks(config)
    pairs = list(zip(_views(config), _sorts(config), strict=True))
    specs = {(view, sort): LayerSpec(mixers[view], blocks[sort]) for view, sort in set(pairs)}
    known = {**shape(config), "rope_theta": config.rope_theta(5_000_000.0)}
    return Architecture(name, layers=tuple(specs[pair] for pair in pairs), names=NAMES, **known)


def _views(config: Config) -> list[str]:
    """``layer_types``, or ``sparse_attention_freq`` where 1 is sparse; full attention where the config is silent."""
    index = _index(config)
    counted = Config({**index, "num_hidden_layers": config.layers}, index.where)
    sparse = flags(counted, "sparse_attention_freq") or [False] * config.layers
    return kinds(config, "layer_types", (_FULL, _SPARSE), [_SPARSE if s else _FULL for s in sparse])


def _sorts(config: Config) -> list[str]:
    """``mlp_layer_types``, or ``moe_layer_freq`` where 1 is a mixture; mixtures where the config is silent."""
    mixed = flags(config, "moe_layer_freq")
    default = ["dense" if mixed is not None and not mixed[i] else "sparse" for i in range(config.layers)]
    return kinds(config, "mlp_layer_types", ("dense", "sparse"), default)


def _index(config: Config) -> Config:
    """The fields of the index, which are the config's own in what `transformers` writes."""
    return config.block("sparse_attention_config")


def _mixers(config: Config) -> dict[str, AttentionSpec | BlockSparseAttentionSpec]:
    """Full attention and block-sparse attention with the same heads."""
    heads, kv_heads, head_dim = config.heads(head_dim=128)
    index = _index(config)
    groups = index.whole("sparse_num_index_heads", default=config.whole("index_n_heads", default=4))
    if heads % groups:
        raise config.error("index_n_heads", f"{heads} heads do not divide into {groups} groups that pick together")
    turned = min(1.0, config.whole("rotary_dim", default=64) / head_dim)  # where no share is written
    share = config.rope.number("partial_rotary_factor", default=config.number("partial_rotary_factor", default=turned))
    full = AttentionSpec(heads, kv_heads, head_dim, qk_norm=True, rotary=share)
    sparse = BlockSparseAttentionSpec(
        full,
        groups,
        index.whole("sparse_index_dim", default=config.whole("index_head_dim", default=128)),
        index.whole("sparse_block_size", default=config.whole("index_block_size", default=128)),
        index.whole("sparse_topk_blocks", default=config.whole("index_topk_blocks", default=16)),
    )
    return {_FULL: full, _SPARSE: sparse}


def _blocks(config: Config) -> dict[str, FeedForwardSpec]:
    if config.whole("n_shared_experts", default=1) != 1:
        raise config.error("n_shared_experts", "not described: this family has one shared expert", hint="1")
    experts = config.whole("num_local_experts", default=128)
    mixture = FeedForwardSpec(
        config.whole("intermediate_size", default=3072),
        activation=_ACTIVATION,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", default=4, high=experts),
        shared=config.whole("shared_intermediate_size", default=3072),
    )
    dense = FeedForwardSpec(config.whole("dense_intermediate_size", default=12288), activation=_ACTIVATION)
    return {"dense": dense, "sparse": mixture}
