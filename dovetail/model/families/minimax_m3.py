"""The language model of MiniMax-M3 (MiniMax, 2026): mixtures with a shared expert, blocks of keys picked by an index.

Multi-token-prediction modules are not part of the model's step and are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.block_index import BlockIndexSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.patterns import flags, kinds
from dovetail.model.families.qwen import NAMES as QWEN

_MLP, _INDEXER = f"{LAYER}.mlp", f"{LAYER}.self_attn.indexer"
NAMES: Mapping[str, tuple[str, ...]] = {
    **{role: names for role, names in QWEN.items() if role not in ("expert_gate", "expert_up")},
    "gate_up": (f"{_MLP}.gate_up_proj.weight",),
    "expert_gate_up": (f"{_MLP}.experts.gate_up_proj",),
    "expert_down": (f"{_MLP}.experts.down_proj",),
    "shared_gate_up": (f"{_MLP}.shared_experts.gate_up_proj.weight",),
    "shared_down": (f"{_MLP}.shared_experts.down_proj.weight",),
    **{f"index_{role}": (f"{_INDEXER}.{role}_proj.weight",) for role in "qk"},
    **{f"index_{role}_norm": (f"{_INDEXER}.{role}_norm.weight",) for role in "qk"},
}
_VIEWS, _SORTS = ("full_attention", "minimax_m3_sparse"), ("dense", "sparse")


@FAMILIES.register("minimax_m3", "minimax_m3_vl_text")
def minimax_m3(config: Config, name: str) -> Architecture:
    _usual(config)
    views = kinds(config, "layer_types", _VIEWS, _listed(config.block("sparse_attention_config"), config, _VIEWS, 0))
    sorts = kinds(config, "mlp_layer_types", _SORTS, _listed(config, config, _SORTS, 1))
    mixers = {view: _attention(config, view == _VIEWS[1]) for view in set(views)}
    blocks = dict(zip(_SORTS, _blocks(config), strict=True))
    made = {(view, sort): LayerSpec(mixers[view], blocks[sort]) for view in mixers for sort in blocks}
    layers = tuple(made[pair] for pair in zip(views, sorts, strict=True))
    known = {**shape(config), "rope_theta": config.rope_theta(5_000_000.0)}
    return Architecture(name, layers=layers, names=NAMES, **known)


def _usual(config: Config) -> None:
    """Raise `DovetailError` for a choice that no published model makes and the module does not know."""
    for key, usual in (("attention_output_gate", False), ("use_qk_norm", True), ("use_gemma_norm", True)):
        if config.flag(key, default=usual) != usual:
            raise config.error(key, f"{str(not usual).lower()} is not described")
    if not config.block("sparse_attention_config").flag("use_sparse_attention", default=True):
        raise config.error("sparse_attention_config", "an index that is switched off is not described")
    if (shared := config.whole("n_shared_experts", default=1)) != 1:
        raise config.error("n_shared_experts", f"{shared} shared experts are not described", hint="1")
    if (kind := config.text("qk_norm_type", default="per_head")) != "per_head":
        raise config.error("qk_norm_type", f"'{kind}' is not described", hint="per_head")


def _listed(block: Config, config: Config, names: tuple[str, str], default: int) -> list[str]:
    """``moe_layer_freq`` or ``sparse_attention_freq``: 0 or 1 for each layer."""
    key = "moe_layer_freq" if block is config else "sparse_attention_freq"
    found = flags(Config({key: block.get(key), "num_hidden_layers": config.layers}, block.where), key)
    return [names[default]] * config.layers if found is None else [names[flag] for flag in found]


def _attention(config: Config, sparse: bool) -> AttentionSpec:
    """Attention to all keys, or to those that the index picks."""
    heads, kv_heads, head_dim = config.heads(head_dim=128)
    turned = config.whole("rotary_dim", default=64, high=head_dim)
    index = _index(config, kv_heads, turned) if sparse else None
    return AttentionSpec(heads, kv_heads, head_dim, qk_norm=True, rotary=turned / head_dim, index=index)


def _index(config: Config, kv_heads: int, turned: int) -> BlockIndexSpec:
    """From ``sparse_attention_config`` as the hub writes it, or from fields of the config itself."""
    nested = config.block("sparse_attention_config")

    def of(flat: str, key: str, default: int) -> int:
        return nested.whole(key, default=config.whole(flat, default=default))

    heads, width = of("index_n_heads", "sparse_num_index_heads", 4), of("index_head_dim", "sparse_index_dim", 128)
    if heads != kv_heads:
        raise nested.error("sparse_num_index_heads", f"{heads} heads of the index for {kv_heads} KV heads")
    block, blocks = of("index_block_size", "sparse_block_size", 128), of("index_topk_blocks", "sparse_topk_blocks", 16)
    return BlockIndexSpec(heads, width, min(turned, width) / width, block, blocks)


def _blocks(config: Config) -> tuple[FeedForwardSpec, FeedForwardSpec]:
    """Dense block and mixture; the module's activation is its own, a clamped sigmoid gate, whatever the config says."""
    experts, inner = config.whole("num_local_experts", default=128), config.whole("intermediate_size", default=3072)
    mixture = FeedForwardSpec(
        inner,
        activation="swigluoai",
        experts=experts,
        top_k=config.whole("num_experts_per_tok", default=4, high=experts),
        shared=config.whole("shared_intermediate_size", default=3072),
    )
    return FeedForwardSpec(config.whole("dense_intermediate_size", default=12288), activation="swigluoai"), mixture
