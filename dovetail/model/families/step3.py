"""Step 3.5 and the text part of Step 3.7 (StepFun, 2026): windows with heads of their own, gated heads, mixtures.

The experts of a layer are three tensors of (experts, outputs, inputs). Where lists are longer than the model, their
last entries describe the multi-token-prediction layers.
"""

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
    "attention_gate": (f"{LAYER}.self_attn.g_proj.weight",),
    "router": (f"{LAYER}.moe.gate.weight",),
    **{f"expert_{role}": (f"{LAYER}.moe.{role}_proj.weight",) for role in ("gate", "up", "down")},
    **{f"shared_{role}": (f"{LAYER}.share_expert.{role}_proj.weight",) for role in ("gate", "up", "down")},
}
_VIEWS = ("full_attention", "sliding_attention")


@FAMILIES.register("step3p5")
def step3p5(config: Config, name: str) -> Architecture:
    views = kinds(config, "layer_types", _VIEWS, ["full_attention"] * config.layers)
    mixers = {view: _attention(config, view, views.index(view)) for view in set(views)}
    blocks = _blocks(config)
    made = {(view, sort): LayerSpec(mixers[view], blocks[sort]) for view in mixers for sort in blocks}
    layers = tuple(made[pair] for pair in zip(views, _sorts(config), strict=True))
    theta = _rope(config, "full_attention", views.index("full_attention") if "full_attention" in views else 0)[0]
    # `rope_theta` may be a list, which the common reader would refuse
    common = Config({**config.fields, "rope_theta": theta}, config.where)
    return Architecture(name, layers=layers, names=NAMES, **shape(common))


def _attention(config: Config, view: str, first: int) -> AttentionSpec:
    heads = config.whole("num_attention_heads", default=64)
    kv_heads = config.whole("num_key_value_heads", "num_attention_groups", default=8)
    bias, sliding = config.flag("attention_bias"), view == "sliding_attention"
    if sliding:
        other = config.block("attention_other_setting").whole("num_attention_heads", default=heads)
        heads = config.whole("num_sliding_attention_heads", default=other)
    if heads % kv_heads:
        raise config.error("num_attention_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly")
    return AttentionSpec(
        heads, kv_heads, config.whole("head_dim", default=128), bias, bias, qk_norm=True, gate="head",
        window=config.whole("sliding_window") if sliding else None, rotary=_rope(config, view, first)[1],
    )  # fmt: skip


def _rope(config: Config, view: str, first: int) -> tuple[float, float]:
    """Base and share of turned channels of one kind of layer, from its block or from the lists' entry `first`."""
    block = config.block("rope_parameters").block(view)

    def of(key: str, listed: str, default: float) -> float:
        values = config.fields.get(listed)
        if isinstance(values, list) and len(values) > first:
            return Config({key: values[first]}, config.where).number(key, default=default)
        return block.number(
            key, default=default if isinstance(values, list) else config.number(listed, default=default)
        )

    return of("rope_theta", "rope_theta", 10_000.0), of("partial_rotary_factor", "partial_rotary_factors", 1.0)


def _sorts(config: Config) -> list[str]:
    """``mlp_layer_types``; else the mixtures are ``moe_layers_enum`` (``"3,4,5"``), by default all but the first 3."""
    listed = config.fields.get("moe_layers_enum")
    if listed is None:
        mixed = set(range(config.whole("first_k_dense_replace", default=3, low=0), config.layers))
    else:
        items = listed.split(",") if isinstance(listed, str) else listed
        if not isinstance(items, list) or not all(str(item).strip().isdigit() for item in items):
            raise config.error("moe_layers_enum", f"{listed!r} does not list layers", hint="such as 3,4,5")
        mixed = {int(item) for item in items}
    return kinds(config, "mlp_layer_types", ("dense", "sparse"),
                 ["sparse" if i in mixed else "dense" for i in range(config.layers)])  # fmt: skip


def _blocks(config: Config) -> dict[str, FeedForwardSpec]:
    if config.flag("mlp_bias"):
        raise config.error("mlp_bias", "biases of the feed-forward blocks are not described")
    activation = config.text("hidden_act", default="silu")
    experts = config.whole("n_routed_experts", "moe_num_experts", "num_experts", "num_local_experts", default=288)
    mixture = FeedForwardSpec(
        config.whole("moe_intermediate_size", default=1280),
        activation=activation,
        experts=experts,
        top_k=config.whole("num_experts_per_tok", "moe_top_k", default=8, high=experts),
        shared=config.whole("share_expert_dim", "share_expert_dims", default=1280),
    )
    dense = FeedForwardSpec(config.whole("intermediate_size", default=11264), activation=activation)
    return {"dense": dense, "sparse": mixture}
